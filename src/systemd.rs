//! The protocol between a service manager and its service: `sd_notify(3)`, `sd_listen_fds(3)` and `sd-daemon(3)`.
//!
//! Environment variables ask for each part of it; without them nothing happens.
//!
//! The crate sd-notify connects at each message with a socket that blocks: a manager that does not read would stop the
//! server, and a wrong address would not be an error of the start.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::UdpSocket;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use nix::sys::stat::fstat;
use pyzord_runtime::StatusChange;
use rustix::time::{ClockId, clock_gettime};
use thiserror::Error;

/// The service manager, if there is one that wants notifications.
#[derive(Debug)]
pub(crate) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

/// An error in the environment that a service manager has prepared.
#[derive(Debug, Error)]
pub(crate) enum SystemdError {
    /// The socket for notifications cannot be used.
    #[error("NOTIFY_SOCKET {}: {cause}", name.display())]
    NotifySocket {
        name: OsString,
        #[source]
        cause: io::Error,
    },
    /// A socket that the unit passes cannot be used.
    #[error("LISTEN_FDS: {0}; this server takes UDP sockets on one port")]
    PassedSocket(#[source] io::Error),
}

impl Manager {
    /// Returns the service manager that the environment names.
    pub(crate) fn from_env() -> Result<Self, SystemdError> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { to: None, watchdog: None });
        };
        match notify_socket(&name) {
            Ok(to) => Ok(Self { to: Some(to), watchdog: watchdog() }),
            Err(cause) => Err(SystemdError::NotifySocket { name, cause }),
        }
    }

    /// Returns the period of signs of life: half of the time after which the manager kills this process.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// Tells that everything is open and requests are answered.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Reports a change of the server's status.
    pub(crate) fn notify(&self, change: StatusChange) {
        match change {
            // `ready` says it, with the address.
            StatusChange::Started => (),
            StatusChange::Reloading => {
                self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros()));
            }
            StatusChange::Reloaded => self.send("READY=1\n"),
            StatusChange::Stopping => {
                self.send("STOPPING=1\nSTATUS=Answering the requests received so far\n");
            }
            StatusChange::StopOverdue => self.send("STATUS=The stop has not ended in time\n"),
            StatusChange::Alive => self.send("WATCHDOG=1\n"),
        }
    }

    /// Tells how the server is, in one line.
    pub(crate) fn status(&self, status: &str) {
        // A line break would begin another assignment.
        self.send(&format!("STATUS={}\n", status.replace(['\r', '\n'], " ")));
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            log::warn!("the service manager cannot be told `{}`: {error}", state.trim_end().escape_default());
        }
    }
}

fn notify_socket(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop the server.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Parses the address of a unix socket: a path, or `@` and an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this is not a unix socket")),
    }
}

/// Returns the time without a sign of life after which the manager kills this process.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let ours =
        env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
    number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros)
}

/// Returns the system's monotonic time, which the manager compares with its own.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// The first descriptor that a manager passes.
pub(crate) const FIRST_PASSED: i32 = 3;

/// Returns the number of descriptors that the manager has passed to this process.
pub(crate) fn passed_count() -> i32 {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| ours).and_then(|count| i32::try_from(count).ok()).unwrap_or(0)
}

/// Returns the sockets that the manager has bound for this process. Call it before any thread exists: it removes the
/// variables from the environment.
pub(crate) fn passed_sockets() -> Result<Vec<UdpSocket>, SystemdError> {
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    let take = |index| passed.take_udp_socket(index).map_err(SystemdError::PassedSocket).transpose();
    (0..count).filter_map(take).collect()
}

/// Returns whether standard error is the journal, which adds the time and the process by itself.
pub(crate) fn logs_to_journal() -> bool {
    let journal = || {
        let stream = env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = stream.split_once(':')?;
        let file = fstat(io::stderr()).ok()?;
        Some(file.st_dev.to_string() == device && file.st_ino.to_string() == inode)
    };
    // Without the variable, or without a standard error, there is no journal.
    journal().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        let path = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(path.as_pathname().unwrap().to_str(), Some("/run/systemd/notify"));
        let name = address(OsStr::new("@pyzord/notify")).unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"pyzord/notify"[..]));
        for other in ["", "notify", "vsock:2:1234"] {
            assert!(address(OsStr::new(other)).is_err(), "{other}");
        }
    }
}
