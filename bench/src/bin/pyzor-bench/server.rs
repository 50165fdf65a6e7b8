//! A server process of a measurement.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyzord_bench::clock::{Clock, process_cpu};
use pyzord_bench::cpu;
use tempfile::TempDir;

use crate::echo::EchoOptions;
use crate::machine::Machine;

/// The longest start: a server with millions of records checks all of them.
const START_TIMEOUT: Duration = Duration::from_secs(600);
const STOP_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);
/// The account of the signed requests.
pub(crate) const USER: &str = "bench";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A home directory, prepared before the start of a server.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

impl Home {
    /// Creates one with access rules that allow everything to `bench` and to the anonymous user.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let home = Self(tempfile::tempdir().context("cannot create a temporary folder")?);
        home.write("pyzord.passwd", &format!("{USER} : {KEY}\n"))?;
        home.write("pyzord.access", &format!("all : anonymous : allow\nall : {USER} : allow\n"))?;
        Ok(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.path(name), text).with_context(|| format!("cannot write {name}"))
    }

    /// Returns the log of the server so far.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.path("stderr")).context("cannot read the log of a server")
    }
}

/// The options of a start.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) engine: &'a str,
    pub(crate) dsn: &'a str,
    /// Further options of the command line.
    pub(crate) options: &'a [&'a str],
    /// Further environment variables.
    pub(crate) environment: &'a [(&'a str, String)],
    /// The CPU to pin the server to.
    pub(crate) cpu: Option<usize>,
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// `None` for the echo.
    home: Option<Home>,
    /// The time from its start until it answered.
    pub(crate) started_in: Duration,
}

/// The memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryUse {
    /// Resident memory, with shared pages counted in full.
    pub(crate) resident: u64,
    /// The highest resident memory since the start.
    pub(crate) highest: u64,
    /// Anonymous memory: what the end of the process frees.
    pub(crate) own: u64,
    /// Proportional share: a page that N processes share counts as 1/N.
    pub(crate) share: Option<u64>,
}

impl Server {
    /// Starts the echo, with this program.
    pub(crate) fn echo(options: EchoOptions, cpu: Option<usize>) -> anyhow::Result<Self> {
        let workers = options.workers.to_string();
        let own_sockets = options.own_sockets.then_some("--own-sockets");
        Self::this_program(["echo", "--workers", &workers].into_iter().chain(own_sockets), cpu)
    }

    /// Starts a server on a gdbm file that is synced with each batch, with this program.
    pub(crate) fn synced(home: Home, file: &str) -> anyhow::Result<Self> {
        let file = home.path(file);
        let file = file.to_str().context("the path of a temporary folder is no text")?;
        let mut server = Self::this_program(["synced", file], None)?;
        server.home = Some(home);
        Ok(server)
    }

    /// Starts a server of this program, which prints its address.
    fn this_program<'a>(
        arguments: impl IntoIterator<Item = &'a str>,
        cpu: Option<usize>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Self::new(spawn(command, cpu)?);
        let output = server.child.stdout.take().context("a server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read the output of a server")?;
        server.address =
            line.trim().parse().with_context(|| format!("unexpected output of a server: {line:?}"))?;
        Ok(server)
    }

    /// Owns a process that has not yet said its address.
    fn new(child: Child) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, address, home: None, started_in: Duration::ZERO }
    }

    /// Starts the server of this project.
    pub(crate) fn ours(machine: &Machine, home: Home, start: &Start<'_>) -> anyhow::Result<Self> {
        let mut command = Command::new(&machine.server);
        command.args(["--address", "127.0.0.1", "--port", "0"]);
        Self::launch(command, home, start, |log| {
            let line = log.lines().find(|line| line.contains("Listening on ") && line.ends_with(" KiB."))?;
            line.split("Listening on ").nth(1)?.split_whitespace().next()?.parse().ok()
        })
    }

    /// Starts Python's server.
    pub(crate) fn python(
        (interpreter, program): &(PathBuf, PathBuf),
        home: Home,
        start: &Start<'_>,
    ) -> anyhow::Result<Self> {
        let free = UdpSocket::bind("127.0.0.1:0").context("cannot find a free port")?;
        let address = free.local_addr().context("cannot find a free port")?;
        drop(free);
        let mut command = Command::new(interpreter);
        command.arg(program).args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        Self::launch(command, home, start, |_| answers(address).then_some(address))
    }

    /// Starts a server and waits until `listening` returns its address from its log.
    fn launch(
        mut command: Command,
        home: Home,
        start: &Start<'_>,
        listening: impl Fn(&str) -> Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let log = File::create(home.path("stderr")).context("cannot create the log of a server")?;
        command.arg("--homedir").arg(home.0.path());
        command.args(["--database-engine", start.engine, "--dsn", start.dsn]).args(start.options);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let clock = Clock::start();
        let mut server = Self::new(spawn(command, start.cpu)?);
        let poll = || {
            let log = match home.log() {
                Ok(log) => log,
                Err(error) => return Some(Err(error)),
            };
            match listening(&log) {
                Some(address) => Some(Ok(address)),
                None => server.ended().then(|| Err(anyhow!("a server ended at its start: {log}"))),
            }
        };
        server.address = wait_for(START_TIMEOUT, poll).context("a server did not start in time")??;
        (server.home, server.started_in) = (Some(home), clock.elapsed());
        Ok(server)
    }

    /// Returns its home directory.
    pub(crate) fn home(&self) -> anyhow::Result<&Home> {
        self.home.as_ref().context("the echo has no home directory")
    }

    /// Returns its CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        process_cpu(self.child.id())
    }

    /// Returns its memory use.
    pub(crate) fn memory(&self) -> anyhow::Result<MemoryUse> {
        let file = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let status = file("status")?;
        let value = |text: &str, name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let of_status =
            |name| value(&status, name).with_context(|| format!("no {name} in the status of a process"));
        Ok(MemoryUse {
            resident: of_status("VmRSS")?,
            highest: of_status("VmHWM")?,
            own: of_status("RssAnon")?,
            // Another user's process does not show it.
            share: file("smaps_rollup").ok().and_then(|rollup| value(&rollup, "Pss")),
        })
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).context("a process id is not an i32")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("cannot send {signal} to a server"))
    }

    /// Stops the server by SIGTERM and returns its home directory.
    pub(crate) fn stop(mut self) -> anyhow::Result<Home> {
        self.signal(Signal::SIGTERM)?;
        wait_for(STOP_TIMEOUT, || self.ended().then_some(())).context("a server did not stop in time")?;
        self.home.take().context("the echo has no home directory")
    }

    /// Waits for the end of a server that was killed, and returns its home directory.
    pub(crate) fn killed(mut self) -> anyhow::Result<Home> {
        self.child.wait().context("cannot wait for a server")?;
        self.home.take().context("the echo has no home directory")
    }

    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `poll` until it returns a value or the time is over.
pub(crate) fn wait_for<T>(limit: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Clock::start();
    loop {
        match poll() {
            Some(value) => return Some(value),
            None if clock.elapsed() > limit => return None,
            None => thread::sleep(POLL),
        }
    }
}

fn spawn(mut command: Command, on: Option<usize>) -> anyhow::Result<Child> {
    cpu::on(on, || {
        command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
    })
}

/// Returns whether a server at this address answers a ping.
fn answers(address: SocketAddr) -> bool {
    let ask = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect(address)?;
        socket.send(b"Op: ping\nThread: 12345\nPV: 2.1\nUser: anonymous\n\n")?;
        socket.recv(&mut [0; 1000])
    };
    ask().is_ok()
}

/// Copies a database.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy to {}", to.display()))
}
