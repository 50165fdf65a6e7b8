//! Redis servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Server, free_port, wait_for};

/// A running redis server, on 127.0.0.1 and on a unix socket.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    running: bool,
}

impl RedisServer {
    /// Starts a server that loses its data when it ends, and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// Starts a server that keeps what it has acknowledged over a [`kill`](Self::kill) and a
    /// [`restart`](Self::restart).
    #[must_use]
    pub fn durable() -> Self {
        // With a sync each second, redis may acknowledge data that it has not written while a sync is under
        // way.
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server that requires this password.
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        Self::with(&["--appendonly", "no", "--requirepass", password])
    }

    /// Starts a server with these arguments of `redis-server`.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self::on(free_port, arguments)
    }

    /// Starts a node of a cluster, which listens for the other nodes on its port and 10000.
    pub(crate) fn node(arguments: &[&str]) -> Self {
        let port = || std::iter::repeat_with(free_port).find(|port| *port < 50_000).unwrap();
        Self::on(port, arguments)
    }

    fn on(choose_port: fn() -> u16, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Another process may take the free port first.
        let (server, port) = wait_for("the start of a redis server", || {
            let port = choose_port();
            let mut server = Server::start(&mut command(port, &directory, &arguments));
            answers(&mut server, port).then_some((server, port))
        });
        Self { server, port, arguments, directory, running: true }
    }

    /// Returns its TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of its unix socket.
    #[must_use]
    pub fn unix_socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Returns the id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Suspends it: connections stay open, the system accepts new ones, and nothing is answered.
    pub fn hang(&self) {
        self.server.hang();
    }

    /// Resumes it after a [`hang`](Self::hang).
    pub fn go_on(&self) {
        self.server.go_on();
    }

    /// Returns whether it was neither killed nor stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        self.running = false;
        self.server.kill();
    }

    /// Asks it to end, and waits for its end.
    pub fn stop(&mut self) {
        self.running = false;
        self.server.stop();
    }

    /// Kills it and starts it again with the same folder and port, and waits until it answers.
    pub fn restart(&mut self) {
        self.server.kill();
        wait_for("the restart of a redis server", || {
            self.server = Server::start(&mut command(self.port, &self.directory, &self.arguments));
            answers(&mut self.server, self.port).then_some(())
        });
        self.running = true;
    }

    /// Sends one command, and returns the first line of its reply.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        first_line(&mut self.send(words)).unwrap()
    }

    /// Sends one command, and returns its reply, which is a text; `None` if it is another, or none.
    #[must_use]
    pub fn read(&self, words: &[&str]) -> Option<String> {
        read_text(&mut self.send(words))
    }

    /// Sends one command, and returns the first element of its reply, which is a text.
    #[must_use]
    pub fn read_element(&self, words: &[&str]) -> Option<String> {
        let mut stream = self.send(words);
        if first_line(&mut stream)? == "*0" {
            return None;
        }
        read_text(&mut stream)
    }

    fn send(&self, words: &[&str]) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Sends one command, and returns the lines of its reply; `None` if the server does not answer.
    #[must_use]
    pub fn ask_all(&self, words: &[&str]) -> Option<String> {
        ask(self.port, words)
    }
}

/// Sends one command to the server on a port of 127.0.0.1, and returns the lines of its reply; `None` if it does not
/// answer.
pub(crate) fn ask(port: u16, words: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    // The reply to the second command shows where the first one ends.
    request += "*2\r\n$4\r\nPING\r\n$7\r\nthe-end\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut lines = Vec::new();
    loop {
        match first_line(&mut stream)? {
            end if end == "the-end" => break,
            line => lines.push(line),
        }
    }
    // The length of that reply.
    lines.pop();
    Some(lines.join("\n"))
}

/// Reads a text behind its length.
fn read_text(stream: &mut TcpStream) -> Option<String> {
    let length = first_line(stream)?.strip_prefix('$')?.parse().ok()?;
    let mut text = vec![0; length];
    stream.read_exact(&mut text).ok()?;
    String::from_utf8(text).ok()
}

fn command(port: u16, directory: &TempDir, arguments: &[String]) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.arg("--unixsocket").arg(directory.path().join("redis.sock"));
    command.arg("--dir").arg(directory.path()).args(arguments);
    command
}

/// Waits until the server answers; returns false if it ends before that.
fn answers(server: &mut Server, port: u16) -> bool {
    wait_for("the first answer of a redis server", || {
        if server.ended() {
            return Some(false);
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let line = first_line(&mut stream)?;
        (line.starts_with("+PONG") || line.starts_with("-NOAUTH")).then_some(true)
    })
}

/// Reads a line up to CR LF; returns `None` if the connection ends or times out before that.
fn first_line(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).ok()? == 1 {
        match byte {
            [b'\n'] => return String::from_utf8(line).ok(),
            [b'\r'] => (),
            [other] => line.push(other),
        }
    }
    None
}
