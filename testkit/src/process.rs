//! A server process that is ended with its test.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// How long anything may take before a test fails: long, since machines are slow and busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer, or fails after a minute.
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

/// A TCP port on the loopback address that nobody used a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts it, without input and output.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Stops its execution: connections stay open, and nothing is answered.
    pub fn hang(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        // Until the last of its threads has stopped, it may still answer.
        waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    }

    /// Lets it go on after a [`hang`](Self::hang).
    pub fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to end, and waits until it has.
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
