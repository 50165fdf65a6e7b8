//! The control socket as a file: created when the server starts, removed when it stops.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use thiserror::Error;

use crate::write_access;

/// The pause after an error of `accept` that would come again at once, such as a lack of file descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The most bytes of a socket's path: `sun_path` without the zero at its end.
const LONGEST_PATH: usize = 107;
/// The time that a server has to take a connection from its queue, if that is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no control socket.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    #[error("its path has {0} bytes, and that of a socket has at most {LONGEST_PATH}")]
    TooLong(usize),
    #[error("another server answers there")]
    Served,
    #[error("there is a file that is not a socket")]
    NotASocket,
    #[error(transparent)]
    Io(#[from] io::Error),
}

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
pub(crate) struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    /// The file that this listener has created.
    file: FileId,
}

impl ControlListener {
    /// Listens at `path`. A socket that no server answers at was left by one that was killed: it is replaced. Any other file
    /// is left alone, and an error.
    pub(crate) fn bind(path: PathBuf) -> Result<Self, ListenError> {
        check_length(&path)?;
        if let Ok(file) = fs::symlink_metadata(&path) {
            if !file.file_type().is_socket() {
                return Err(ListenError::NotASocket);
            }
            match connect(&path) {
                Ok(_) => return Err(ListenError::Served),
                Err(ListenError::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(&path)?;
                }
                // A server whose queue is full is one, too; what belongs to another account is not ours to remove.
                Err(error) => return Err(error),
            }
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let file = FileId::of(&path)?;
        Ok(Self { listener, path, file })
    }

    /// Fails where [`bind`](Self::bind) would once no server runs. `coming` is a folder that may be created before.
    pub(crate) fn check(path: &Path, coming: &Path) -> Result<(), ListenError> {
        check_length(path)?;
        match fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => Err(ListenError::NotASocket),
            _ if write_access::folder(path) == coming && !coming.exists() => Ok(()),
            _ => Ok(write_access::check_folder(write_access::folder(path))?),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next connection, or until the peer of `end` is closed.
    pub(super) fn accept(&self, end: &UnixStream) -> Accepted {
        let sources = [end.as_fd(), self.listener.as_fd()];
        let mut watched = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
        if let Err(error) = poll(&mut watched, PollTimeout::NONE) {
            if error != nix::errno::Errno::EINTR {
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
        // If the file was moved away, another server can have created a socket of this name.
        let is_ours = FileId::of(&self.path).is_ok_and(|file| file == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("control socket {} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Connects to a socket. A server that hangs, and whose queue is full, is waited for only a short time.
pub(super) fn connect(path: &Path) -> Result<UnixStream, ListenError> {
    check_length(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let stream = UnixStream::from(socket.map_err(io::Error::from)?);
    // The system counts the wait for room in the queue as one of a write.
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    rustix::net::connect(&stream, &address).map_err(|errno| match errno {
        Errno::AGAIN => io::Error::new(io::ErrorKind::TimedOut, "the server does not take the connection"),
        errno => errno.into(),
    })?;
    Ok(stream)
}

fn check_length(path: &Path) -> Result<(), ListenError> {
    match path.as_os_str().len() {
        length if length > LONGEST_PATH => Err(ListenError::TooLong(length)),
        _ => Ok(()),
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
