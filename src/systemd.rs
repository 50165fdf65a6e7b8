//! What a service manager and its service tell each other: `sd_notify(3)`, `sd_listen_fds(3)` and `sd-daemon(3)`.
//!
//! All of it is asked for by environment variables, and nothing happens where they are not set.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::UdpSocket;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use listenfd::ListenFd;
use pyzord_runtime::StatusChange;
use rustix::fs::fstat;
use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one that wants to hear something.
#[derive(Debug)]
pub(crate) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Result<Self, String> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { to: None, watchdog: None });
        };
        let failed = |error: io::Error| format!("NOTIFY_SOCKET {}: {error}", name.display());
        let address = address(&name).map_err(failed)?;
        let socket = UnixDatagram::unbound().map_err(failed)?;
        // A manager that does not read must not keep the server from serving.
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { to: Some((socket, address)), watchdog: watchdog() })
    }

    /// How often it wants to hear that the server is alive: twice in the time after which it would kill it.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.watchdog.map(|timeout| timeout / 2)
    }

    /// Everything is open: requests that come from now on are answered.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// Passes news on.
    pub(crate) fn tell(&self, news: StatusChange) {
        match news {
            StatusChange::Reloading => self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros())),
            StatusChange::Reloaded => self.send("READY=1\n"),
            StatusChange::Stopping => self.send("STOPPING=1\nSTATUS=Answering what was received\n"),
            StatusChange::Alive => self.send("WATCHDOG=1\n"),
        }
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            log::warn!("the service manager does not hear `{}`: {error}", state.trim_end().escape_default());
        }
    }
}

/// A name that begins with `@` is none in the file system.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "this is no unix socket")),
    }
}

/// After which silence the manager kills this process.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let ours =
        env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
    number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros)
}

/// The manager compares this with its own clock, so it must be the system's monotonic time.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// The socket that the manager has bound for this process, if it has. Call it before any thread exists: it takes the
/// variables out of the environment.
pub(crate) fn passed_socket() -> Result<Option<UdpSocket>, String> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(format!(
            "LISTEN_FDS: {} sockets were passed; this server takes one UDP socket",
            passed.len()
        ));
    }
    passed.take_udp_socket(0).map_err(|error| format!("LISTEN_FDS: {error}"))
}

/// Whether standard error is the journal, which adds the time and the process itself.
pub(crate) fn logs_to_journal() -> bool {
    let journal = || {
        let stream = env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = stream.split_once(':')?;
        let file = fstat(io::stderr()).ok()?;
        Some(file.st_dev.to_string() == device && file.st_ino.to_string() == inode)
    };
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
