//! What the functional tests of Python's pyzor do: its clients in place of theirs, and our server in place of theirs.

use std::process::Command;

use crate::copies::Shared;
use crate::bob::{BOBS_KEY, home_of_bob};
use crate::harness::{Home, Server, python, run_python, wait_for};

/// How often everything is done.
const ROUNDS: &str = "20";

/// `BatchClient` sends ten counts in one request and reads no reply. A check that follows at once sees all of them.
/// Arguments: rounds, a user and its key or nothing, addresses of servers. Prints what is not as expected.
const BATCHES: &str = "
import random, sys
import pyzor.account, pyzor.client
rounds, user, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
servers = [(host, int(port)) for host, port in (server.split(':') for server in sys.argv[4:])]
account = pyzor.account.Account(user, '5a17', key)
accounts = {server: account for server in servers} if user else None

def check(digest, server, expected, what):
    for attempt in range(3):
        try:
            reply = client.check(digest, server)
            break
        except pyzor.ProtocolError as error:
            # The system gives the port of a batch to this request, and the batch's reply comes late.
            if 'unexpected thread id' not in str(error) or attempt == 2:
                raise
    found = (reply.get('Count'), reply.get('WL-Count'))
    if found != tuple(map(str, expected)):
        print('round %d, %s: %s in place of %s, %s' % (number, what, found, expected, reply['Diag']))

def new():
    return '%040x' % random.getrandbits(160)

for number in range(rounds):
    client = pyzor.client.BatchClient(accounts)
    for server in servers:
        for kind, count in enumerate((client.report, client.whitelist)):
            digest, counts = new(), tuple(10 * (kind == at) for at in range(2))
            for _ in range(9):
                count(digest, server)
            check(digest, server, (0, 0), 'nine of one kind')
            count(digest, server)
            check(digest, server, counts, 'ten of one kind')
            digests = [new() for _ in range(10)]
            for digest in digests:
                count(digest, server)
            for digest in digests:
                check(digest, server, tuple(1 * (kind == at) for at in range(2)), 'ten digests')
        digest = new()
        for _ in range(9):
            client.report(digest, server)
            client.whitelist(digest, server)
        check(digest, server, (0, 0), 'nine of both')
        client.report(digest, server)
        check(digest, server, (10, 0), 'ten reports of both')
        client.whitelist(digest, server)
        check(digest, server, (10, 10), 'ten of both')
    digests = [new() for _ in servers]
    for _ in range(9):
        for server, digest in zip(servers, digests):
            client.report(digest, server)
    for server, digest in zip(servers, digests):
        check(digest, server, (0, 0), 'nine to each server')
        client.report(digest, server)
        check(digest, server, (10, 0), 'ten to each server')
";

/// Also on a machine with one CPU.
const WORKERS: [&str; 2] = ["--workers", "3"];

fn batches(servers: &[Server; 2]) {
    let addresses = servers.each_ref().map(|server| server.address.to_string());
    let [first, second] = addresses.each_ref().map(String::as_str);
    for [user, key] in [["", ""], ["bob", BOBS_KEY]] {
        let unexpected = run_python(BATCHES, &[ROUNDS, user, key, first, second]);
        assert!(unexpected.is_empty(), "as `{user}`: {unexpected}");
    }
}

/// Two servers on one database.
fn batches_on(database: &Shared) {
    batches(&[(); 2].map(|()| database.serve_with(home_of_bob(), database.port(), &WORKERS)));
}

#[test]
fn a_check_sees_the_batch_before_it_with_gdbm() {
    batches(&[(); 2].map(|()| Server::on(home_of_bob(), &WORKERS)));
}

#[cfg(feature = "sqlite")]
#[test]
fn a_check_sees_the_batch_before_it_with_sqlite() {
    let arguments = [&WORKERS[..], &["-e", "sqlite"]].concat();
    batches(&[(); 2].map(|()| Server::on(home_of_bob(), &arguments)));
}

#[test]
fn a_check_sees_the_batch_before_it_with_redis() {
    batches_on(&Shared::redis("redis"));
}

#[test]
fn a_check_sees_the_batch_before_it_with_mysql() {
    batches_on(&Shared::mysql());
}

/// Returns what the client of a folder prints about a message: a line for each server.
fn pyzor(home: &Home, folder: &str, command: &str) -> Vec<String> {
    let mut pyzor = python("pyzor");
    pyzor.current_dir(home.dir()).args(["--homedir", folder, command]);
    let message = home.write("message", "From: a@example.com\n\nThis is a message that is reported and forwarded.\n");
    let output = pyzor.stdin(std::fs::File::open(message).unwrap()).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let mut lines: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

/// Starts a server with relative paths, as the current folder has them.
fn relative(home: Home, folder: &str, arguments: &[String]) -> Server {
    std::fs::create_dir_all(home.path(folder)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzord"));
    command.current_dir(home.dir()).args(["--runtime", crate::RUNTIME, "--homedir", folder]);
    command.args(crate::harness::LISTEN).args(arguments);
    Server::launch(home, command)
}

/// A server forwards as the client of one folder, and is asked by the client of another, all of them relative.
fn forwarding(database: &[&[String]; 2]) {
    let [here, there] = database;
    let there = relative(Home::new(), "./remote-server", there);
    let home = Home::new();
    for folder in ["./client", "./forwarding"] {
        std::fs::create_dir(home.path(folder)).unwrap();
    }
    home.write("./forwarding/servers", format!("{}\n", there.address));
    let forward = ["--forward-client-homedir".to_owned(), "./forwarding".to_owned()];
    let here = relative(home, "./local-server", &[&forward, *here].concat());
    let home = &here.home;
    home.write("./client/servers", format!("{}\n", here.address));
    let [own, other] = [&here, &there].map(|server| server.address);
    let ask = |folder, command| pyzor(home, folder, command).concat();
    let counts = |server, count: u32| format!("{server}\t(200, 'OK')\t{count}\t0");
    wait_for("the database", || (ask("./client", "check") == counts(own, 0)).then_some(()));
    for _ in 0..10 {
        assert_eq!(ask("./client", "report"), format!("{own}\t(200, 'OK')"));
    }
    assert_eq!(ask("./client", "check"), counts(own, 10));
    wait_for("what is forwarded", || (ask("./forwarding", "check") == counts(other, 10)).then_some(()));
    assert_eq!(ask("./forwarding", "report"), format!("{other}\t(200, 'OK')"));
    assert_eq!(ask("./forwarding", "check"), counts(other, 11));
    assert_eq!(ask("./client", "check"), counts(own, 10));
}

#[test]
fn forwarding_works_from_relative_folders() {
    let databases = [Shared::redis("redis"), Shared::mysql()];
    let [redis, mysql] = databases.each_ref().map(|database| database.arguments(database.port()));
    forwarding(&[&redis, &mysql]);
    forwarding(&[&[], &[]]);
}

/// A client that lists two servers on one database reports to both and prints the answers of both: SpamAssassin, which
/// adds them up, sees each report four times.
#[test]
fn a_client_of_two_servers_on_one_database_doubles_every_count() {
    for database in [Shared::redis("redis"), Shared::mysql()] {
        let servers = database.two();
        let home = Home::new();
        std::fs::create_dir(home.path("client")).unwrap();
        home.write("client/servers", format!("{}\n{}\n", servers[0].address, servers[1].address));
        let both = |answer: &str| {
            let mut lines = servers.each_ref().map(|server| format!("{}\t{answer}", server.address));
            lines.sort();
            lines
        };
        assert_eq!(pyzor(&home, "client", "report"), both("(200, 'OK')"));
        assert_eq!(pyzor(&home, "client", "check"), both("(200, 'OK')\t2\t0"));
    }
}
