//! The file that names the moves at hand, so that a migration with `--delete` that was killed can go on.
//!
//! ```text
//! pyzor-migrate 1
//! from gdbm /var/lib/pyzor/pyzord.db
//! to redis localhost:6379/0
//! STAGE RECORD RECORD RECORD  of the source, and of the destination before and after; a line for each move
//! end
//! ```
//!
//! It is on the disk before a record is changed, and is always a whole one: a new file takes its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use pyzord_core::{Digest, Record};
use thiserror::Error;

use super::moves::{Move, Stage};
use crate::csv::{self, RecordLine};

const FIRST: &str = "pyzor-migrate 1";
const LAST: &str = "end";
const STAGES: [(Stage, &str); 3] =
    [(Stage::Store, "store"), (Stage::Remove, "remove"), (Stage::Finish, "finish")];
/// More bytes than the moves of the largest slice take.
const MAX_SIZE: u64 = 16 << 20;

/// Why the journal cannot be used.
#[derive(Debug, Error)]
#[error("journal {}: {cause}", .path.display())]
pub(crate) struct JournalError {
    path: PathBuf,
    cause: JournalCause,
}

#[derive(Debug, Error)]
enum JournalCause {
    #[error("{0}; --journal names another file")]
    Io(#[from] io::Error),
    #[error(
        "this is another file, or that of another migration; finish that one first, or name another file with --journal"
    )]
    Other,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    head: String,
}

impl Journal {
    /// Opens or creates the journal of the migration between two databases with these names. Returns the moves that were
    /// interrupted.
    pub(crate) fn open(path: &Path, [from, to]: [&str; 2]) -> Result<(Self, Vec<Move>), JournalError> {
        let head = format!("{FIRST}\nfrom {}\nto {}\n", from.escape_debug(), to.escape_debug());
        let failed = |cause| JournalError { path: path.to_owned(), cause };
        let (file, text) = open(path)
            .and_then(|(file, created)| {
                lock(&file)?;
                let mut text = String::new();
                (&file).take(MAX_SIZE).read_to_string(&mut text)?;
                if created {
                    sync_folder(path)?;
                }
                Ok((file, text))
            })
            .map_err(|error| failed(error.into()))?;
        // An empty one is of a run that changed nothing.
        let moves =
            if text.is_empty() { Some(Vec::new()) } else { text.strip_prefix(&*head).and_then(parse) };
        let moves = moves.ok_or_else(|| failed(JournalCause::Other))?;
        Ok((Self { path: path.to_owned(), file, head }, moves))
    }

    /// Writes the moves that follow to the disk, in place of those before: at no time are both missing.
    pub(crate) fn write(&mut self, moves: &[Move]) -> Result<(), JournalError> {
        let mut text = self.head.clone();
        for Move { stage, digest, record, before, after } in moves {
            let [record, before, after] = [record, before, after].map(|record| RecordLine(*digest, record));
            let stage = STAGES.iter().find(|(known, _)| known == stage).map_or("", |(_, name)| name);
            text += &format!("{stage} {record} {before} {after}\n");
        }
        text += LAST;
        text.push('\n');
        self.file = replace(&self.path, &self.file, &text)
            .map_err(|error| JournalError { path: self.path.clone(), cause: error.into() })?;
        Ok(())
    }

    /// Removes the file: no move is at hand.
    pub(crate) fn remove(self) -> Result<(), JournalError> {
        fs::remove_file(&self.path).map_err(|error| JournalError { path: self.path, cause: error.into() })
    }
}

/// Puts a file with this text in the place of another one, with its owner and a lock of its own.
fn replace(path: &Path, old: &File, text: &str) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    // A run that was killed may have left one.
    if let Err(error) = fs::remove_file(new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(new)?;
    file.try_lock()?;
    let (owner, own) = (old.metadata()?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(new, path)?;
    sync_folder(path)?;
    Ok(file)
}

/// Opens the file, and returns whether it was created. In a folder of another user it may be a link to any file: a
/// symbolic link is not followed, and an existing file is written only after it was read as a journal.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((options.open(path)?, false)),
        created => Ok((created?, true)),
    }
}

/// Two runs at once would add a record twice.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another pyzor-migrate is at work with it")),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) if file.metadata()?.nlink() == 0 => {
            Err(io::Error::other("another pyzor-migrate has just removed it"))
        }
        Ok(()) => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Parses the lines below the head; `None` if they are not those of a journal.
fn parse(text: &str) -> Option<Vec<Move>> {
    let lines = text.strip_suffix('\n')?.strip_suffix(LAST)?;
    lines.lines().map(parse_move).collect()
}

fn parse_move(line: &str) -> Option<Move> {
    let (name, line) = line.split_once(' ')?;
    let (stage, _) = STAGES.into_iter().find(|(_, known)| *known == name)?;
    let records: Vec<(Digest, Record)> = line.split(' ').map(csv::parse).collect::<Result<_, _>>().ok()?;
    let [(digest, record), (_, before), (_, after)] = <[_; 3]>::try_from(records).ok()?;
    Some(Move { stage, digest, record, before, after })
}

#[cfg(test)]
mod tests {
    use pyzord_core::{Tally, UnixTime};

    use super::*;

    #[test]
    fn moves_are_read_back_and_a_torn_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let open = || Journal::open(&path, ["gdbm a\nb", "redis c"]);
        let time = Some(UnixTime::from_micros(1_700_000_000_000_001));
        let record =
            |count| Record { reports: Tally { count, entered: time, updated: None }, ..Record::default() };
        let step = |n: u8| {
            let stage = [Stage::Store, Stage::Remove, Stage::Finish][usize::from(n % 3)];
            let [record, before, after] = [1, 2, 3].map(record);
            Move { stage, digest: Digest::new([n; 20]), record, before, after }
        };
        let (mut journal, moves) = open().unwrap();
        assert_eq!(moves, []);
        journal.write(&[step(1), step(2), step(3)]).unwrap();
        journal.write(&[step(4), step(5)]).unwrap();
        assert!(open().is_err(), "another run has it");
        drop(journal);
        assert_eq!(open().unwrap().1, [step(4), step(5)]);
        let text = fs::read(&path).unwrap();
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).unwrap();
            assert_eq!(open().is_ok(), length == 0, "{length}");
        }
        fs::write(&path, &text).unwrap();
        assert!(Journal::open(&path, ["gdbm a\nb", "redis d"]).is_err());
        open().unwrap().0.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn no_other_file_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        fs::write(&path, "root:x:0:0\n").unwrap();
        assert!(Journal::open(&path, ["a", "b"]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "root:x:0:0\n");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Journal::open(&link, ["a", "b"]).is_err());
    }
}
