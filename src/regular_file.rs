//! Reads the files that users write, none of which can block the server or fill its memory.
//!
//! A FIFO without a writer, a terminal or a network file system that is away keeps a plain read waiting for ever, and
//! with it a start, a reload or a stop.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use thiserror::Error;

/// The largest file that is read: about a million accounts.
const LARGEST: u64 = 64 << 20;
/// How long a file has until all of it is read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The system's error.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name is that of something else.
    #[error("it is a {0}, not a regular file; put the text into a regular file")]
    Kind(&'static str),
    /// The file is too large.
    #[error("it has more than {} MiB; check the file's name", LARGEST >> 20)]
    TooLarge,
    /// The file system does not answer.
    #[error("it was not read within {} s; check its file system", TIMEOUT.as_secs())]
    Timeout,
}

/// Returns the content of a file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let path = path.to_owned();
    match within(TIMEOUT, move || open(&path).and_then(|file| content(&file)))? {
        Ok(content) => Ok(Some(content)),
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file for reading, or `/dev/null`, which is an empty one.
pub(crate) fn open(path: &Path) -> Result<File, ReadError> {
    // To open a device can have effects.
    check(path, fs::metadata(path)?.file_type())?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // The name may be that of another file now.
    check(path, file.metadata()?.file_type())?;
    Ok(file)
}

fn check(path: &Path, found: FileType) -> Result<(), ReadError> {
    let is_null = || found.is_char_device() && fs::canonicalize(path).is_ok_and(|path| path == *"/dev/null");
    if found.is_file() || is_null() {
        return Ok(());
    }
    Err(ReadError::Kind(match found {
        _ if found.is_dir() => "directory",
        _ if found.is_fifo() => "FIFO",
        _ if found.is_socket() => "socket",
        _ => "device",
    }))
}

fn content(file: &File) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST { Err(ReadError::TooLarge) } else { Ok(content) }
}

/// Runs `task` in a thread of its own, which is left behind if it takes longer than `timeout`.
fn within<T: Send + 'static>(
    timeout: Duration,
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReadError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    // A result that comes too late has no receiver.
    let run = move || drop(sender.send(task()));
    let thread = thread::Builder::new().name("read a file".to_owned()).spawn(run)?;
    let result = receiver.recv_timeout(timeout).map_err(|_| ReadError::Timeout)?;
    // It is about to end. A thread that lives on could take a signal that the start waits for.
    drop(thread.join());
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn regular_files_are_read_and_everything_else_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("none"), path("dangling")).unwrap();
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, expected) in
            [("file", Some("text")), ("link", Some("text")), ("none", None), ("dangling", None)]
        {
            assert_eq!(read(&path(name)).unwrap().as_deref(), expected.map(str::as_bytes), "{name}");
        }
        assert_eq!(read(Path::new("/dev/null")).unwrap().as_deref(), Some(&b""[..]));
        for (path, kind) in [
            (path("fifo"), "a FIFO"),
            (path("socket"), "a socket"),
            (path(""), "a directory"),
            ("/dev/zero".into(), "a device"),
        ] {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(kind), "{error}");
        }
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let sparse = folder.path().join("sparse");
        File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&sparse), Err(ReadError::TooLarge)));
    }

    #[test]
    fn a_file_system_that_does_not_answer_is_given_up() {
        let (_sender, receiver) = mpsc::channel::<()>();
        let hung = within(Duration::ZERO, move || receiver.recv());
        assert!(matches!(hung, Err(ReadError::Timeout)));
    }
}
