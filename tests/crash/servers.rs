//! The server is killed under load and started again.

use std::time::Duration;

use nix::sys::signal::Signal;
use pyzord_core::{Digest, Record, Tally, UnixTime};
use pyzord_engines::Gdbm;
use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Home, Server, wait_for};
use crate::load::{Ledger, count, wait_for_more};
use crate::random::Random;
use crate::rounds;

/// Kills several servers in turn on one database, and checks that each next one starts and has every acknowledged
/// report.
pub(crate) fn kill_and_start_again(rounds: u32, arguments: &[&str]) -> Home {
    let (mut random, mut ledger) = (Random::new(), Ledger::default());
    let mut home = Home::new();
    let mut recoveries = 0;
    for round in 0..rounds {
        let runtime = ["std", "smol"][random.below(2) as usize];
        let server = Server::on(home, &[arguments, &["--runtime", runtime]].concat());
        recoveries += u32::from(server.log().contains(" recovered "));
        ledger.verify(&server);
        ledger.load(server.address, &mut random.fork(), |acknowledged| {
            wait_for_more(acknowledged, 1 + random.below(300));
            if round % 4 == 3 {
                // A kill during a stop, in which the server answers received requests and syncs.
                server.signal(Signal::SIGTERM);
                random.pause(Duration::from_millis(3));
            }
            server.signal(Signal::SIGKILL);
        });
        home = server.kill();
    }
    let server = Server::on(home, arguments);
    ledger.verify(&server);
    let Ledger { acknowledged, unanswered, .. } = ledger;
    println!(
        "{rounds} kills: {acknowledged} acknowledged, none lost; {unanswered} unanswered; {recoveries} recoveries"
    );
    server.stop()
}

#[test]
fn gdbm() {
    kill_and_start_again(rounds(8), &[]);
}

/// A new database has a single bucket, the hardest case of a recovery.
#[test]
fn gdbm_young() {
    for _ in 0..rounds(8).div_ceil(2) {
        kill_and_start_again(2, &[]);
    }
}

#[test]
fn redis() {
    let redis = RedisServer::start();
    kill_and_start_again(rounds(6), &["-e", "redis", "--dsn", &format!("127.0.0.1,{},,0", redis.port())]);
}

#[test]
fn mysql() {
    let mysql = MariadbServer::start();
    let arguments = ["-e", "mysql", "--dsn", &mysql.dsn("digests")];
    let created = Home::new().run(&[&arguments[..], &["--create-table"]].concat());
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    kill_and_start_again(rounds(6), &arguments);
}

/// The options for records of these dates.
const EXPIRING: [&str; 6] =
    ["--cleanup-age", "1000000", "--cleanup-max-offset", "0", "--cleanup-max-share", "100"];

/// Records that have expired at the start.
const OLD: u32 = 4000;
/// Records that do not expire.
const LASTING: u32 = 500;

fn key(number: u32) -> Digest {
    Digest::parse(old_digest(number).as_bytes()).unwrap()
}

fn old_digest(number: u32) -> String {
    format!("aa{number:038x}")
}

/// The server is killed in a round of expiry, or in the reorganization after it. Records that have not expired and
/// reports during the round stay, and the next server completes the round.
#[test]
fn gdbm_in_expiry() {
    let mut random = Random::new();
    let time = |seconds| Some(UnixTime::from_seconds(seconds));
    let mut killed_in_expiry = 0;
    let rounds = rounds(6);
    for _ in 0..rounds {
        let (mut ledger, mut home) = (Ledger::default(), Home::new());
        let store = Gdbm::open(&home.path("pyzord.db")).unwrap();
        for number in 0..OLD + LASTING {
            let updated = if number < OLD { time(1_000_000_000) } else { time(4_000_000_000) };
            let reports = Tally { count: number.into(), entered: updated, updated };
            store.put(key(number), &Record { reports, ..Record::default() }).unwrap();
        }
        drop(store);
        for _ in 0..2 {
            let server = Server::on(home, &EXPIRING);
            ledger.load(server.address, &mut random.fork(), |_| {
                random.pause(Duration::from_millis(150));
                server.signal(Signal::SIGKILL);
            });
            killed_in_expiry += u32::from(!server.log().contains("have expired"));
            home = server.kill();
        }
        let server = Server::on(home, &EXPIRING);
        ledger.verify(&server);
        let client = server.client();
        wait_for("the end of the round", || {
            (0..OLD).step_by(97).all(|number| count(&client, &old_digest(number)) == 0).then_some(())
        });
        for number in OLD..OLD + LASTING {
            assert_eq!(count(&client, &old_digest(number)), u64::from(number), "{}", server.log());
        }
        server.stop();
    }
    println!("{} kills, {killed_in_expiry} before the round had ended", 2 * rounds);
}
