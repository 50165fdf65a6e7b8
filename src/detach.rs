//! `--detach`: starts the server in the background and tells whether it serves.
//!
//! The parent starts the same program again, as a child in a session of its own, and waits. The child opens all files
//! and sockets and, once all its workers run, writes one line to its standard output, a pipe; only then the parent exits
//! with 0. Until that moment the child's errors go to the parent's terminal, and a parent that is ended ends the child. A new program instead of a fork inherits no locks and no
//! half-copied state, however many threads exist.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdout, getppid, setsid};
use thiserror::Error;

use crate::systemd;

/// Marks the child with its parent's id: a value inherited from another process has no meaning.
pub(crate) const MARK: &str = "PYZORD_DETACHED_BY";
/// The line that the child writes when it serves.
const SERVING: &[u8] = b"serving\n";

/// Why the server cannot run in the background.
#[derive(Debug, Error)]
pub(crate) enum DetachError {
    /// The child cannot be started, or the parent cannot wait for it.
    #[error("cannot detach: {0}")]
    Start(#[source] io::Error),
    /// The child has ended without an error message.
    #[error("cannot detach: the server ended before it served: {0}")]
    Ended(ExitStatus),
    /// The child cannot begin a session.
    #[error("cannot leave the terminal: {0}")]
    LeaveTerminal(#[source] io::Error),
    /// The file for the server's output cannot be used.
    #[error("output file {}: {cause}", path.display())]
    Output {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

/// Returns whether this process is the child.
pub(crate) fn is_child() -> bool {
    env::var_os(MARK).is_some_and(|mark| *mark == *getppid().to_string())
}

/// Starts the child and waits until it serves or ends.
pub(crate) fn start_child() -> Result<ExitCode, DetachError> {
    close_inherited().map_err(DetachError::Start)?;
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "pyzord".into());
    let (mut reader, writer) = io::pipe().map_err(DetachError::Start)?;
    let program = env::current_exe().map_err(DetachError::Start)?;
    // The command owns the pipe's other end. It is dropped here, so that the child alone has that end.
    let mut child = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(MARK, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(writer)
        .spawn()
        .map_err(DetachError::Start)?;
    let mut line = Vec::new();
    reader.by_ref().take(SERVING.len() as u64).read_to_end(&mut line).map_err(DetachError::Start)?;
    if line == SERVING {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(DetachError::Start)?;
    match status.code().map(u8::try_from) {
        // The child has written its error to the terminal.
        Some(Ok(code @ 1..)) => Ok(code.into()),
        _ => Err(DetachError::Ended(status)),
    }
}

/// Closes the descriptors that the caller has left open, but for the standard ones and the sockets of a service manager:
/// a server that runs on would hold the caller's lock or pipe. Call it before this process opens anything.
fn close_inherited() -> io::Result<()> {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok();
    let open: Vec<RawFd> = match fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(number).collect(),
        // A system without this directory, or a jail that has none mounted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let first_inherited = systemd::FIRST_PASSED.saturating_add(systemd::passed_count());
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= first_inherited) {
        // The one that read the directory is closed already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

/// Leaves the terminal: no key that is typed there reaches this process.
pub(crate) fn leave_terminal() -> Result<(), DetachError> {
    setsid().map(drop).map_err(|error| DetachError::LeaveTerminal(error.into()))
}

/// A child that is ready to tell its parent that it serves.
#[derive(Debug)]
pub(crate) struct Announcement(File);

impl Announcement {
    /// Opens the file for all further output.
    pub(crate) fn prepare(path: &Path) -> Result<Self, DetachError> {
        let failed = |cause: io::Error| DetachError::Output { path: path.to_owned(), cause };
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        env::set_current_dir("/").map_err(failed)?;
        Ok(Self(file))
    }

    /// Tells the parent that the child serves, and sends all further output to the file. Returns whether the parent has
    /// heard it.
    pub(crate) fn send(&self) -> bool {
        // What was logged so far belongs to the parent's terminal.
        log::logger().flush();
        let told = io::stdout().write_all(SERVING).and_then(|()| io::stdout().flush());
        if let Err(error) = dup2_stdout(&self.0).and_then(|()| dup2_stderr(&self.0)) {
            log::error!("the output does not go to its file: {error}");
        }
        told.is_ok()
    }
}
