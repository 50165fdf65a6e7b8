//! What a disk has at a power cut.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cut::Cut;
use crate::files::Files;
use crate::random::Random;
use crate::step::{Change, Effect, FileId, NameChange, Step, Sync};
use crate::survival::{Survival, apply_whole};

/// A file: what the disk has of it for certain, and the changes since.
#[derive(Default)]
struct OnDisk<'a> {
    synced: Vec<u8>,
    pending: Vec<(&'a Step, &'a Change)>,
}

/// The files that the disk has after a cut.
#[derive(Debug)]
pub struct State {
    /// The files.
    pub files: Files,
    /// Parts of changes that are lost, and changes of names.
    pub lost: usize,
}

/// When a change of a name is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NameRule {
    /// When a sync of its folder has ended, or one of its file, as with ext4 and other journals of metadata.
    #[default]
    Journal,
    /// When a sync of its folder has ended.
    Folder,
}

/// Returns what the disk has at a cut.
///
/// A file's changes are on the disk when a sync of it has ended that began after them. With a change of a name, all earlier
/// ones are on the disk.
pub(crate) fn at_cut(steps: &[Step], initial: &Files, cut: Cut, rule: NameRule) -> State {
    let mut random = Random::new(cut.seed);
    let steps: Vec<&Step> = steps.iter().filter(|step| step.began < cut.moment).collect();
    let mut files = BTreeMap::<FileId, OnDisk<'_>>::new();
    for (number, content) in initial.values().enumerate() {
        files.insert(FileId(number), OnDisk { synced: content.clone(), pending: Vec::new() });
    }
    for step in &steps {
        match &step.effect {
            Effect::Change(file, change) => files.entry(*file).or_default().pending.push((step, change)),
            Effect::Sync(Sync::File { file, ignored: false, .. }) if step.has_ended(cut.moment) => {
                files.entry(*file).or_default().sync(step);
            }
            Effect::Sync(Sync::All) if step.has_ended(cut.moment) => {
                files.values_mut().for_each(|file| file.sync(step));
            }
            _ => {}
        }
    }
    let (names, mut lost) = names(&steps, initial, cut, rule, &mut random);
    let mut state = Files::new();
    for (name, file) in names {
        let survival = Survival::draw(&mut random);
        let on_disk = files.entry(file).or_default();
        let changes: Vec<&Change> = on_disk.pending.iter().map(|(_, change)| *change).collect();
        let (content, parts) = survival.of(&on_disk.synced, &changes, &mut random);
        lost += parts;
        state.insert(name, content);
    }
    State { files: state, lost }
}

impl OnDisk<'_> {
    /// Takes what had ended when a sync began for written.
    fn sync(&mut self, sync: &Step) {
        let Self { synced, pending } = self;
        pending.retain(|(step, change)| {
            let is_written = step.has_ended(sync.began);
            if is_written {
                apply_whole(change, synced);
            }
            !is_written
        });
    }
}

/// Returns the names that the disk has, and how many changes of names it does not have.
fn names(
    steps: &[&Step],
    initial: &Files,
    cut: Cut,
    rule: NameRule,
    random: &mut Random,
) -> (BTreeMap<PathBuf, FileId>, usize) {
    let (mut changes, mut certain) = (Vec::new(), 0);
    for step in steps {
        match &step.effect {
            Effect::Name(change) => changes.push((*step, change)),
            Effect::Sync(sync) if step.has_ended(cut.moment) => {
                let covered = changes
                    .iter()
                    .rposition(|(named, change)| named.has_ended(step.began) && covers(rule, sync, change));
                certain = certain.max(covered.map_or(0, |last| last + 1));
            }
            _ => {}
        }
    }
    let kept = certain + random.index(changes.len() - certain + 1);
    let mut names = initial.keys().cloned().zip((0..).map(FileId)).collect::<BTreeMap<_, _>>();
    for (_, change) in changes.iter().take(kept) {
        if let NameChange::Unlink(path, _) | NameChange::Rename { from: path, .. } = change {
            names.remove(path);
        }
        if let NameChange::Link { path, file, .. } | NameChange::Rename { to: path, file, .. } = change {
            names.insert(path.clone(), *file);
        }
    }
    (names, changes.len() - kept)
}

/// Returns whether a sync writes a change of names as well.
fn covers(rule: NameRule, sync: &Sync, change: &NameChange) -> bool {
    match sync {
        Sync::File { file, data_only, ignored } => {
            let is_new = matches!(change, NameChange::Link { new: true, .. });
            rule == NameRule::Journal && change.file() == *file && (!data_only || is_new) && !ignored
        }
        Sync::Folder(folder) => change.paths().iter().any(|path| path.parent() == Some(folder)),
        Sync::All => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::descriptors::replay;

    /// Returns the states that a disk may have after all lines of a trace but the last ones.
    fn states(
        trace: &str,
        initial: &[(&str, &str)],
        without: usize,
        rule: NameRule,
    ) -> BTreeSet<Vec<(String, String)>> {
        let initial =
            initial.iter().map(|(name, content)| ((*name).into(), content.as_bytes().to_vec())).collect();
        let (steps, _) = replay(trace, Path::new("/r"), &initial).unwrap();
        let moment = 2 * (trace.lines().count() - without);
        (0..300)
            .map(|seed| {
                let files = at_cut(&steps, &initial, Cut { moment, seed }, rule).files;
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                files
                    .into_iter()
                    .map(|(name, content)| (name.to_str().unwrap().to_owned(), text(content)))
                    .collect()
            })
            .collect()
    }

    fn set(states: &[&[(&str, &str)]]) -> BTreeSet<Vec<(String, String)>> {
        let owned = |(name, content): &(&str, &str)| ((*name).to_owned(), (*content).to_owned());
        states.iter().map(|state| state.iter().map(owned).collect()).collect()
    }

    const A: &str = "1 openat(AT_FDCWD, \"/r/a\", O_RDWR|O_CREAT, 0600) = 3\n";

    #[test]
    fn a_sync_keeps_what_had_ended_before_it() {
        let old = [("a", "old")];
        let write = "1 pwrite64(3, \"new\", 3, 0) = 3\n";
        for (rest, without, expected) in [
            (format!("{write}1 fdatasync(3) = 0\n"), 0, set(&[&[("a", "new")]])),
            (format!("{write}1 fdatasync(3) = 0\n"), 1, set(&[&[("a", "new")], &[("a", "old")]])),
            (format!("{write}1 fdatasync(3) = -1 EIO (x)\n"), 0, set(&[&[("a", "new")], &[("a", "old")]])),
            (format!("1 fdatasync(3) = 0\n{write}"), 0, set(&[&[("a", "new")], &[("a", "old")]])),
            // Another thread writes while the sync runs.
            (
                format!("2 fsync(3 <unfinished ...>\n{write}2 <... fsync resumed>) = 0\n"),
                0,
                set(&[&[("a", "new")], &[("a", "old")]]),
            ),
            (
                format!("2 fsync(3 <unfinished ...>\n{write}2 <... fsync resumed>) = 0\n1 fsync(3) = 0\n"),
                0,
                set(&[&[("a", "new")]]),
            ),
        ] {
            assert_eq!(states(&format!("{A}{rest}"), &old, without, NameRule::Journal), expected, "{rest}");
        }
    }

    #[test]
    fn names_are_kept_in_their_order() {
        let folder = "1 openat(AT_FDCWD, \"/r\", O_RDONLY|O_DIRECTORY) = 9\n";
        let rename = "1 rename(\"/r/a\", \"/r/b\") = 0\n1 unlink(\"/r/c\") = 0\n";
        let initial = [("b", "old"), ("c", "c")];
        let (before, made) = (&[("b", "old"), ("c", "c")][..], &[("a", ""), ("b", "old"), ("c", "c")][..]);
        let (renamed, after) = (&[("b", ""), ("c", "c")][..], &[("b", "")][..]);
        for (rest, expected) in [
            (rename.to_owned(), vec![before, made, renamed, after]),
            (format!("1 fdatasync(3) = 0\n{rename}"), vec![made, renamed, after]),
            // The data of a file that has another name are no reason to write its name.
            (format!("{rename}1 fdatasync(3) = 0\n"), vec![made, renamed, after]),
            (format!("{rename}1 fsync(3) = 0\n"), vec![renamed, after]),
            (format!("{folder}{rename}1 fsync(9) = 0\n"), vec![after]),
            (format!("{rename}1 sync() = 0\n"), vec![after]),
        ] {
            assert_eq!(
                states(&format!("{A}{rest}"), &initial, 0, NameRule::Journal),
                set(&expected),
                "{rest}"
            );
        }
        let synced = format!("{A}{rename}1 fsync(3) = 0\n");
        let any = set(&[before, made, renamed, after]);
        assert_eq!(states(&synced, &initial, 0, NameRule::Folder), any);
    }
}
