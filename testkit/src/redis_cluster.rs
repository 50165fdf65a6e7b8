//! Redis Clusters.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::process::wait_for;
use crate::redis::RedisServer;

/// The slots of a cluster.
const SLOTS: u32 = 16_384;
/// How long a node is silent before the others hold an election, in milliseconds.
const NODE_TIMEOUT: &str = "1000";

/// A running cluster on 127.0.0.1: masters, and the same number of replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts three masters with a replica each, and waits until every node knows all slots.
    #[must_use]
    pub fn start() -> Self {
        Self::with(3, 1, &[])
    }

    /// Starts so many masters with so many replicas each, with further arguments of `redis-server`.
    #[must_use]
    pub fn with(masters: usize, replicas: usize, arguments: &[&str]) -> Self {
        let common = [
            &["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT, "--appendonly", "no"],
            arguments,
        ]
        .concat();
        let nodes: Vec<_> = (0..masters * (1 + replicas)).map(|_| RedisServer::node(&common)).collect();
        let cluster = Self { nodes };
        cluster.create(replicas);
        cluster.wait_until_whole();
        cluster
    }

    fn create(&self, replicas: usize) {
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())));
        command.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        let created = command.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    }

    /// Waits until every running node says that all slots are served.
    pub fn wait_until_whole(&self) {
        patiently("a cluster that is whole", || {
            let whole = |node: &&RedisServer| {
                let info = node.read(&["CLUSTER", "INFO"]).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            };
            self.running().all(|node| whole(&node)).then_some(())
        });
        let masters = self.masters().len();
        patiently("replicas that follow", || {
            let linked = |node: &RedisServer| {
                let info = node.read(&["INFO", "replication"]).unwrap_or_default();
                info.contains("role:master") || info.contains("master_link_status:up")
            };
            (self.running().all(linked) && self.masters().len() == masters).then_some(())
        });
    }

    fn running(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// Returns the DSN that names all nodes.
    #[must_use]
    pub fn dsn(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}/", nodes.join(","))
    }

    /// Returns the nodes, in the order of their start.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns the numbers of the running nodes that are masters with slots now.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |node: &RedisServer| {
            let own = own_line(node);
            own.contains("master") && own.split(' ').count() > 8
        };
        let numbered = self.nodes.iter().enumerate().filter(|(_, node)| node.is_running());
        numbered.filter(|(_, node)| is_master(node)).map(|(number, _)| number).collect()
    }

    /// Kills a node.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Starts a node again that was killed.
    pub fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
    }

    /// Waits until another node is the master of the slots of one that was killed.
    pub fn wait_for_failover(&self, masters: usize) {
        patiently("a failover", || (self.masters().len() == masters).then_some(()));
        patiently("a cluster that is whole", || {
            let state = |node: &RedisServer| node.read(&["CLUSTER", "INFO"]).unwrap_or_default();
            self.running().all(|node| state(node).contains("cluster_state:ok")).then_some(())
        });
    }

    /// Sends a command to every master that is running.
    pub fn tell_masters(&self, words: &[&str]) {
        for number in self.masters() {
            let reply = self.nodes[number].ask(words);
            assert!(!reply.starts_with('-'), "{reply}");
        }
    }

    /// Sends a command to the master of a key, and returns the first line of its reply.
    #[must_use]
    pub fn ask(&self, key: &str, words: &[&str]) -> String {
        let replies = self.masters().into_iter().map(|number| self.nodes[number].ask(words));
        let mut replies = replies.filter(|reply| !reply.starts_with("-MOVED"));
        replies.next().unwrap_or_else(|| panic!("no master has {key}"))
    }

    /// Returns the number of the master that has a slot.
    #[must_use]
    pub fn owner(&self, slot: u32) -> usize {
        assert!(slot < SLOTS);
        let has = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        };
        let owns = |number: &usize| own_line(&self.nodes[*number]).split(' ').skip(8).any(has);
        patiently("the owner of a slot", || self.masters().into_iter().find(owns))
    }

    /// Moves a slot with its keys to another master, as `redis-cli --cluster reshard` does. `between` is called when the
    /// slot is open on both and no key has moved, and after each key.
    pub fn move_slot(&self, slot: u32, to: usize, mut between: impl FnMut()) {
        let from = self.owner(slot);
        let (source, destination) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, destination_id) = (id(source), id(destination));
        let number = slot.to_string();
        let set = |node: &RedisServer, how: &[&str]| {
            let reply = node.ask(&[&["CLUSTER", "SETSLOT", &number], how].concat());
            assert_eq!(reply, "+OK", "{how:?}");
        };
        set(destination, &["IMPORTING", &source_id]);
        set(source, &["MIGRATING", &destination_id]);
        between();
        let port = destination.port().to_string();
        loop {
            let key = source.read_element(&["CLUSTER", "GETKEYSINSLOT", &number, "1"]);
            let Some(key) = key else { break };
            let moved = source.ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
            assert!(moved == "+OK" || moved == "+NOKEY", "{moved}");
            between();
        }
        set(destination, &["NODE", &destination_id]);
        set(source, &["NODE", &destination_id]);
        for node in self.running().filter(|node| own_line(node).contains("master")) {
            let reply = node.ask(&["CLUSTER", "SETSLOT", &number, "NODE", &destination_id]);
            assert_eq!(reply, "+OK");
        }
    }

    /// Lets a replica take the place of its master, which loses no write.
    pub fn fail_over(&self, replica: usize) {
        let node = &self.nodes[replica];
        wait_for("the start of a failover", || (node.ask(&["CLUSTER", "FAILOVER"]) == "+OK").then_some(()));
        patiently("a master", || own_line(node).contains("master").then_some(()));
    }

    /// Returns the number of the replica of a master.
    #[must_use]
    pub fn replica_of(&self, master: usize) -> usize {
        let id = id(&self.nodes[master]);
        let follows =
            |node: &RedisServer| node.is_running() && own_line(node).split(' ').nth(3) == Some(id.as_str());
        patiently("a replica", || self.nodes.iter().position(follows))
    }
}

/// Returns what a node knows of itself.
fn own_line(node: &RedisServer) -> String {
    let nodes = node.read(&["CLUSTER", "NODES"]).unwrap_or_default();
    nodes.lines().find(|line| line.contains("myself")).unwrap_or_default().to_owned()
}

fn id(node: &RedisServer) -> String {
    own_line(node).split(' ').next().unwrap_or_default().to_owned()
}

/// Polls less often than [`wait_for`]: each look asks every node.
fn patiently<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    wait_for(what, || {
        poll().or_else(|| {
            thread::sleep(Duration::from_millis(20));
            None
        })
    })
}
