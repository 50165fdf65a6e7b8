//! Servers on SQLite: killed, on disks that are full, fail or are slow, and beside other programs.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pyzord_engines::Access;
use pyzord_engines::sqlite::{Options, Sqlite};

use crate::full::limited;
use crate::harness::{Client, Guarded, Home, Server, digest, field, python, request, wait_for};
use crate::load::{Ledger, SetOnDrop, count, wait_for_more};
use crate::random::Random;
use crate::rounds;
use crate::servers::kill_and_start_again;
use crate::strace::{Fault, SYNCS, WRITES};

const DEFERRED: [&str; 2] = ["-e", "sqlite"];
const STRICT: [&str; 4] = ["-e", "sqlite", "--durability", "strict"];
/// Both promises.
const PROMISES: [&[&str]; 2] = [&DEFERRED, &STRICT];
/// Digests of a request, and requests that make the log longer than it is kept: each digest changes a page of its own.
const MANY: u32 = 16;
const LONG: u32 = 3000;

fn database(home: &Home) -> PathBuf {
    home.path("pyzord.sqlite")
}

fn log(home: &Home) -> PathBuf {
    home.path("pyzord.sqlite-wal")
}

/// Fails if pages contradict each other.
fn assert_sound(home: &Home) {
    let store = Sqlite::open(&database(home), Options::alone(Access::Read)).unwrap();
    assert_eq!(store.check().unwrap(), [""; 0]);
}

fn kills(arguments: &[&str]) {
    // With both promises, more than a thousand in a long run.
    let home = kill_and_start_again(rounds(4) * 2, arguments);
    assert_sound(&home);
}

#[test]
fn killed_with_deferred_syncs() {
    kills(&DEFERRED);
}

#[test]
fn killed_with_strict_syncs() {
    kills(&STRICT);
}

/// Returns the digests of a large request, which are far from each other in the table.
fn many(number: u32) -> Vec<String> {
    (0..MANY)
        .map(|n| format!("{:08x}{:032x}", (number * MANY + n + 1).wrapping_mul(0x9e37_79b9), n))
        .collect()
}

/// Reports many digests, and returns whether they were acknowledged.
fn are_counted(client: &Client, number: u32) -> bool {
    let digests = many(number);
    let reply = client.ask(request("report", &digests.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(["200", "500"].contains(&field(&reply, "Code")), "{reply}");
    field(&reply, "Code") == "200"
}

/// Each digest of these requests was counted once.
fn assert_many(server: &Server, numbers: impl Iterator<Item = u32>) {
    let client = server.client();
    for digest in numbers.flat_map(many) {
        assert_eq!(client.check(&digest).0, 1, "{digest}: {}", server.log());
    }
}

/// Reports one digest, and returns whether it was acknowledged.
fn is_counted(client: &Client, digest: &str) -> bool {
    let reply = client.ask(request("report", &[digest]));
    assert!(["200", "500"].contains(&field(&reply, "Code")), "{reply}");
    field(&reply, "Code") == "200"
}

/// Reports new digests, each until it is counted.
fn report(client: &Client, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| report_until_counted(client, number));
}

/// Reports new digests until one is refused, and returns its number.
fn report_until_refused(server: &Server, from: u32) -> u32 {
    let client = server.client();
    (from..from + 100_000)
        .find(|number| !is_counted(&client, &digest(*number)))
        .unwrap_or_else(|| panic!("{}", server.log()))
}

/// Reports a new digest until it is counted, as it is if a fault is over. On a busy disk, a strict sync may be late: the count
/// is refused, and is there.
fn report_until_counted(client: &Client, number: u32) {
    let is_there = || client.check(&digest(number)).0 == 1;
    wait_for("counts again", || (is_counted(client, &digest(number)) || is_there()).then_some(()));
}

/// Checks are answered, and a ping.
fn assert_answers(server: &Server, known: u32) {
    let client = server.client();
    assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    assert_eq!(client.check(&digest(known)).0, 1, "{}", server.log());
    assert_eq!(client.check("f".repeat(40).as_str()).0, 0);
}

/// Each of these was counted once.
fn assert_counts(server: &Server, numbers: std::ops::Range<u32>) {
    let client = server.client();
    for number in numbers {
        assert_eq!(client.check(&digest(number)).0, 1, "{number}: {}", server.log());
    }
}

fn lines(server: &Server, text: &str) -> usize {
    server.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_full_disk_refuses_counts_until_there_is_room() {
    for arguments in PROMISES {
        let server = Server::start(arguments);
        report(&server.client(), 0..100);
        let fault = Fault::on(&server, &log(&server.home), WRITES, "error=ENOSPC");
        let refused = report_until_refused(&server, 100);
        assert_eq!(refused, 100);
        (0..20).for_each(|_| assert!(!is_counted(&server.client(), &digest(7))));
        server.wait_for_log("the disk is full");
        assert_answers(&server, 7);
        drop(fault);
        report_until_counted(&server.client(), 100);
        report(&server.client(), 101..200);
        assert_counts(&server, 0..200);
        let server = Server::on(server.kill(), arguments);
        assert_counts(&server, 0..200);
        assert_sound(&server.stop());
    }
}

/// The log has room, and the database has not: pages stay in the log.
#[test]
fn a_database_that_cannot_grow_keeps_counts_in_its_log() {
    for (error, words) in [("ENOSPC", "the disk is full"), ("EDQUOT", "disk I/O error")] {
        let server = Server::start(&DEFERRED);
        let fault = Fault::on(&server, &database(&server.home), WRITES, &format!("error={error}"));
        let client = server.client();
        let before = (0..LONG).filter(|number| !are_counted(&client, *number)).count();
        server.wait_for_log(words);
        assert_eq!(before, 0, "{error}: {}", server.log());
        let told = lines(&server, "cannot be moved into it");
        assert!((1..4).contains(&told), "{told} lines in {}", server.log());
        drop(fault);
        report_until_counted(&server.client(), 1);
        let server = Server::on(server.kill(), &DEFERRED);
        assert_many(&server, 0..LONG);
        assert_counts(&server, 1..2);
        assert_sound(&server.stop());
    }
}

/// A limit on the size of all files, as a quota sets it.
#[test]
fn a_limit_of_file_sizes_loses_no_record() {
    let mut random = Random::new();
    for round in 0..rounds(2) {
        let arguments = PROMISES[round as usize % 2];
        let server = limited(Home::new(), 2500 + random.below(2000), arguments);
        let refused = report_until_refused(&server, 0);
        assert_answers(&server, 0);
        let server = Server::on(server.kill(), arguments);
        assert_counts(&server, 0..refused);
        report(&server.client(), refused..refused + 1);
        assert_sound(&server.stop());
    }
}

/// A second sync of the same file succeeds, and has written nothing: so all is written again.
#[test]
fn a_failed_sync_is_mended() {
    for (arguments, is_strict) in PROMISES.into_iter().zip([false, true]) {
        let server = Server::start(arguments);
        report(&server.client(), 0..100);
        let fault = Fault::on(&server, &log(&server.home), SYNCS, "error=EIO:when=1");
        let client = server.client();
        assert_eq!(is_counted(&client, &digest(100)), !is_strict);
        server.wait_for_log("a sync failed");
        server.wait_for_log("counts are accepted again");
        drop(fault);
        report_until_counted(&server.client(), 101);
        assert_counts(&server, 0..101);
        assert_counts(&Server::on(server.kill(), arguments), 0..101);
    }
}

#[test]
fn no_count_is_acknowledged_while_syncs_fail() {
    for arguments in PROMISES {
        let server = Server::start(arguments);
        report(&server.client(), 0..100);
        let fault = Fault::on(&server, &log(&server.home), SYNCS, "error=EIO");
        let _ = is_counted(&server.client(), &digest(100));
        server.wait_for_log("cannot be written again yet");
        (0..50).for_each(|number| assert!(!is_counted(&server.client(), &digest(number))));
        assert_answers(&server, 7);
        assert_eq!(lines(&server, "cannot be written again yet"), 1, "{}", server.log());
        drop(fault);
        report_until_counted(&server.client(), 101);
        assert_counts(&server, 0..102);
        assert_sound(&server.stop());
    }
}

/// The log has more pages than it keeps, and the sync of the database fails.
#[test]
fn a_failed_sync_of_the_database_is_mended() {
    let server = Server::start(&DEFERRED);
    let fault = Fault::on(&server, &database(&server.home), SYNCS, "error=EIO:when=1");
    let client = server.client();
    let counted = (0..LONG).filter(|number| are_counted(&client, *number)).collect::<Vec<_>>();
    server.wait_for_log("cannot be moved into it");
    server.wait_for_log("counts are accepted again");
    drop(fault);
    report_until_counted(&server.client(), 1);
    assert!(counted.len() > 500, "{}", counted.len());
    assert_many(&server, counted.into_iter());
    assert_sound(&server.stop());
}

#[test]
fn a_slow_sync_delays_no_checks() {
    for (arguments, is_strict) in PROMISES.into_iter().zip([false, true]) {
        let server = Server::start(arguments);
        report(&server.client(), 0..100);
        // The second sync is as long as the counts of the first have no chance to be the cause.
        let fault = Fault::on(&server, &log(&server.home), SYNCS, "delay_enter=9s:when=1");
        assert_eq!(is_counted(&server.client(), &digest(100)), !is_strict, "{}", server.log());
        let refused = report_until_refused(&server, 101);
        if is_strict {
            server.wait_for_log("not yet on the disk");
        } else {
            server.wait_for_log("a sync has not ended in 5 seconds");
            assert!(refused > 101);
        }
        assert_answers(&server, 7);
        assert_answers(&server, 100);
        assert_eq!(lines(&server, "failed"), 0, "{}", server.log());
        report_until_counted(&server.client(), refused + 1);
        drop(fault);
        assert_counts(&server, 0..refused);
        assert_sound(&server.stop());
    }
}

/// Runs a program of Python on the database, until it is dropped; returns when it has printed a line.
fn beside(home: &Home, script: &str) -> Guarded {
    let said = home.path("said");
    let _ = fs::remove_file(&said);
    let mut command = python("python");
    command.args(["-u", "-c", script]).arg(database(home)).stdout(fs::File::create(&said).unwrap());
    let program = Guarded(command.spawn().unwrap());
    wait_for("a line of the program", || fs::read_to_string(&said).unwrap().contains('\n').then_some(()));
    program
}

const OPEN: &str = "
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
";

#[test]
fn a_program_that_locks_the_database_delays_no_checks() {
    for arguments in PROMISES {
        let server = Server::start(arguments);
        report(&server.client(), 0..100);
        let script = format!(
            "{OPEN}db.execute('begin immediate')
db.execute('update digests set r_count = 1000')
print('locked')
time.sleep(600)"
        );
        let program = beside(&server.home, &script);
        assert!(!is_counted(&server.client(), &digest(7)));
        server.wait_for_log("another process has locked it");
        assert_answers(&server, 7);
        // It is killed in the middle.
        drop(program);
        report_until_counted(&server.client(), 100);
        assert_counts(&server, 0..101);
        assert_sound(&server.stop());
    }
}

/// While a program reads from one state, the log cannot begin anew.
#[test]
fn a_program_that_reads_for_long_refuses_no_counts() {
    let server = Server::start(&DEFERRED);
    report(&server.client(), 0..100);
    let script = format!(
        "{OPEN}db.execute('begin')
db.execute('select count(*) from digests').fetchall()
print('reads')
time.sleep(600)"
    );
    let program = beside(&server.home, &script);
    let client = server.client();
    assert!((0..LONG).all(|number| are_counted(&client, number)), "{}", server.log());
    let long = fs::metadata(log(&server.home)).unwrap().len();
    drop(program);
    let mut numbers = LONG..;
    wait_for("a shorter log", || {
        assert!(are_counted(&client, numbers.next().unwrap()), "{}", server.log());
        (fs::metadata(log(&server.home)).unwrap().len() < long).then_some(())
    });
    assert_counts(&server, 0..100);
    assert_many(&server, (0..numbers.start).step_by(50));
    assert_sound(&server.stop());
}

#[test]
fn two_servers_and_a_program_count_everything_once() {
    for arguments in PROMISES {
        let first = Server::start(arguments);
        let path = database(&first.home);
        let second = Server::start(&[arguments, &["--dsn", path.to_str().unwrap()]].concat());
        let script = format!(
            "{OPEN}print('writes')
while True:
    db.execute('begin immediate')
    db.execute('update digests set wl_count = wl_count + 1')
    db.execute('commit')
    __import__('time').sleep(0.01)"
        );
        let (mut random, mut ledgers) = (Random::new(), [Ledger::default(), Ledger::default()]);
        let program = beside(&first.home, &script);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let [one, other] = &mut ledgers;
            let (address, mut own, done) = (second.address, random.fork(), &done);
            scope.spawn(move || {
                other.load(address, &mut own, |_| {
                    wait_for("the first load", || done.load(Ordering::Relaxed).then_some(()));
                });
            });
            let _done = SetOnDrop(done);
            one.load(first.address, &mut random, |acknowledged| wait_for_more(acknowledged, 200));
        });
        drop(program);
        let [one, other] = ledgers;
        let mut both = one.joined(other);
        // One is killed, the other goes on.
        let home = first.kill();
        let new = "f".repeat(40);
        assert!(is_counted(&second.client(), &new));
        assert_eq!(count(&second.client(), &new), 1);
        // It counts what it has received before it ends.
        second.stop();
        let first = Server::on(home, arguments);
        both.verify(&first);
        assert_sound(&first.stop());
    }
}
