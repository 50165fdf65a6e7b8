//! MariaDB servers.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Server, free_port, wait_for};

/// How many free ports are tried, as another process may take a free port first.
const TRIES: usize = 5;

/// A running MariaDB server with the database `pyzor`, and the user `pyzor` with the password `secret`.
#[derive(Debug)]
pub struct MariadbServer {
    server: Server,
    port: u16,
    options: Vec<String>,
    /// The variable TZ of its process.
    zone: String,
    directory: TempDir,
}

impl MariadbServer {
    /// Starts a server. This takes a few seconds, so tests should share it.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more options.
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_in("", options)
    }

    /// Starts a server whose machine is in this time zone, as the variable `TZ` has it; empty is that of the test.
    #[must_use]
    pub fn start_in(zone: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        initialize(directory.path());
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (server, port) = (0..TRIES)
            .find_map(|_| {
                let port = free_port();
                launch(directory.path(), port, zone, &options).map(|server| (server, port))
            })
            .expect("a MariaDB server that starts");
        let this = Self { server, port, options, zone: zone.to_owned(), directory };
        this.query(
            "CREATE DATABASE pyzor; CREATE USER pyzor@'%' IDENTIFIED BY 'secret'; GRANT ALL ON pyzor.* TO pyzor@'%'",
        );
        this
    }

    /// Returns its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of its unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }

    /// Returns the DSN of a table in the database `pyzor`, in the form of the Python server.
    #[must_use]
    pub fn dsn(&self, table: &str) -> String {
        format!("127.0.0.1:{},pyzor,secret,pyzor,{table}", self.port)
    }

    /// Runs statements as the administrator, and returns a line for each row, with tabs between the columns.
    #[must_use]
    pub fn rows(&self, sql: &str) -> String {
        let output = client(self.directory.path()).arg("-e").arg(sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs statements as the administrator, for their effect.
    pub fn query(&self, sql: &str) {
        drop(self.rows(sql));
    }

    /// Returns the id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Suspends it: connections stay open, and nothing is answered.
    pub fn hang(&self) {
        self.server.hang();
    }

    /// Resumes it after a [`hang`](Self::hang).
    pub fn go_on(&self) {
        self.server.go_on();
    }

    /// Kills it, and keeps its data.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Asks it to end, and waits for its end.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again after a [`kill`](Self::kill) or a [`stop`](Self::stop), with the same data and port.
    pub fn restart(&mut self) {
        self.server = launch(self.directory.path(), self.port, &self.zone, &self.options).expect("a restart");
    }
}

/// Creates the files of an empty server.
pub(crate) fn initialize(directory: &Path) {
    let output = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(user())
        .arg(format!("--datadir={}", data(directory).display()))
        // In a shared folder, servers that start at the same time remove each other's temporary files.
        .env("TMPDIR", directory)
        .output()
        .expect("mariadb-install-db: is mariadb-server installed?");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts the server and waits until it answers; returns `None` if it ends before that.
fn launch(directory: &Path, port: u16, zone: &str, options: &[String]) -> Option<Server> {
    let path = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    // Debian has it where a user's PATH does not lead.
    let mut command =
        Command::new(env::var_os("PYZORD_MARIADBD").unwrap_or_else(|| "/usr/sbin/mariadbd".into()));
    if !zone.is_empty() {
        command.env("TZ", zone);
    }
    command
        .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
        .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])
        .args([path("datadir", data(directory)), path("socket", socket(directory))])
        .arg(path("tmpdir", directory.to_owned()))
        .args([path("pid-file", directory.join("pid")), path("log-error", directory.join("log"))])
        .arg(format!("--port={port}"))
        .args(user())
        .args(options);
    let mut server = Server::start(&mut command);
    let up = wait_for("the start of MariaDB", || match client(directory).args(["-e", "SELECT 1"]).output() {
        Ok(output) if output.status.success() => Some(true),
        _ => server.ended().then_some(false),
    });
    up.then_some(server)
}

/// Returns a command line client of the administrator.
pub(crate) fn client(directory: &Path) -> Command {
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
        .arg(format!("--socket={}", socket(directory).display()));
    client
}

/// Returns the option without which a server refuses to run as root, for root.
pub(crate) fn user() -> Option<&'static str> {
    (Path::new("/proc/self").metadata().unwrap().uid() == 0).then_some("--user=root")
}

pub(crate) fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}
