//! The database server is killed under load and restarted; the server keeps running.

use std::cell::RefCell;
use std::time::Duration;

use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Home, Server};
use crate::load::{Ledger, wait_for_more};
use crate::random::Random;
use crate::rounds;

/// Kills and restarts a database server several times, and checks that the server reconnects and that no acknowledged
/// report is lost.
fn kill_and_restart(rounds: u32, server: &Server, mut kill: impl FnMut(), mut restart: impl FnMut()) {
    let (mut random, mut ledger) = (Random::new(), Ledger::default());
    for _ in 0..rounds {
        ledger.load(server.address, &mut random.fork(), |acknowledged| {
            wait_for_more(acknowledged, 1 + random.below(300));
            random.pause(Duration::from_millis(2));
            kill();
            restart();
            wait_for_more(acknowledged, 50);
        });
        ledger.verify(server);
    }
    let Ledger { acknowledged, unanswered, .. } = ledger;
    println!("{rounds} kills: {acknowledged} acknowledged, none lost; {unanswered} refused or unanswered");
}

#[test]
fn redis() {
    let redis = RefCell::new(RedisServer::durable());
    let dsn = format!("127.0.0.1,{},,0", redis.borrow().port());
    let server = Server::start(&["-e", "redis", "--dsn", &dsn]);
    kill_and_restart(rounds(4), &server, || redis.borrow_mut().kill(), || redis.borrow_mut().restart());
}

#[test]
fn mysql() {
    // MariaDB's default. The test servers disable it for speed.
    let durable = MariadbServer::start_with(&["--innodb-flush-log-at-trx-commit=1"]);
    let arguments = ["-e", "mysql", "--dsn", &durable.dsn("digests")];
    let created = Home::new().run(&[&arguments[..], &["--create-table"]].concat());
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let server = Server::start(&arguments);
    let mysql = RefCell::new(durable);
    kill_and_restart(rounds(3), &server, || mysql.borrow_mut().kill(), || mysql.borrow_mut().restart());
}
