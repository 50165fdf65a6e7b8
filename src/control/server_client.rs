//! The side of `pyzorctl`: asks and commands a running server.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use log::LevelFilter;

use super::client_connection::{ClientConnection, ConnectError, ReplyError};
use super::protocol::{ControlRequest, NOTE, StopOutcome, one_line};
use crate::reload_report::ReloadReport;

/// The time for a status, which waits for no database.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);
/// The time for a reload: each file may take ten seconds.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for a stop: five seconds for requests, and some for what is forwarded.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to a running server.
#[derive(Debug)]
pub(crate) struct ServerClient(ClientConnection);

impl ServerClient {
    /// Connects to the server with this control socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self, ConnectError> {
        ClientConnection::open(socket).map(Self)
    }

    /// Returns the process at the other end, as this process sees it.
    pub(crate) fn pid(&self) -> Option<i32> {
        peer(&self.0)
    }

    /// Returns the status document.
    pub(crate) fn status(&mut self) -> Result<String, ReplyError> {
        self.call(ControlRequest::Status, STATUS_TIMEOUT)
    }

    /// Has the server reload, and waits until that is done.
    pub(crate) fn reload(&mut self) -> Result<ReloadReport, ReplyError> {
        let report = self.call(ControlRequest::Reload, RELOAD_TIMEOUT)?;
        serde_json::from_str(&report).map_err(|_| ReplyError::NotUnderstood)
    }

    /// Has the server log what is at least this important. Returns the level before.
    pub(crate) fn set_log_level(&mut self, level: LevelFilter) -> Result<String, ReplyError> {
        self.call(ControlRequest::LogLevel(level), STATUS_TIMEOUT)
    }

    /// Has the server log a line of text.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), ReplyError> {
        self.0.send(&format!("{NOTE} {}\n", one_line(text)))?;
        self.0.document(STATUS_TIMEOUT).map(drop)
    }

    /// Stops the server, and waits until its process has ended. Returns `None` if it did not tell how: it was killed, say.
    pub(crate) fn stop(mut self) -> Result<Option<StopOutcome>, ReplyError> {
        // Opened before the process can end: the number may be another one's afterwards.
        let process = self.pid().and_then(open_process);
        let outcome = match self.call(ControlRequest::Stop, STOP_TIMEOUT) {
            Ok(word) => Some(StopOutcome::parse(&word).ok_or(ReplyError::NotUnderstood)?),
            Err(ReplyError::Lost(error)) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        if outcome.is_some() {
            self.0.end()?;
        }
        process.iter().for_each(await_end);
        Ok(outcome)
    }

    fn call(&mut self, request: ControlRequest, timeout: Duration) -> Result<String, ReplyError> {
        self.0.send(&format!("{request}\n"))?;
        self.0.document(timeout)
    }
}

#[cfg(target_os = "linux")]
fn peer(connection: &ClientConnection) -> Option<i32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    // 0 is a process of another namespace.
    getsockopt(connection.stream(), PeerCredentials).ok().map(|peer| peer.pid()).filter(|pid| *pid > 0)
}

#[cfg(not(target_os = "linux"))]
fn peer(_: &ClientConnection) -> Option<i32> {
    None
}

#[cfg(target_os = "linux")]
fn open_process(pid: i32) -> Option<OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    // Without it, the end of the connection is the end of the process but for a moment.
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_process(_: i32) -> Option<OwnedFd> {
    None
}

/// Waits until a process has ended, which is about to.
fn await_end(process: &OwnedFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let timeout = PollTimeout::try_from(STOP_TIMEOUT).unwrap_or(PollTimeout::ZERO);
    // An error or the end of the time leaves what the connection has told.
    let _ = poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout);
}
