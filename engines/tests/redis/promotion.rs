//! A replica that is promoted while the server that the DSN names is gone.

use pyzord_core::{StoreError, StoreOp};
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{RedisServer, wait_for};

use crate::support::{execute_one, tick};

/// A master with a copy, and engines that have seen both.
struct Pair {
    master: RedisServer,
    copy: RedisServer,
    dsn: Dsn,
    store: Redis,
    now: u64,
}

impl Pair {
    fn start() -> Self {
        let master = RedisServer::with(&["--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let copy = RedisServer::with(&["--replicaof", "127.0.0.1", &port, "--enable-debug-command", "yes"]);
        wait_for("the copy", || (attached(&master) == 1).then_some(()));
        let dsn = Dsn::parse(&format!("127.0.0.1,{port},,0")).unwrap();
        let store = Redis::new(&dsn, Options::serving(None));
        let mut pair = Self { master, copy, dsn, store, now: 0 };
        pair.count_until_it_works();
        wait_for("the count at the copy", || (keys(&pair.copy) == ":1").then_some(()));
        pair
    }

    /// Counts until the database answers.
    fn count_until_it_works(&mut self) {
        wait_for("a count", || {
            self.now += 100;
            execute_one(&mut self.store, tick(self.now), StoreOp::Report, 1).ok()
        });
    }

    fn refuses(&mut self) {
        for _ in 0..100 {
            self.now += 100;
            let answer = execute_one(&mut self.store, tick(self.now), StoreOp::Report, 1);
            assert_eq!(answer, Err(StoreError::Unavailable));
        }
    }

    fn promote(&self) {
        assert_eq!(self.copy.ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
    }
}

fn attached(master: &RedisServer) -> usize {
    let info = master.ask_all(&["INFO", "replication"]).unwrap_or_default();
    info.lines().filter(|line| line.contains("state=online")).count()
}

fn keys(server: &RedisServer) -> String {
    server.ask(&["DBSIZE"])
}

#[test]
fn a_promoted_copy_is_used_until_the_server_is_back_and_it_is_not_a_master() {
    let mut pair = Pair::start();
    pair.master.kill();
    pair.refuses();
    pair.promote();
    pair.count_until_it_works();
    // The server is back, and calls itself a master until a sentinel has told it otherwise; it has lost its data.
    pair.master.restart();
    let mut other = Redis::new(&pair.dsn, Options::serving(None));
    wait_for("another connection", || execute_one(&mut other, tick(0), StoreOp::Report, 2).ok());
    pair.count_until_it_works();
    assert_eq!([keys(&pair.copy), keys(&pair.master)], [":2", ":0"]);
    // The promoted one is demoted.
    assert_eq!(pair.copy.ask(&["REPLICAOF", "127.0.0.1", &pair.master.port().to_string()]), "+OK");
    pair.now += 6000;
    wait_for("a count at the server", || {
        pair.count_until_it_works();
        (keys(&pair.master) == ":1").then_some(())
    });
}

/// A failover on request: both live, and the connection stays open.
#[test]
fn a_server_that_became_a_replica_is_left_for_its_promoted_copy() {
    let mut pair = Pair::start();
    pair.promote();
    assert_eq!(pair.master.ask(&["REPLICAOF", "127.0.0.1", &pair.copy.port().to_string()]), "+OK");
    pair.count_until_it_works();
    assert_eq!(pair.copy.ask(&["HGET", &crate::support::key(1), "r_count"]), "$1");
    assert!(pair.copy.ask_all(&["HGET", &crate::support::key(1), "r_count"]).unwrap().ends_with('2'));
}

/// Redis waits five seconds for further replicas before it sends them a copy. Sentinels promote one that waits, too.
#[test]
fn a_promoted_copy_that_was_still_empty_is_used() {
    let mut master = RedisServer::with(&["--appendonly", "no", "--repl-diskless-sync-delay", "600"]);
    let port = master.port().to_string();
    let copy = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    wait_for("the replica", || master.ask_all(&["INFO", "replication"])?.contains("slave0:").then_some(()));
    let mut store = Redis::new(&Dsn::parse(&format!("127.0.0.1,{port},,0")).unwrap(), Options::serving(None));
    let mut now = 0;
    let mut count = || {
        wait_for("a count", || {
            now += 100;
            execute_one(&mut store, tick(now), StoreOp::Report, 1).ok()
        })
    };
    count();
    let asked = || copy.ask_all(&["INFO", "commandstats"]).unwrap().contains("cmdstat_role");
    wait_for("the question to the replica", || asked().then_some(()));
    master.kill();
    assert_eq!(copy.ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
    count();
    assert_eq!(keys(&copy), ":1");
}

#[test]
fn a_copy_that_is_none_of_the_last_master_is_not_used() {
    // A copy that was detached while the master lived: an experiment, or a backup.
    let mut detached = Pair::start();
    detached.promote();
    wait_for("the master without a copy", || (attached(&detached.master) == 0).then_some(()));
    detached.now += 10_000;
    detached.count_until_it_works();
    detached.master.kill();
    detached.refuses();
    // Another redis, at the address of the copy.
    let mut stranger = Pair::start();
    stranger.master.kill();
    stranger.copy.restart();
    stranger.promote();
    // The file that the copy was sent has the id of the master.
    assert_eq!(stranger.copy.ask(&["DEBUG", "CHANGE-REPL-ID"]), "+OK");
    stranger.refuses();
    assert_eq!(keys(&detached.copy), ":1");
}
