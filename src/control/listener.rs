//! The control socket as a file: created beside a database, removed when the server stops.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The pause after an error of `accept` that would come again at once, such as a lack of file descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What a wait for connections ended with.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A client has connected.
    Connection(UnixStream),
    /// No connection came of it; wait again.
    Nothing,
    /// The server stops.
    Stop,
}

/// A listening socket. Dropping it removes its file.
pub(super) struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    /// The file that this listener has created.
    file: FileId,
}

impl ControlListener {
    /// Listens at `path`.
    ///
    /// A socket that is there belonged to a server that has ended, since only one process can have the database open:
    /// it is replaced. Any other file is left alone, and an error.
    pub(super) fn bind(path: PathBuf) -> io::Result<Self> {
        if fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let file = FileId::of(&path)?;
        Ok(Self { listener, path, file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next connection, or until the peer of `end` is closed.
    pub(super) fn accept(&self, end: &UnixStream) -> Accepted {
        let sources = [end.as_fd(), self.listener.as_fd()];
        let mut watched = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
        if let Err(error) = poll(&mut watched, PollTimeout::NONE) {
            if error != Errno::EINTR {
                return self.pause(&error.into());
            }
            return Accepted::Nothing;
        }
        let [ended, connected] = watched.map(|fd| fd.any() != Some(false));
        if ended {
            return Accepted::Stop;
        }
        if !connected {
            return Accepted::Nothing;
        }
        match self.listener.accept() {
            Ok((stream, _)) => Accepted::Connection(stream),
            Err(error) => self.pause(&error),
        }
    }

    fn pause(&self, error: &io::Error) -> Accepted {
        log::debug!("control socket {}: {error}", self.path.display());
        thread::sleep(ERROR_PAUSE);
        Accepted::Nothing
    }
}

impl fmt::Debug for ControlListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlListener").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // If the database was moved away, another server can have created a socket of this name.
        let is_ours = FileId::of(&self.path).is_ok_and(|file| file == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("control socket {} cannot be removed: {error}", self.path.display());
        }
    }
}

/// The identity of a file, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}
