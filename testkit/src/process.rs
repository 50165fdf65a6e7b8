//! Server processes that end with their test.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// How long to wait before a test fails: long, as machines can be slow and busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until there is a value, and returns it; panics after a minute. `what` names the event in the
/// message.
#[expect(clippy::disallowed_methods, reason = "tests poll against a deadline")]
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not happen in {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns a TCP port of 127.0.0.1 that was free a moment ago; another process may take it.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A process; dropping it kills the process.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts a process without input and output.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Suspends it: connections stay open, and nothing is answered.
    pub fn hang(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        // Until the last of its threads is suspended, it may still answer.
        waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    }

    /// Resumes it after a [`hang`](Self::hang).
    pub fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }

    /// Asks it to end, and waits for its end.
    pub fn stop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        wait_for("the end of a server", || self.ended().then_some(()));
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
