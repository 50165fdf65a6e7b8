//! Files that cannot grow: beyond a size limit a write fails, as on a full disk.

use std::process::{Command, Stdio};

use crate::harness::{Home, LISTEN, Server, digest, field, request};
use crate::load::count;
use crate::random::Random;
use crate::rounds;

/// The size limits in blocks of 512 bytes: a file of this size has up to some thousand records.
const LEAST: u32 = 2500;
const MOST: u32 = 4500;

/// libgdbm lost a bucket of acknowledged records if it had no room to split the bucket.
#[test]
fn a_database_that_cannot_grow_loses_no_record() {
    let mut random = Random::new();
    for _ in 0..rounds(6) {
        let limit = LEAST + random.below(MOST - LEAST);
        println!("{limit} blocks");
        fill(limit);
    }
}

/// Starts a server with a limit on the size of its files, in blocks of 512 bytes.
pub(crate) fn limited(home: Home, blocks: u32, arguments: &[&str]) -> Server {
    let server = home.command(&[&LISTEN, arguments].concat());
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")).stdin(Stdio::null());
    command.arg(server.get_program()).args(server.get_args());
    Server::launch(home, command)
}

/// Reports new digests until one is refused; returns the number of that digest.
fn report_until_refused(server: &Server, from: u32) -> u32 {
    let client = server.client();
    (from..)
        .find(|number| {
            let reply = client.ask(request("report", &[&digest(*number)]));
            assert!(["200", "500"].contains(&field(&reply, "Code")), "{reply}");
            field(&reply, "Code") == "500"
        })
        .unwrap()
}

fn fill(limit: u32) {
    let server = limited(Home::new(), limit, &[]);
    let refused = report_until_refused(&server, 0);
    server.wait_for_log("File too large");
    assert_eq!(field(&server.client().ask(request("ping", &[])), "Code"), "200");
    assert_eq!(count(&server.client(), &digest(0)), 1, "stored records can be read");
    let known = server.client().ask(request("report", &[&digest(0)]));
    assert_eq!(
        field(&known, "Code"),
        "200",
        "stored records can be counted: a 2 needs no more room than a 1"
    );
    // A kill loses no record, and without the limit the file can grow again.
    let server = Server::on(server.kill(), &[]);
    let client = server.client();
    for number in 0..refused {
        let expected = if number == 0 { 2 } else { 1 };
        assert_eq!(count(&client, &digest(number)), expected, "{number} of {refused}: {}", server.log());
    }
    let reply = client.ask(request("report", &[&digest(refused)]));
    assert_eq!(field(&reply, "Code"), "200");
}

/// SIGXFSZ killed the server.
#[test]
fn a_log_that_cannot_grow_does_not_end_the_server() {
    const LIMIT: u32 = 64;
    let home = Home::new();
    let log = home.path("usage.log");
    let server = limited(home, LIMIT, &["--usage-log", log.to_str().unwrap()]);
    let client = server.client();
    let full = || server.log().contains("File too large");
    let pings = (0..10_000).take_while(|_| !full()).map(|_| client.ask(request("ping", &[])));
    assert!(pings.count() < 10_000, "the log is full");
    for _ in 0..10 {
        assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    }
}
