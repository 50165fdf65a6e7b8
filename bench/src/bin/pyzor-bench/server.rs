//! A server that is measured: started, watched and ended.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyzord_bench::clock::{Clock, process_cpu};
use pyzord_bench::cpu;
use tempfile::TempDir;

use crate::echo;
use crate::place::Place;

/// How long a server may take to start: one with millions of records checks all of them.
const START: Duration = Duration::from_secs(600);
const STOP: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);
/// The account of the signed requests.
pub(crate) const USER: &str = "bench";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A home directory and what is put there before a start.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

impl Home {
    /// One where `bench` and the anonymous user may do everything.
    pub(crate) fn new() -> Result<Self, String> {
        let home = Self(tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?);
        home.write("pyzord.passwd", &format!("{USER} : {KEY}\n"))?;
        home.write("pyzord.access", &format!("all : anonymous : allow\nall : {USER} : allow\n"))?;
        Ok(home)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        fs::write(self.path(name), text).map_err(|error| format!("{name}: {error}"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) engine: &'a str,
    pub(crate) dsn: &'a str,
    /// More options of the command line.
    pub(crate) options: &'a [&'a str],
    /// More of the environment.
    pub(crate) environment: &'a [(&'a str, String)],
    /// The CPU to stay on.
    pub(crate) cpu: Option<usize>,
}

/// A running server. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) home: Option<Home>,
    /// From its start until it answered.
    pub(crate) started_in: Duration,
}

/// The memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident: pages of shared files count in full.
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) highest: u64,
    /// Its own, not backed by a file: what the machine would have back.
    pub(crate) own: u64,
    /// Its share: pages that processes share are divided among them.
    pub(crate) share: Option<u64>,
}

impl Server {
    /// The bare echo: this program again.
    pub(crate) fn echo(options: echo::Options, cpu: Option<usize>) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let mut command = Command::new(program);
        command.args(["echo", "--workers", &options.workers.to_string()]);
        command.args(options.own_sockets.then_some("--own-sockets"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(command, cpu)?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address, home: None, started_in: Duration::ZERO }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("the echo said {line:?}: {error}"))
            }
        }
    }

    /// The server of this project.
    pub(crate) fn ours(place: &Place, home: Home, start: &Start<'_>) -> Result<Self, String> {
        let mut command = Command::new(&place.server);
        command.args(["--address", "127.0.0.1", "--port", "0"]);
        Self::launch(command, home, start, |home| {
            let log = home.log();
            let line = log.lines().find(|line| line.contains("Listening on ") && line.ends_with(" KiB."))?;
            line.split("Listening on ").nth(1)?.split_whitespace().next()?.parse().ok()
        })
    }

    /// Python's server.
    pub(crate) fn python(
        (interpreter, program): &(PathBuf, PathBuf),
        home: Home,
        start: &Start<'_>,
    ) -> Result<Self, String> {
        let probe = UdpSocket::bind("127.0.0.1:0").map_err(|error| format!("a free port: {error}"))?;
        let address = probe.local_addr().map_err(|error| format!("a free port: {error}"))?;
        drop(probe);
        let mut command = Command::new(interpreter);
        command.arg(program).args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        Self::launch(command, home, start, |_| answers(address).then_some(address))
    }

    fn launch(
        mut command: Command,
        home: Home,
        start: &Start<'_>,
        listening: impl Fn(&Home) -> Option<SocketAddr>,
    ) -> Result<Self, String> {
        let log = File::create(home.path("stderr")).map_err(|error| format!("a log: {error}"))?;
        command.arg("--homedir").arg(home.0.path());
        command.args(["--database-engine", start.engine, "--dsn", start.dsn]).args(start.options);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let clock = Clock::start();
        let child = spawn(command, start.cpu)?;
        let mut server = Self { child, address, home: None, started_in: Duration::ZERO };
        let found = wait_for(START, || match listening(&home) {
            Some(address) => Some(Ok(address)),
            None => server.ended().then(|| Err(format!("a server ended at its start: {}", home.log()))),
        });
        server.address = found.unwrap_or_else(|| Err("a server did not start in time".to_owned()))?;
        (server.home, server.started_in) = (Some(home), clock.elapsed());
        Ok(server)
    }

    /// CPU time that it has taken.
    pub(crate) fn cpu(&self) -> Result<Duration, String> {
        process_cpu(self.child.id())
    }

    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let file = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let status = file("status")?;
        let value = |text: &str, name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let of_status = |name| value(&status, name).ok_or_else(|| format!("no {name} in a process's status"));
        Ok(Memory {
            resident: of_status("VmRSS")?,
            highest: of_status("VmHWM")?,
            own: of_status("RssAnon")?,
            share: file("smaps_rollup").ok().and_then(|rollup| value(&rollup, "Pss")),
        })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        let id = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(id), signal).map_err(|error| format!("a signal: {error}"))
    }

    /// Stops it as an administrator does; returns its home.
    pub(crate) fn stop(mut self) -> Result<Option<Home>, String> {
        self.signal(Signal::SIGTERM)?;
        wait_for(STOP, || self.ended().then_some(())).ok_or("a server did not stop in time")?;
        Ok(self.home.take())
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

/// Asks again and again, for as long as this.
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

fn spawn(mut command: Command, on: Option<usize>) -> Result<Child, String> {
    cpu::on(on, || command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display())))
}

/// Whether somebody answers a ping there.
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

/// Copies a database from one home to another.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", to.display()))
}
