//! What was recorded of a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cut::{Cut, Moments};
use crate::descriptors::{ReplayError, replay};
use crate::disk::{self, NameRule, State};
use crate::files::Files;
use crate::ledger::{self, Ledger, Log, Promise};
use crate::random::Random;
use crate::step::{Effect, FileId, NameChange, Step, Sync};
use crate::survival::apply_whole;

/// The files of an engine, by their names in the folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The file whose sync keeps the reports.
    pub log: &'static str,
    /// The file, if there is one, whose content means nothing after the system has started again: it is left away, full of
    /// zeros, or full of anything.
    pub volatile: Option<&'static str>,
}

/// How often a recorded process did what matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Figures {
    /// Changes of files.
    pub changes: usize,
    /// Syncs of files.
    pub syncs: usize,
    /// Replies.
    pub replies: usize,
    /// Names that were made or removed.
    pub names: usize,
}

/// The steps of a process and the files that it began with.
#[derive(Clone, Debug)]
pub struct Recording {
    initial: Files,
    steps: Vec<Step>,
    last: BTreeMap<PathBuf, FileId>,
    layout: Layout,
    /// What clients know of the initial files.
    before: Ledger,
    names: NameRule,
}

impl Recording {
    pub(crate) fn new(
        trace: &str,
        folder: &Path,
        initial: Files,
        layout: Layout,
    ) -> Result<Self, ReplayError> {
        let (steps, last) = replay(trace, folder, &initial)?;
        Ok(Self { initial, steps, last, layout, before: Ledger::new(), names: NameRule::Journal })
    }

    /// Returns the recording of a process that began with the files that a cut has left, of which clients know this.
    #[must_use]
    pub fn after(mut self, before: Ledger) -> Self {
        self.before = before;
        // What a cut has lost is not lost again.
        self.before.values_mut().for_each(|bounds| bounds.acknowledged = bounds.promised);
        self
    }

    /// Returns the recording with this content of an initial file on the disk. The process has read another content, from the
    /// system's memory: after a sync that fails, the system takes that for written, and no later sync writes it.
    #[must_use]
    pub fn with_unwritten(mut self, name: &Path, on_disk: Vec<u8>) -> Self {
        if let Some(content) = self.initial.get_mut(name) {
            *content = on_disk;
        }
        self
    }

    /// Returns the recording on a disk that keeps names by another rule.
    #[must_use]
    pub fn with_names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    /// Returns how often the process did what matters.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let count = |is: fn(&Effect) -> bool| self.steps.iter().filter(|step| is(&step.effect)).count();
        Figures {
            changes: count(|effect| matches!(effect, Effect::Change(..))),
            syncs: count(|effect| matches!(effect, Effect::Sync(Sync::File { .. } | Sync::All))),
            replies: count(|effect| matches!(effect, Effect::Sent(_))),
            names: count(|effect| matches!(effect, Effect::Name(_))),
        }
    }

    /// Returns the cut of a seed.
    #[must_use]
    pub fn cut(&self, moments: Moments, seed: u64) -> Cut {
        Cut::choose(&self.steps, moments, seed)
    }

    /// Returns what the disk has at a cut.
    #[must_use]
    pub fn state(&self, cut: Cut) -> State {
        let mut state = disk::at_cut(&self.steps, &self.initial, cut, self.names);
        if let Some(name) = self.layout.volatile
            && let Some(content) = state.files.get_mut(Path::new(name))
        {
            let mut random = Random::new(cut.seed ^ 1);
            match random.index(3) {
                0 => drop(state.files.remove(Path::new(name))),
                1 => content.fill(0),
                _ => content.fill_with(|| u8::try_from(random.index(256)).unwrap_or_default()),
            }
        }
        state
    }

    /// Returns what clients know at a cut.
    #[must_use]
    pub fn ledger(&self, cut: Cut, promise: Promise) -> Ledger {
        let mut ledger = self.before.clone();
        ledger::add(&mut ledger, &self.steps, cut.moment, promise, &self.logs());
        ledger
    }

    /// Returns the recording on a disk that ignores some syncs of files and says that it has done them. They are chosen by
    /// the file's name and the number of its sync.
    #[must_use]
    pub fn with_ignored_syncs(&self, is_ignored: impl Fn(&Path, usize) -> bool) -> Self {
        let mut numbers = BTreeMap::<FileId, usize>::new();
        let names = self.all_names();
        let mut recording = self.clone();
        for step in &mut recording.steps {
            if let Effect::Sync(Sync::File { file, ignored, .. }) = &mut step.effect {
                let number = numbers.entry(*file).or_default();
                *ignored = names.iter().any(|(path, named, _)| named == file && is_ignored(path, *number));
                *number += 1;
            }
        }
        recording
    }

    /// Returns the recording of a process that replies before it counts: each reply leaves as its request arrives.
    #[must_use]
    pub fn with_early_replies(&self) -> Self {
        let mut recording = self.clone();
        let mut arrivals = BTreeMap::<(String, String), usize>::new();
        for step in &mut recording.steps {
            match &step.effect {
                Effect::Received(request) => {
                    arrivals.insert(request.identity(), step.ended);
                }
                Effect::Sent(reply) => {
                    if let Some(arrival) = arrivals.get(&reply.identity()) {
                        (step.began, step.ended) = (arrival + 1, arrival + 1);
                    }
                }
                _ => {}
            }
        }
        recording.steps.sort_by_key(|step| step.began);
        recording
    }

    /// Returns a file that is not what the recorded changes make of it.
    pub(crate) fn difference(&self, found: &Files) -> Option<PathBuf> {
        let mut files: BTreeMap<FileId, Vec<u8>> =
            (0..).map(FileId).zip(self.initial.values().cloned()).collect();
        for step in &self.steps {
            if let Effect::Change(file, change) = &step.effect {
                apply_whole(change, files.entry(*file).or_default());
            }
        }
        let is_volatile =
            |name: &Path| self.layout.volatile.is_some_and(|volatile| name == Path::new(volatile));
        let modelled: Files = self
            .last
            .iter()
            .map(|(name, file)| (name.clone(), files.remove(file).unwrap_or_default()))
            .collect();
        let names = modelled.keys().chain(found.keys());
        names.filter(|name| !is_volatile(name)).find(|name| modelled.get(*name) != found.get(*name)).cloned()
    }

    /// Returns the files that had the name of the log, and since when.
    fn logs(&self) -> Vec<Log> {
        let is_log = |(path, ..): &(PathBuf, FileId, usize)| path == Path::new(self.layout.log);
        self.all_names().into_iter().filter(is_log).map(|(_, file, since)| (file, since)).collect()
    }

    /// Returns all names that files had, and since when.
    fn all_names(&self) -> Vec<(PathBuf, FileId, usize)> {
        let initial = self.initial.keys().cloned().zip((0..).map(FileId)).map(|(path, file)| (path, file, 0));
        let made = self.steps.iter().filter_map(|step| match &step.effect {
            Effect::Name(NameChange::Link { path, file, .. } | NameChange::Rename { to: path, file, .. }) => {
                Some((path.clone(), *file, step.ended))
            }
            _ => None,
        });
        initial.chain(made).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
1 recvfrom(5, \"Op: report\\nOp-Digest: d\\nThread: 1\\n\\n\", 99, 0, {sin_port=htons(1)}, [16]) = 41
1 openat(AT_FDCWD, \"/r/log\", O_RDWR|O_CREAT, 0600) = 3
1 pwrite64(3, \"d\", 1, 0) = 1
1 fdatasync(3) = 0
1 sendto(5, \"Code: 200\\nThread: 1\\n\\n\", 99, 0, {sin_port=htons(1)}, 16) = 21
1 openat(AT_FDCWD, \"/r/shm\", O_RDWR|O_CREAT, 0600) = 4
1 ftruncate(4, 9) = 0
1 fsync(4) = 0
";

    fn recording() -> Recording {
        let layout = Layout { log: "log", volatile: Some("shm") };
        Recording::new(TRACE, Path::new("/r"), Files::new(), layout).unwrap()
    }

    /// Returns whether the log has what is promised at each of many cuts.
    fn keeps_its_promise(recording: &Recording, promise: Promise) -> bool {
        (0..300).all(|seed| {
            let cut = recording.cut(Moments::Any, seed);
            let kept = recording.state(cut).files.get(Path::new("log")) == Some(&b"d".to_vec());
            recording.ledger(cut, promise).values().all(|bounds| bounds.promised == 0 || kept)
        })
    }

    #[test]
    fn a_sync_that_is_ignored_breaks_the_promise() {
        let recording = recording();
        assert_eq!(recording.figures(), Figures { changes: 2, syncs: 2, replies: 1, names: 2 });
        assert!(keeps_its_promise(&recording, Promise::Strict));
        assert!(keeps_its_promise(&recording, Promise::Deferred));
        let lying = recording.with_ignored_syncs(|path, number| path == Path::new("log") && number == 0);
        assert!(!keeps_its_promise(&lying, Promise::Strict));
        let late = TRACE.replace("1 sendto", "1 fdatasync(3) = 0\n1 sendto") + "1 fdatasync(3) = 0\n";
        let recording =
            Recording { steps: replay(&late, Path::new("/r"), &Files::new()).unwrap().0, ..recording };
        let lying = recording.with_ignored_syncs(|path, _| path == Path::new("log"));
        assert!(!keeps_its_promise(&lying, Promise::Deferred));
        let early = recording.with_early_replies();
        assert!(!keeps_its_promise(&early, Promise::Strict));
        assert!(keeps_its_promise(&early, Promise::Deferred));
    }

    #[test]
    fn a_volatile_file_has_any_content() {
        let recording = recording();
        let mut seen = [false; 3];
        for seed in 0..30 {
            let mut files = recording.state(Cut { moment: 99, seed }).files;
            match files.remove(Path::new("shm")) {
                None => seen[0] = true,
                Some(content) => seen[1 + usize::from(content != [0; 9])] = true,
            }
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn files_that_the_calls_do_not_give_are_found() {
        let file = |name: &str, content: &str| (PathBuf::from(name), content.as_bytes().to_vec());
        for (found, different) in [
            (vec![file("log", "d"), file("shm", "?")], None),
            (vec![file("log", "x")], Some("log")),
            (vec![], Some("log")),
            (vec![file("log", "d"), file("other", "")], Some("other")),
        ] {
            assert_eq!(recording().difference(&found.into_iter().collect()), different.map(PathBuf::from));
        }
    }
}
