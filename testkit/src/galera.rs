//! Clusters of MariaDB servers, replicated by Galera.
//!
//! All nodes begin with copies of one data folder, so a node that joins takes only the transactions since then from
//! another one. It needs none of the scripts of Debian's `mariadb-server`, a package that starts a system service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::mysql::{client, data, initialize, socket, user};
use crate::process::{Server, free_port, wait_for};

/// Where Debian's `galera-4` has the replication.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
/// The history that all nodes share.
const HISTORY: &str = "70797a6f-7264-4000-8000-000000000001";
/// Hands the position of the cluster from the donor to the joiner, through a file. It refuses to copy data.
const TRANSFER: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    --role) role=$2 ;;
    --address) address=$2 ;;
    --gtid) position=$2 ;;
    --datadir) folder=$2 ;;
    --bypass) bypass=yes ;;
    esac
    shift
done
if [ "$role" = joiner ]; then
    file=${folder%/}/transfer
    rm -f "$file"
    echo "ready $file"
    tries=0
    while [ ! -s "$file" ] && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
    cat "$file"
else
    [ "$bypass" = yes ] || exit 71
    echo "$position" >"$address.new" && mv "$address.new" "$address"
    echo "done $position"
fi
"#;

/// A cluster of three nodes with the database `pyzor`, and the user `pyzor` with the password `secret`.
#[derive(Debug)]
pub struct GaleraCluster {
    nodes: Vec<Node>,
    directory: TempDir,
}

#[derive(Debug)]
struct Node {
    server: Option<Server>,
    directory: PathBuf,
    port: u16,
    /// Where the other nodes reach it, and where it takes missing transactions.
    cluster_port: u16,
    transfer_port: u16,
}

impl GaleraCluster {
    /// Starts three nodes. This takes about five seconds.
    #[must_use]
    pub fn start() -> Self {
        assert!(Path::new(PROVIDER).exists(), "{PROVIDER}: is galera-4 installed?");
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("wsrep_sst_position");
        fs::write(&script, TRANSFER).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let node = |name: u8| Node {
            server: None,
            directory: directory.path().join(format!("node{name}")),
            port: free_port(),
            cluster_port: free_port(),
            transfer_port: free_port(),
        };
        let mut this = Self { nodes: (0..3).map(node).collect(), directory };
        let first = this.nodes[0].directory.clone();
        fs::create_dir(&first).unwrap();
        initialize(&first);
        let state =
            format!("# GALERA saved state\nversion: 2.1\nuuid: {HISTORY}\nseqno: 0\nsafe_to_bootstrap: 1\n");
        fs::write(data(&first).join("grastate.dat"), state).unwrap();
        // The data has a position in the history once a node has written it.
        this.launch(0, true, None);
        this.query(
            0,
            "CREATE DATABASE pyzor; CREATE USER pyzor@'%' IDENTIFIED BY 'secret'; GRANT ALL ON pyzor.* TO pyzor@'%'",
        );
        this.stop(0);
        for node in &this.nodes[1..] {
            fs::create_dir(&node.directory).unwrap();
            let copied = Command::new("cp").arg("-a").args([data(&first), data(&node.directory)]).status();
            assert!(copied.unwrap().success());
        }
        this.launch(0, true, None);
        this.launch(1, false, None);
        this.launch(2, false, None);
        this
    }

    /// Returns the port of a node on 127.0.0.1.
    #[must_use]
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// Returns the DSN of a table in the database `pyzor`, with these nodes as hosts, in their order.
    #[must_use]
    pub fn dsn(&self, nodes: &[usize], table: &str) -> String {
        let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", self.port(*node))).collect();
        format!("mysql://pyzor:secret@{}/pyzor?table={table}", hosts.join(","))
    }

    /// Runs statements on a node as the administrator, and returns a line for each row, with tabs between the columns.
    #[must_use]
    pub fn rows(&self, node: usize, sql: &str) -> String {
        self.try_rows(node, sql).expect(sql)
    }

    /// Runs statements on a node as the administrator, for their effect.
    pub fn query(&self, node: usize, sql: &str) {
        drop(self.rows(node, sql));
    }

    /// Kills a node, and keeps its data.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut server) = self.nodes[node].server.take() {
            server.kill();
        }
    }

    /// Asks a node to end, and waits for its end.
    pub fn stop(&mut self, node: usize) {
        if let Some(mut server) = self.nodes[node].server.take() {
            server.stop();
        }
    }

    /// Suspends a node: connections stay open, and nothing is answered. The others leave it out after some seconds.
    pub fn hang(&self, node: usize) {
        self.nodes[node].server.as_ref().unwrap().hang();
    }

    /// Resumes a node after a [`hang`](Self::hang).
    pub fn go_on(&self, node: usize) {
        self.nodes[node].server.as_ref().unwrap().go_on();
    }

    /// Starts a node again after a [`kill`](Self::kill) or a [`stop`](Self::stop), and waits until it has what it missed.
    pub fn rejoin(&mut self, node: usize) {
        let position = self.recovered_position(node);
        self.launch(node, false, Some(&position));
    }

    fn try_rows(&self, node: usize, sql: &str) -> Result<String, String> {
        let output = client(&self.nodes[node].directory).arg("-e").arg(sql).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// Returns the position of a node in the history, which is in its data after a kill.
    fn recovered_position(&self, node: usize) -> String {
        let log = self.nodes[node].directory.join("recovery.err");
        let mut command = self.command(node, "gcomm://", &log);
        let ended = command.arg("--wsrep-recover").status().unwrap();
        let text = fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.success(), "{text}");
        let found = text.rsplit_once("Recovered position: ");
        let position = found.and_then(|(_, rest)| rest.lines().next()).map(str::trim);
        position.expect(&text).to_owned()
    }

    /// Starts a node and waits until it is a full member.
    fn launch(&mut self, node: usize, is_first: bool, position: Option<&str>) {
        let members: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.cluster_port)).collect();
        let cluster = if is_first { "gcomm://".to_owned() } else { format!("gcomm://{}", members.join(",")) };
        let log = self.nodes[node].directory.join("log.err");
        let mut command = self.command(node, &cluster, &log);
        if let Some(position) = position {
            command.arg(format!("--wsrep-start-position={position}"));
        }
        self.nodes[node].server = Some(Server::start(&mut command));
        wait_for("a node that is in step with its cluster", || {
            let state = self.try_rows(node, "SHOW STATUS LIKE 'wsrep_local_state_comment'");
            let ended = self.nodes[node].server.as_mut().unwrap().ended();
            assert!(!ended, "{}", fs::read_to_string(&log).unwrap_or_default());
            state.is_ok_and(|state| state.contains("Synced")).then_some(())
        });
    }

    fn command(&self, number: usize, cluster: &str, log: &Path) -> Command {
        let node = &self.nodes[number];
        let directory = &node.directory;
        let provider = format!(
            "base_host=127.0.0.1;base_port={port};gmcast.listen_addr=tcp://127.0.0.1:{port};\
             ist.recv_addr=127.0.0.1:{};gcache.size=64M;evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;\
             evs.inactive_timeout=PT4S;evs.inactive_check_period=PT0.3S;socket.checksum=1",
            node.transfer_port,
            port = node.cluster_port,
        );
        let path = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let script = self.directory.path().display();
        let mut command = Command::new("/usr/sbin/mariadbd");
        command
            .env("PATH", format!("{script}:{}", std::env::var("PATH").unwrap_or_default()))
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"])
            .args([path("datadir", data(directory)), path("socket", socket(directory))])
            .args([path("tmpdir", directory.clone()), path("pid-file", directory.join("pid"))])
            .arg(path("log-error", log.to_owned()))
            .arg(format!("--port={}", node.port))
            .args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"])
            .arg(format!("--wsrep-provider={PROVIDER}"))
            .args(["--wsrep-cluster-name=pyzord", "--wsrep-sst-method=position"])
            .arg(format!("--wsrep-cluster-address={cluster}"))
            .arg(format!("--wsrep-node-address=127.0.0.1:{}", node.cluster_port))
            .arg(format!("--wsrep-node-name=node{number}"))
            .arg(format!("--wsrep-provider-options={provider}"))
            .args(user());
        command
    }
}
