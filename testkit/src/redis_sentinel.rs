//! A master, its replicas, and the sentinels that watch them.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Server, free_port, wait_for};
use crate::redis::{RedisServer, ask};

/// The name of the service.
const SERVICE: &str = "pyzor";
/// How many servers there are: a master and its replicas.
const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// A master with two replicas, and three sentinels that notice its end after a second.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    directory: TempDir,
}

#[derive(Debug)]
struct Sentinel {
    server: Server,
    port: u16,
}

impl RedisSentinels {
    /// Starts them, and waits until each sentinel knows the replicas and the other sentinels.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// As [`start`](Self::start), with more arguments for each `redis-server`.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // A replica that waits five seconds before it is sent its copy is none for as long.
        let usual = ["--appendonly", "no", "--repl-diskless-sync-delay", "0"];
        let master = RedisServer::with(&[&usual[..], arguments].concat());
        let port = master.port().to_string();
        let mut servers = vec![master];
        servers.resize_with(SERVERS, || {
            let replica = ["--replicaof", "127.0.0.1", &port];
            RedisServer::with(&[&usual[..], &replica, arguments].concat())
        });
        for replica in servers.iter().skip(1) {
            wait_for("a replica that has its copy", || {
                (replica.ask_all(&["ROLE"])?.contains("connected")).then_some(())
            });
        }
        let mut service = Self { servers, sentinels: Vec::new(), directory };
        for number in 0..SENTINELS {
            let sentinel = service.start_sentinel(number);
            service.sentinels.push(sentinel);
        }
        service.wait_until_known();
        service
    }

    fn start_sentinel(&self, number: usize) -> Sentinel {
        let master = self.servers[0].port();
        wait_for("the start of a sentinel", || {
            let port = free_port();
            let file = self.directory.path().join(format!("sentinel{number}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n\
                 sentinel parallel-syncs {SERVICE} 2\n",
                self.directory.path().display()
            );
            fs::write(&file, text).unwrap();
            let mut server = Server::start(Command::new("redis-server").arg(&file).arg("--sentinel"));
            wait_for("the first answer of a sentinel", || {
                if server.ended() {
                    return Some(false);
                }
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true)
            })
            .then_some(Sentinel { server, port })
        })
    }

    /// Waits until each sentinel knows the replicas and the other sentinels.
    fn wait_until_known(&self) {
        let known = [("num-slaves", SERVERS - 1), ("num-other-sentinels", SENTINELS - 1)];
        for sentinel in &self.sentinels {
            wait_for("a sentinel that knows the others", || {
                let told = ask(sentinel.port, &["SENTINEL", "MASTER", SERVICE])?;
                let has = |(name, count): (&str, usize)| {
                    let mut words = told.lines().skip_while(|word| *word != name).skip(2);
                    words.next() == Some(&count.to_string())
                };
                known.into_iter().all(has).then_some(())
            });
        }
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        SERVICE
    }

    /// Returns the ports of the sentinels.
    #[must_use]
    pub fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(|sentinel| sentinel.port).collect()
    }

    /// Returns the DSN of the service, without an account.
    #[must_use]
    pub fn dsn(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{SERVICE}/0", hosts.join(","))
    }

    /// Returns the servers, in no order.
    #[must_use]
    pub fn servers(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// Returns the index of the master that most sentinels name, once it calls itself one.
    #[must_use]
    pub fn master(&self) -> usize {
        wait_for("a master", || {
            let named: Vec<_> =
                self.sentinels.iter().filter_map(|sentinel| named_by(sentinel.port)).collect();
            let is_master = |server: &RedisServer| {
                named.iter().filter(|port| **port == server.port()).count() * 2 > SENTINELS
                    && server.ask_all(&["ROLE"]).is_some_and(|role| role.contains("master"))
            };
            self.servers.iter().position(is_master)
        })
    }

    /// Kills the master, and waits until another one is promoted. Returns the index of the killed one.
    pub fn fail_over(&mut self) -> usize {
        let killed = self.master();
        self.servers[killed].kill();
        self.wait_for_promotion(killed);
        killed
    }

    /// Waits until the master is another server than this one.
    pub fn wait_for_promotion(&self, old: usize) {
        wait_for("a promotion", || (self.master() != old).then_some(()));
    }

    /// Starts a server again that was killed, and waits until it and the other one copy the master.
    ///
    /// Sentinels, too, tell both which the master is, within ten seconds, or more on a busy machine.
    pub fn bring_back(&mut self, server: usize) {
        let master = self.master();
        // One that still copies the old address would copy the empty server that returns there.
        let others = (0..SERVERS).filter(|other| ![master, server].contains(other));
        others.for_each(|other| self.copy(other, master));
        self.servers[server].restart();
        self.copy(server, master);
    }

    fn copy(&self, server: usize, master: usize) {
        let port = self.servers[master].port().to_string();
        wait_for("a replica of the new master", || {
            let role = self.servers[server].ask_all(&["ROLE"])?;
            let copies = role.lines().any(|line| line.ends_with(&port));
            if !copies {
                let _ = self.servers[server].ask(&["REPLICAOF", "127.0.0.1", &port]);
            }
            (copies && role.contains("connected")).then_some(())
        });
    }

    /// Suspends a sentinel.
    pub fn hang_sentinel(&self, number: usize) {
        self.sentinels[number].server.hang();
    }

    /// Kills a sentinel.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].server.kill();
    }

    /// Sends one command to a sentinel, and returns the lines of its reply.
    #[must_use]
    pub fn ask_sentinel(&self, number: usize, words: &[&str]) -> String {
        ask(self.sentinels[number].port, words).unwrap()
    }
}

fn named_by(sentinel: u16) -> Option<u16> {
    let reply = ask(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
    reply.lines().last()?.parse().ok()
}
