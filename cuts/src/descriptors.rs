//! The descriptors of a recorded process: which file each call is about, and where in it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crate::calls::{Call, TraceError};
use crate::files::Files;
use crate::step::{Change, Effect, FileId, NameChange, Step, Sync};
use crate::syntax::Value;
use crate::{calls, datagrams};

/// Why a trace cannot be replayed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A line is not understood.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A call that the model does not know changed a file.
    #[error("line {line} of the trace: `{call}` of a file of the folder is not modelled")]
    Unknown {
        /// The line.
        line: usize,
        /// Its call.
        call: String,
    },
}

/// What an open descriptor leads to. Duplicates share it.
#[derive(Debug)]
enum Target {
    File { file: FileId, position: Cell<u64>, appends: bool },
    Folder(PathBuf),
}

/// A process whose files are in one folder.
pub(crate) struct Process {
    /// The folder, as an absolute path without links.
    root: PathBuf,
    descriptors: HashMap<i64, Rc<Target>>,
    names: BTreeMap<PathBuf, FileId>,
    lengths: Vec<u64>,
    steps: Vec<Step>,
}

/// Returns the steps of a trace, and the files of its names at its end.
pub(crate) fn replay(
    trace: &str,
    root: &Path,
    initial: &Files,
) -> Result<(Vec<Step>, BTreeMap<PathBuf, FileId>), ReplayError> {
    let calls = calls::parse(trace)?;
    let mut process = Process {
        root: root.to_owned(),
        descriptors: HashMap::new(),
        names: initial.keys().cloned().zip((0..).map(FileId)).collect(),
        lengths: initial.values().map(|content| content.len() as u64).collect(),
        steps: Vec::new(),
    };
    // A call takes its descriptor when it begins; what it returns is in force when it has ended.
    let mut moments: Vec<(usize, bool, &Call)> = Vec::new();
    for call in &calls {
        moments.extend([(call.began, false, call), (call.ended, true, call)]);
    }
    moments.sort_by_key(|(moment, ..)| *moment);
    for (_, is_end, call) in moments {
        if is_end { process.end(call)? } else { process.begin(call)? }
    }
    process.steps.sort_by_key(|step| step.began);
    Ok((process.steps, process.names))
}

impl Process {
    fn begin(&mut self, call: &Call) -> Result<(), ReplayError> {
        if call.result == Some(-1) {
            return Ok(());
        }
        let number = |index: usize| call.arguments.get(index).and_then(Value::number);
        match call.name.as_str() {
            "close" => {
                if let Some(descriptor) = number(0) {
                    self.descriptors.remove(&descriptor);
                }
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(call),
            "ftruncate" => {
                if let Some((file, length)) = self.file(call).zip(number(1)) {
                    self.change(call, file, Change::Resize(length.cast_unsigned()));
                }
            }
            "fallocate" => self.allocate(call)?,
            "fsync" | "fdatasync" => self.sync(call),
            "sync" | "syncfs" => self.push(call, Effect::Sync(Sync::All)),
            "sendto" | "sendmsg" | "sendmmsg" => {
                for datagram in datagrams::of(call) {
                    self.push(call, Effect::Sent(datagram));
                }
            }
            "copy_file_range" | "sendfile" | "splice" => {
                let index = if call.name == "sendfile" { 0 } else { 2 };
                if self.target(call, index).is_some() {
                    return Err(unknown(call));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, call: &Call) -> Result<(), ReplayError> {
        let Some(result) = call.result.filter(|result| *result >= 0) else { return Ok(()) };
        match call.name.as_str() {
            "open" | "openat" | "creat" => self.open(call, result)?,
            "dup" | "dup2" | "dup3" => self.duplicate(call, result),
            "fcntl" if is_duplication(call) => self.duplicate(call, result),
            "lseek" | "read" | "readv" => {
                if let Some(Target::File { position, .. }) = self.target(call, 0).as_deref() {
                    let from = if call.name == "lseek" { 0 } else { position.get() };
                    position.set(from + result.cast_unsigned());
                }
            }
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "unlink" | "unlinkat" | "symlink"
            | "symlinkat" | "truncate" => self.name(call)?,
            "recvfrom" | "recvmsg" | "recvmmsg" => {
                for datagram in datagrams::of(call) {
                    self.push(call, Effect::Received(datagram));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, call: &Call, effect: Effect) {
        self.steps.push(Step { began: call.began, ended: call.ended, effect });
    }

    fn target(&self, call: &Call, index: usize) -> Option<Rc<Target>> {
        let descriptor = call.arguments.get(index)?.number()?;
        self.descriptors.get(&descriptor).map(Rc::clone)
    }

    fn file(&self, call: &Call) -> Option<FileId> {
        if let Target::File { file, .. } = *self.target(call, 0)? { Some(file) } else { None }
    }

    fn change(&mut self, call: &Call, file: FileId, change: Change) {
        if let Some(length) = self.lengths.get_mut(file.0) {
            *length = change.length(*length);
        }
        self.push(call, Effect::Change(file, change));
    }

    fn write(&mut self, call: &Call) {
        let target = self.target(call, 0);
        let Some(Target::File { file, position, appends }) = target.as_deref() else { return };
        let mut bytes = match call.arguments.get(1) {
            Some(Value::Bytes(bytes)) => bytes.clone(),
            parts => parts
                .map(Value::list)
                .unwrap_or_default()
                .iter()
                .filter_map(|part| part.field("iov_base")?.bytes())
                .collect::<Vec<_>>()
                .concat(),
        };
        if let Some(result) = call.result {
            bytes.truncate(usize::try_from(result).unwrap_or(usize::MAX));
        }
        let offset = call.arguments.get(3).and_then(Value::number).filter(|_| call.name.starts_with('p'));
        let at = match offset {
            Some(offset) => offset.cast_unsigned(),
            None if *appends => self.lengths.get(file.0).copied().unwrap_or_default(),
            None => position.get(),
        };
        if offset.is_none() {
            position.set(at + bytes.len() as u64);
        }
        self.change(call, *file, Change::Write(at, bytes));
    }

    fn allocate(&mut self, call: &Call) -> Result<(), ReplayError> {
        let Some(file) = self.file(call) else { return Ok(()) };
        let number = |index: usize| call.arguments.get(index).and_then(Value::number);
        let (Some(mode), Some(at), Some(length)) =
            (call.arguments.get(1).and_then(Value::word), number(2), number(3))
        else {
            return Err(unknown(call));
        };
        match mode {
            "0" => self.change(call, file, Change::Extend((at + length).cast_unsigned())),
            "FALLOC_FL_KEEP_SIZE" => {}
            _ => return Err(unknown(call)),
        }
        Ok(())
    }

    fn sync(&mut self, call: &Call) {
        let sync = match self.target(call, 0).as_deref() {
            Some(Target::File { file, .. }) => {
                Sync::File { file: *file, data_only: call.name == "fdatasync", ignored: false }
            }
            Some(Target::Folder(path)) => Sync::Folder(path.clone()),
            None => return,
        };
        self.push(call, Effect::Sync(sync));
    }

    fn open(&mut self, call: &Call, descriptor: i64) -> Result<(), ReplayError> {
        let first = usize::from(call.name == "openat");
        let Some(path) = self.path(call, first) else {
            self.descriptors.remove(&descriptor);
            return Ok(());
        };
        let flags = call.arguments.get(first + 1).and_then(Value::word).unwrap_or_default();
        let has = |flag: &str| flags.split('|').any(|word| word == flag);
        if has("O_TMPFILE") {
            return Err(unknown(call));
        }
        let target = if has("O_DIRECTORY") || path.as_os_str().is_empty() {
            Target::Folder(path)
        } else {
            let file = match self.names.get(&path) {
                Some(file) => *file,
                None => self.create(call, path),
            };
            if has("O_TRUNC") && self.lengths.get(file.0) != Some(&0) {
                self.change(call, file, Change::Resize(0));
            }
            Target::File { file, position: Cell::new(0), appends: has("O_APPEND") }
        };
        self.descriptors.insert(descriptor, Rc::new(target));
        Ok(())
    }

    fn create(&mut self, call: &Call, path: PathBuf) -> FileId {
        let file = FileId(self.lengths.len());
        self.lengths.push(0);
        self.names.insert(path.clone(), file);
        self.push(call, Effect::Name(NameChange::Link { path, file, new: true }));
        file
    }

    fn duplicate(&mut self, call: &Call, descriptor: i64) {
        match self.target(call, 0) {
            Some(target) => self.descriptors.insert(descriptor, target),
            None => self.descriptors.remove(&descriptor),
        };
    }

    fn name(&mut self, call: &Call) -> Result<(), ReplayError> {
        let (from, to) = match call.name.as_str() {
            "rename" | "link" => (self.path(call, 0), self.path(call, 1)),
            "renameat" | "renameat2" | "linkat" => (self.path(call, 1), self.path(call, 3)),
            "unlink" => (self.path(call, 0), None),
            "unlinkat" => (self.path(call, 1), None),
            // A link or a truncation by name.
            _ => (None, (0..3).find_map(|index| self.path(call, index))),
        };
        let file = from.as_ref().and_then(|from| self.names.get(from).copied());
        let is_link = call.name.starts_with("link");
        let change = match (from, to, file) {
            // A socket, or a file elsewhere.
            (_, None, None) => return Ok(()),
            (Some(path), None, Some(file)) if call.name.starts_with("unlink") => {
                self.names.remove(&path);
                NameChange::Unlink(path, file)
            }
            (_, Some(path), Some(file)) if is_link => {
                self.names.insert(path.clone(), file);
                NameChange::Link { path, file, new: false }
            }
            (Some(from), Some(to), Some(file)) => {
                self.names.remove(&from);
                self.names.insert(to.clone(), file);
                NameChange::Rename { from, to, file }
            }
            _ => return Err(unknown(call)),
        };
        self.push(call, Effect::Name(change));
        Ok(())
    }

    /// Returns the path of an argument in relation to the folder, if it is there; that of a call that takes a descriptor
    /// of a folder stands behind that.
    fn path(&self, call: &Call, index: usize) -> Option<PathBuf> {
        let text = String::from_utf8(call.arguments.get(index)?.bytes()?.to_vec()).ok()?;
        let mut path = PathBuf::new();
        for component in Path::new(&text).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    path.pop();
                }
                other => path.push(other),
            }
        }
        if path.is_absolute() {
            return path.strip_prefix(&self.root).ok().map(Path::to_owned);
        }
        let folder = self.target(call, index.checked_sub(1)?)?;
        if let Target::Folder(folder) = &*folder { Some(folder.join(path)) } else { None }
    }
}

fn is_duplication(call: &Call) -> bool {
    call.arguments.get(1).and_then(Value::word).is_some_and(|command| command.starts_with("F_DUPFD"))
}

fn unknown(call: &Call) -> ReplayError {
    ReplayError::Unknown { line: call.began / 2 + 1, call: call.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
1 openat(AT_FDCWD, \"/r/a\", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3
1 write(3, \"head\", 4) = 4
1 fcntl(3, F_DUPFD_CLOEXEC, 3) = 4
1 close(3 <unfinished ...>
2 openat(AT_FDCWD, \"/elsewhere\", O_RDWR) = 3
1 <... close resumed>) = 0
2 write(3, \"not here\", 8) = 8
1 lseek(4, 2, SEEK_SET) = 2
1 read(4, \"ad\", 2) = 2
1 write(4, \"tail\", 4) = 2
1 pwrite64(4, \"xx\", 2, 40) = 2
1 fallocate(4, 0, 0, 100) = 0
1 fdatasync(4) = 0
1 openat(AT_FDCWD, \"/r\", O_RDONLY|O_DIRECTORY) = 5
1 fsync(5) = 0
1 rename(\"/r/old\", \"/r/b\") = 0
1 openat(5, \"b\", O_WRONLY|O_APPEND) = 6
1 write(6, \"!\", 1) = 1
1 ftruncate(6, 1 <unfinished ...>
";

    #[test]
    fn calls_are_about_files() {
        let initial = Files::from([("old".into(), b"old".to_vec())]);
        let (steps, names) = replay(TRACE, Path::new("/r"), &initial).unwrap();
        let (old, a) = (FileId(0), FileId(1));
        let change = |file, change| Effect::Change(file, change);
        let effects: Vec<_> = steps.into_iter().map(|step| step.effect).collect();
        assert_eq!(
            effects,
            [
                Effect::Name(NameChange::Link { path: "a".into(), file: a, new: true }),
                change(a, Change::Write(0, b"head".to_vec())),
                change(a, Change::Write(4, b"ta".to_vec())),
                change(a, Change::Write(40, b"xx".to_vec())),
                change(a, Change::Extend(100)),
                Effect::Sync(Sync::File { file: a, data_only: true, ignored: false }),
                Effect::Sync(Sync::Folder("".into())),
                Effect::Name(NameChange::Rename { from: "old".into(), to: "b".into(), file: old }),
                change(old, Change::Write(3, b"!".to_vec())),
                change(old, Change::Resize(1)),
            ]
        );
        assert_eq!(names, BTreeMap::from([("a".into(), a), ("b".into(), old)]));
    }

    #[test]
    fn what_is_not_modelled_is_refused() {
        let open = "1 openat(AT_FDCWD, \"/r/a\", O_RDWR|O_CREAT, 0600) = 3\n";
        for call in [
            "copy_file_range(4, NULL, 3, NULL, 10, 0) = 10",
            "fallocate(3, FALLOC_FL_ZERO_RANGE, 0, 10) = 0",
            "truncate(\"/r/a\", 5) = 0",
            "symlink(\"x\", \"/r/b\") = 0",
        ] {
            let trace = format!("{open}1 {call}\n");
            let replayed = replay(&trace, Path::new("/r"), &Files::new());
            assert!(matches!(replayed, Err(ReplayError::Unknown { line: 2, .. })), "{call}");
        }
    }
}
