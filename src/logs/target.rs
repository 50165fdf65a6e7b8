//! Where lines go: a log file, or standard error.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FileType, SeekFrom, fstat, ftruncate, seek};
use thiserror::Error;

use crate::write_access;

/// How long a reader that does not read is waited for, before the writer looks at its other duties.
const PATIENCE: Duration = Duration::from_millis(250);

/// The most bytes that a pipe takes as a whole, of POSIX outside Linux.
const PIPE_BUF: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Why there is no log.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// A log file cannot be opened.
    #[error("log file {}: {cause}", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The log file is a FIFO or a socket without a reader: to wait for one would stop the server.
    #[error("log file {}: it is a FIFO or socket, and no program reads it", .0.display())]
    Unread(PathBuf),
    /// The thread that writes a log cannot be started.
    #[error("log: no thread to write it: {0}")]
    Thread(#[source] io::Error),
    /// The process has a log already.
    #[error("log: {0}")]
    Installed(#[source] log::SetLoggerError),
}

/// Where lines are written.
#[derive(Debug)]
pub(super) struct Target {
    output: Output,
    /// What stands at the end is no whole line, and cannot be cut off.
    torn: bool,
}

#[derive(Debug)]
enum Output {
    File { path: PathBuf, file: File },
    Terminal(io::Stderr),
}

impl Target {
    pub(super) fn standard_error() -> Self {
        Self { output: Output::Terminal(io::stderr()), torn: false }
    }

    /// Opens a log file to append to it. It never waits for the reader of a FIFO.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let file = append(path)?;
        let torn = ends_within_a_line(&file, path);
        Ok(Self { output: Output::File { path: path.to_owned(), file }, torn })
    }

    /// Opens the file again by its name.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        if let Output::File { path, .. } = &self.output {
            *self = Self::open(path)?;
        }
        Ok(())
    }

    /// Writes the lines from `at`, and moves it behind what is written. After an error the target ends with a whole line,
    /// and `at` is the start of the next one.
    pub(super) fn write(&mut self, lines: &[u8], at: &mut usize) -> io::Result<()> {
        if self.torn && *at < lines.len() {
            write_some(self.as_fd(), b"\n")?;
            self.torn = false;
        }
        let is_file = self.is_file();
        while let Some(rest) = lines.get(*at..).filter(|rest| !rest.is_empty()) {
            match write_some(self.as_fd(), if is_file { rest } else { atomic_part(rest) }) {
                Ok(written) => *at += written,
                Err(error) => {
                    let start = line_start(lines, *at);
                    // A pipe keeps what it has, and its reader gets the rest of the line when it reads.
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.cut_off(*at - start);
                        *at = start;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Fails if the file system has no room for one line, without a change that a reader could see.
    pub(super) fn reserve(&self, lines: &[u8]) -> io::Result<()> {
        let line = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        match self.file_size() {
            Some(size) => allocate(self.as_fd(), size, line as u64),
            None => Ok(()),
        }
    }

    fn is_file(&self) -> bool {
        self.file_size().is_some()
    }

    /// Returns the size of a regular file.
    fn file_size(&self) -> Option<u64> {
        let stat = fstat(self).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        u64::try_from(stat.st_size).ok().filter(|_| is_file)
    }

    /// Removes the last bytes of a file, which are the start of a line. If another program has written behind them, they
    /// stay, and the next line begins with a line feed.
    fn cut_off(&mut self, length: usize) {
        let Some(size) = self.file_size().filter(|_| length > 0) else { return };
        let fd = self.as_fd();
        let is_end = seek(fd, SeekFrom::Current(0)) == Ok(size);
        let start = size.saturating_sub(length as u64);
        let cut = is_end && ftruncate(fd, start).and_then(|()| seek(fd, SeekFrom::Start(start))).is_ok();
        self.torn = !cut;
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.output {
            Output::File { file, .. } => file.as_fd(),
            // The descriptor itself: a write that hangs must not hold the lock of `io::stderr`.
            Output::Terminal(terminal) => terminal.as_fd(),
        }
    }
}

/// Fails if a start could not open this log file. It opens and creates nothing; whether a FIFO has a reader shows only at
/// a start. `home` may be created before the file.
pub(crate) fn check(path: &Path, home: &Path) -> Result<(), LogError> {
    if path.metadata().is_ok_and(|found| found.file_type().is_socket()) {
        return Err(LogError::Unread(path.to_owned()));
    }
    write_access::check(path, home).map_err(|cause| LogError::File { path: path.to_owned(), cause })
}

/// Returns the start of the line that `at` is in.
pub(super) fn line_start(lines: &[u8], at: usize) -> usize {
    let before = lines.get(..at).unwrap_or(lines);
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// Returns the lines that a pipe takes as a whole, so that no line of another writer stands within one; a longer line alone.
fn atomic_part(lines: &[u8]) -> &[u8] {
    let end = |part: &[u8]| part.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
    let first_line = || lines.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
    let length = lines.get(..PIPE_BUF).map_or(Some(lines.len()), end).or_else(first_line);
    length.and_then(|length| lines.get(..length)).unwrap_or(lines)
}

fn append(path: &Path) -> Result<File, LogError> {
    // Without these flags a FIFO blocks until it has a reader, and a terminal becomes that of the daemon.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = OpenOptions::new().append(true).create(true).custom_flags(flags.bits()).open(path);
    opened.map_err(|cause| match cause.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENXIO) => LogError::Unread(path.to_owned()),
        _ => LogError::File { path: path.to_owned(), cause },
    })
}

/// Whether the file ends with half a line, of a program that was killed for example. A file that cannot be read counts as
/// whole.
fn ends_within_a_line(file: &File, path: &Path) -> bool {
    let last = || {
        let found = file.metadata().ok()?;
        let end = found.len().checked_sub(1).filter(|_| found.is_file())?;
        let reader = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).ok()?;
        let same =
            reader.metadata().ok().filter(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()));
        let mut last = [0];
        same.and_then(|_| reader.read_exact_at(&mut last, end).ok())?;
        Some(last != *b"\n")
    };
    last().unwrap_or(false)
}

/// Writes once. A pipe that is full is waited for, for a while.
fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(rustix::io::Errno::INTR) => (),
            Err(rustix::io::Errno::AGAIN) => {
                let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
                match poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout) {
                    Ok(0) => {
                        return Err(io::Error::new(io::ErrorKind::WouldBlock, "its reader does not read"));
                    }
                    Ok(_) | Err(Errno::EINTR) => (),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reserves space behind the end of a file. Where the file system cannot do it, the write itself finds out.
#[cfg(target_os = "linux")]
fn allocate(fd: BorrowedFd<'_>, end: u64, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(fd, FallocateFlags::KEEP_SIZE, end, length.max(1)) {
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG)) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_fd: BorrowedFd<'_>, _end: u64, _length: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn target(before: &str) -> (tempfile::TempDir, PathBuf, Target) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, before).unwrap();
        let target = Target::open(&path).unwrap();
        (folder, path, target)
    }

    #[test]
    fn half_a_line_is_cut_off_and_written_again() {
        let (_folder, path, mut target) = target("one\n");
        let mut at = 0;
        target.write(b"two\nthr", &mut at).unwrap();
        target.cut_off(3);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        at = line_start(b"two\nthree\n", 7);
        target.write(b"two\nthree\n", &mut at).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), at), ("one\ntwo\nthree\n", 10));
    }

    #[test]
    fn what_another_program_has_written_stays() {
        let (_folder, path, mut target) = target("");
        target.write(b"on", &mut 0).unwrap();
        append(&path).unwrap().write_all(b"other\n").unwrap();
        target.cut_off(2);
        target.write(b"one\n", &mut 0).unwrap();
        target.write(b"two\n", &mut 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "onother\n\none\ntwo\n");
    }

    #[test]
    fn the_half_line_of_an_earlier_process_is_ended() {
        for (before, after) in [("", "one\n"), ("a\n", "a\none\n"), ("a\nb", "a\nb\none\n")] {
            let (_folder, path, mut target) = target(before);
            target.write(b"one\n", &mut 0).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_pipe_gets_whole_lines() {
        assert_eq!(atomic_part(b"a\nb\n"), b"a\nb\n");
        let long = [vec![b'x'; PIPE_BUF], b"\ny\n".to_vec()].concat();
        assert_eq!(atomic_part(&long).len(), PIPE_BUF + 1);
        let many = b"12345678901\n".repeat(1000);
        let part = atomic_part(&many);
        assert!(part.len() <= PIPE_BUF && part.len() > PIPE_BUF - 12 && part.ends_with(b"\n"));
    }
}
