//! Requests that share a digest keep their order, though the client waits for no reply.
//!
//! The client of pyzor reports ten digests in one request and checks at once, each time from a new socket. With redis and
//! mysql a check came before the report as often as not, and with gdbm a report of ten digests after the checks behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{Client, Home, Server, digest, request};

/// Rounds of each test.
const ROUNDS: u32 = 60;

/// Sends requests without waiting, and returns the counts in the replies, from the smallest on. All replies are good.
fn counts(client: &Client, requests: &[String]) -> Vec<u64> {
    requests.iter().for_each(|request| client.send(request));
    let mut counts: Vec<u64> = requests.iter().filter_map(|_| count(&client.receive())).collect();
    counts.sort_unstable();
    counts
}

/// Returns the count in a good reply, if it has one.
fn count(reply: &str) -> Option<u64> {
    assert!(reply.starts_with("Code: 200\n"), "{reply}");
    reply.lines().find_map(|line| line.strip_prefix("Count: ")).map(|count| count.parse().unwrap())
}

/// Ten new digests.
fn ten(round: u32) -> Vec<String> {
    (0..10).map(|number| digest(1_000_000 + round * 10 + number)).collect()
}

fn batch(op: &str, digests: &[String]) -> String {
    request(op, &digests.iter().map(String::as_str).collect::<Vec<_>>())
}

/// From one socket, so that one worker gets all of it.
fn small_requests(client: &Client) {
    for round in 0..ROUNDS {
        let ask = |op| request(op, &[&digest(round)]);
        let requests = ["check", "report", "check", "check", "report", "check"].map(ask);
        assert_eq!(counts(client, &requests), [0, 1, 1, 2], "round {round}");
    }
}

fn reports_of_ten(client: &Client) {
    for round in 0..ROUNDS {
        let digests = ten(round);
        let check = |digest: &String| request("check", &[digest]);
        let mut requests = vec![check(&digests[9]), batch("report", &digests)];
        requests.extend(digests.iter().map(check));
        requests.extend([request("report", &[&digests[3]]), batch("report", &digests)]);
        requests.extend([check(&digests[3]), check(&digests[4])]);
        let expected = [&[0][..], &[1; 10], &[2, 3]].concat();
        assert_eq!(counts(client, &requests), expected, "round {round}");
    }
}

/// Each request from a socket of its own, as Python's client sends them: the server has one worker.
fn new_sockets(server: &Server) {
    for round in ROUNDS..2 * ROUNDS {
        let digests = ten(round);
        let (reporter, checker) = (server.client(), server.client());
        reporter.send(batch("report", &digests));
        let check = request("check", &[&digests[round as usize % 10]]);
        assert_eq!(counts(&checker, &[check]), [1], "round {round}");
        assert!(count(&reporter.receive()).is_none());
    }
}

/// Has clients ask for other digests and for one that all use, while `test` runs.
fn under_load(server: &Server, test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..3 {
            let (client, done) = (server.client(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let digests: Vec<String> = (0..10).map(|offset| digest(9_000_000 + number * 7 + offset)).collect();
                    let requests = ["report", "check"].map(|op| batch(op, &digests[..if number == 0 { 10 } else { 1 }]));
                    counts(&client, &requests);
                }
            });
        }
        // The load ends with this block, also after a panic.
        let _done = Set(&done);
        test();
    });
}

/// Sets a flag when it goes out of scope.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn suite(arguments: &[&str]) {
    let server = Server::start(&[arguments, &["--workers", "3"]].concat());
    let client = server.client();
    // Until all connections are there, a request may get 500.
    crate::harness::wait_for("the database", || {
        (0..50).all(|_| client.ask(request("check", &[&digest(0)])).starts_with("Code: 200\n")).then_some(())
    });
    small_requests(&client);
    reports_of_ten(&client);
    under_load(&server, || {
        let (small, large) = (server.client(), server.client());
        for round in 0..ROUNDS {
            let number = 100_000 + round;
            let requests = ["report", "check"].map(|op| request(op, &[&digest(number)]));
            assert_eq!(counts(&small, &requests), [1], "round {round}");
            let digests = ten(2 * ROUNDS + round);
            let requests = [batch("report", &digests), request("check", &[&digests[9]])];
            assert_eq!(counts(&large, &requests), [1], "round {round}");
        }
        new_sockets(&server);
    });
}

#[test]
fn gdbm_keeps_the_order() {
    suite(&[]);
}

/// Its workers read beside its writers.
#[cfg(feature = "sqlite")]
#[test]
fn sqlite_keeps_the_order() {
    suite(&["-e", "sqlite"]);
    suite(&["-e", "sqlite", "--durability", "strict"]);
}

#[test]
fn redis_keeps_the_order() {
    let redis = RedisServer::start();
    suite(&["-e", "redis", "--dsn", &format!("127.0.0.1,{},,0", redis.port())]);
}

#[test]
fn mysql_keeps_the_order() {
    let mysql = MariadbServer::start();
    let arguments = ["-e", "mysql", "--dsn", &mysql.dsn("digests")];
    let created = Home::new().run(&[&arguments[..], &["--create-table"]].concat());
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    suite(&arguments);
}
