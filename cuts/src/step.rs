//! What a recorded process did to its files and for its clients.

use std::path::PathBuf;

use crate::calls::NEVER;

/// A file, whatever names it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct FileId(pub(crate) usize);

/// One step of a recorded process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// The moment at which it began.
    pub(crate) began: usize,
    /// The moment at which it ended, if it did.
    pub(crate) ended: usize,
    /// What it does.
    pub(crate) effect: Effect,
}

/// The effect of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Changes the content of a file.
    Change(FileId, Change),
    /// Writes to the disk what was changed before.
    Sync(Sync),
    /// Changes the names in the folder.
    Name(NameChange),
    /// A datagram came.
    Received(Datagram),
    /// A datagram leaves.
    Sent(Datagram),
}

/// A change of a file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Bytes were written at this place.
    Write(u64, Vec<u8>),
    /// The file has this length.
    Resize(u64),
    /// The file has at least this length.
    Extend(u64),
}

/// What a sync writes to the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// A file, and unless only its data are meant, its names as well.
    File {
        /// The file.
        file: FileId,
        /// `fdatasync`
        data_only: bool,
        /// The disk says that it has done it, and has not.
        ignored: bool,
    },
    /// The names of this folder.
    Folder(PathBuf),
    /// Everything.
    All,
}

/// A change of the names in the folder. All paths are relative to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NameChange {
    /// A file has a new name: its first one, if it is `new`.
    Link {
        /// The name.
        path: PathBuf,
        /// The file.
        file: FileId,
        /// The file was made with this name.
        new: bool,
    },
    /// A name is gone.
    Unlink(PathBuf, FileId),
    /// A file has another name.
    Rename {
        /// The name that is gone.
        from: PathBuf,
        /// The name that it has.
        to: PathBuf,
        /// The file.
        file: FileId,
    },
}

/// A datagram from a client or to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Datagram {
    /// The client's address, as strace prints it.
    pub(crate) peer: String,
    /// The content.
    pub(crate) content: String,
}

impl Step {
    /// Returns whether it has ended before a moment.
    pub(crate) fn has_ended(&self, moment: usize) -> bool {
        self.ended != NEVER && self.ended < moment
    }
}

impl Datagram {
    /// Returns the values of a header.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.content.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Returns what a request and its reply have in common.
    pub(crate) fn identity(&self) -> (String, String) {
        (self.peer.clone(), self.values("Thread").next().unwrap_or_default().to_owned())
    }
}

impl NameChange {
    pub(crate) fn file(&self) -> FileId {
        match self {
            Self::Link { file, .. } | Self::Unlink(_, file) | Self::Rename { file, .. } => *file,
        }
    }

    /// Returns the names that it makes or removes.
    pub(crate) fn paths(&self) -> [&PathBuf; 2] {
        match self {
            Self::Link { path, .. } | Self::Unlink(path, _) => [path, path],
            Self::Rename { from, to, .. } => [from, to],
        }
    }
}

impl Change {
    /// Returns the length of a file that had this one.
    pub(crate) fn length(&self, before: u64) -> u64 {
        match self {
            Self::Write(at, bytes) => before.max(at + bytes.len() as u64),
            Self::Resize(length) => *length,
            Self::Extend(length) => before.max(*length),
        }
    }
}
