//! Starts servers and clients, and ends all of them.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The time after which a test fails: long, since machines are slow and busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until there is a value; fails after the deadline.
#[expect(clippy::disallowed_methods, reason = "tests poll against a deadline")]
pub(crate) fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not happen in {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server's home directory.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the command that runs the server on this home directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyzord"));
        if !arguments.contains(&"--runtime") {
            command.args(["--runtime", crate::RUNTIME]);
        }
        let names_engine = arguments.iter().any(|argument| ["-e", "--database-engine"].contains(argument));
        if let Some(engine) = crate::ENGINE.filter(|_| !names_engine) {
            command.args(["--database-engine", engine]);
        }
        command.arg("--homedir").arg(self.dir()).args(arguments).stdin(Stdio::null());
        without_settings(&mut command);
        command
    }

    /// Runs the server and waits until it ends.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Takes out the variables that could be settings. Those by which tests are controlled, such as `PYZORD_CUTS`, have names
/// of the same kind.
pub(crate) fn without_settings(command: &mut Command) {
    let is_ours = |name: &std::ffi::OsString| name.as_encoded_bytes().starts_with(b"PYZORD_");
    for name in env::vars_os().map(|(name, _)| name).filter(is_ours) {
        command.env_remove(name);
    }
}

/// With port 0 the system chooses a free port, which the log names: no two tests use the same one.
pub(crate) const LISTEN: [&str; 4] = ["--address", "127.0.0.1", "--port", "0"];

/// A server in the foreground. It is killed when the test ends, also by a panic.
pub(crate) struct Server {
    child: Child,
    pub(crate) home: Home,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server on a home directory of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::on(Home::new(), arguments)
    }

    /// Starts a server on this home directory and waits until it listens.
    pub(crate) fn on(home: Home, arguments: &[&str]) -> Self {
        Self::spawn(home, &[&LISTEN, arguments].concat())
    }

    /// Starts a server with these arguments alone.
    pub(crate) fn spawn(home: Home, arguments: &[&str]) -> Self {
        let command = home.command(arguments);
        Self::launch(home, command)
    }

    /// Starts a server with this command and waits until it listens.
    pub(crate) fn launch(home: Home, mut command: Command) -> Self {
        let log = fs::File::create(home.path("stderr")).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let address = wait_for("listening", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", home.read("stderr"));
            }
            ready_address(&home)
        });
        Self { child, home, address }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Returns what the server has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.home.read("stderr")
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    /// Stops the server with a signal, as an administrator does, and returns its home directory.
    pub(crate) fn stop(self) -> Home {
        self.signal(Signal::SIGTERM);
        self.stop_after_signal()
    }

    /// Waits for the end of a server that was sent a signal, and returns its home directory.
    pub(crate) fn stop_after_signal(mut self) -> Home {
        let status = self.wait_for_end();
        assert!(status.success(), "{status}: {}", self.log());
        std::mem::replace(&mut self.home, Home::new())
    }

    /// Waits for the end of a server, and returns its exit status.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the end", || self.child.try_wait().unwrap())
    }

    /// Kills the server with SIGKILL and returns its home directory.
    pub(crate) fn kill(mut self) -> Home {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.home, Home::new())
    }

    /// Returns the resident memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address in the log; the line is written after everything is open.
fn ready_address(home: &Home) -> Option<SocketAddr> {
    let log = home.read("stderr") + &home.read("pyzord.log");
    let line = log.lines().find(|line| line.contains("Listening on "))?;
    let address = line.split("Listening on ").nth(1)?.split([' ', ',']).next()?;
    line.ends_with(" KiB.").then(|| address.parse().unwrap())
}

/// A client's socket.
pub(crate) struct Client {
    socket: UdpSocket,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let local: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::LOCALHOST, 0).into() } else { "[::1]:0".parse().unwrap() };
        let socket = UdpSocket::bind(local).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket }
    }

    /// Returns the address of the server.
    pub(crate) fn server(&self) -> SocketAddr {
        self.socket.peer_addr().unwrap()
    }

    pub(crate) fn send(&self, request: impl AsRef<[u8]>) {
        self.socket.send(request.as_ref()).unwrap();
    }

    /// Returns the next reply. The loopback interface loses none while buffers have room.
    pub(crate) fn receive(&self) -> String {
        String::from_utf8_lossy(&self.receive_bytes()).into_owned()
    }

    pub(crate) fn receive_bytes(&self) -> Vec<u8> {
        let mut buffer = [0; 10_000];
        let length = self.socket.recv(&mut buffer).expect("a reply");
        buffer[..length].to_vec()
    }

    /// Returns a reply if one comes within this number of milliseconds.
    pub(crate) fn receive_within(&self, millis: u64) -> Option<String> {
        self.socket.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
        let mut buffer = [0; 10_000];
        let received = self.socket.recv(&mut buffer);
        self.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        received.ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> String {
        self.send(request);
        self.receive()
    }

    /// Returns the two counts of a digest.
    pub(crate) fn check(&self, digest: &str) -> (u64, u64) {
        let reply = self.ask(request("check", &[digest]));
        (field(&reply, "Count").parse().unwrap(), field(&reply, "WL-Count").parse().unwrap())
    }
}

/// Returns an anonymous request, as Python's client writes it.
pub(crate) fn request(op: &str, digests: &[&str]) -> String {
    numbered_request(op, digests, 12345)
}

/// Returns an anonymous request with this number.
pub(crate) fn numbered_request(op: &str, digests: &[&str], thread: impl std::fmt::Display) -> String {
    let digests: String = digests.iter().map(|digest| format!("Op-Digest: {digest}\n")).collect();
    format!("Op: {op}\n{digests}Thread: {thread}\nPV: 2.1\nUser: anonymous\n\n")
}

/// Returns the value of a header in a reply.
pub(crate) fn field<'a>(reply: &'a str, name: &str) -> &'a str {
    let line = reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {reply:?}"))
}

/// Returns the digest with this number in hex at its end.
pub(crate) fn digest(number: u32) -> String {
    format!("{number:040x}")
}

/// Returns a program of the Python environment that `make test` creates.
pub(crate) fn python(program: &str) -> Command {
    let environment = std::env::var_os("PYZOR_VENV").map(PathBuf::from);
    let environment =
        environment.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pyzor-venv"));
    let interpreter = environment.join("bin/python");
    assert!(
        interpreter.exists(),
        "there is no Python environment in {}: run `make test`",
        environment.display()
    );
    let mut command = Command::new(interpreter);
    if program != "python" {
        command.arg(environment.join("bin").join(program));
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a Python program and returns its output; panics if the program fails.
pub(crate) fn run_python(script: &str, arguments: &[&str]) -> String {
    let output = python("python").arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A process that is killed when the test ends.
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs Python's server on this home directory during `test`.
pub(crate) fn with_python_server(
    home: &Home,
    arguments: &[&str],
    environment: &[(&str, String)],
    test: impl FnOnce(&Client),
) {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = python("pyzord");
    command
        .arg("--homedir")
        .arg(home.dir())
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments);
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    let log = fs::File::create(home.path("python.log")).unwrap();
    let mut server = Guarded(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], port)));
    wait_for("Python's server", || {
        assert!(server.0.try_wait().unwrap().is_none(), "{}", home.read("python.log"));
        let _ = std::panic::catch_unwind(|| client.send(request("ping", &[])));
        client.receive_within(200)
    });
    test(&client);
    kill(Pid::from_raw(i32::try_from(server.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    wait_for("its end", || server.0.try_wait().unwrap());
}
