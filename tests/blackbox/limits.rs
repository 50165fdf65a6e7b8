//! Limits for networks, and copies of signed reports.

use nix::sys::signal::Signal;
use pyzord_core::{HashedKey, HeaderBlock};

use crate::harness::{Home, Server, digest, field, request, run_python, wait_for};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A server with the account bob, which has all rights.
fn with_account(arguments: &[&str]) -> Server {
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {KEY}\n"));
    home.write("pyzord.access", "all : bob anonymous : allow\n");
    Server::on(home, arguments)
}

fn signed(op: &str, thread: u32, key: &str) -> Vec<u8> {
    let time = run_python("import time; print(int(time.time()))", &[]).trim().parse().unwrap();
    let headers =
        format!("Op: {op}\nOp-Digest: {}\nThread: {thread}\nPV: 2.1\nUser: bob\nTime: {time}\n", digest(7));
    let signature = HashedKey::new(b"bob", key.as_bytes()).sign(HeaderBlock::new(headers.as_bytes()), time);
    [headers.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat()
}

/// Python's server counts each copy of a signed report: five of five.
#[test]
fn a_copy_of_a_signed_report_is_answered_and_not_counted() {
    let server = with_account(&[]);
    let report = signed("report", 2000, KEY);
    for client in [server.client(), server.client()] {
        let replies: Vec<String> = (0..5).map(|_| client.ask(&report)).collect();
        assert!(replies.iter().all(|reply| *reply == "Code: 200\nDiag: OK\nPV: 2.1\nThread: 2000\n\n"));
    }
    assert_eq!(server.client().check(&digest(7)), (1, 0));
    assert_eq!(field(&server.client().ask(signed("whitelist", 2001, KEY)), "Code"), "200");
    assert_eq!(server.client().check(&digest(7)), (1, 1));
}

#[test]
fn wrong_signatures_are_answered_up_to_the_limit_and_logged_once() {
    let server = with_account(&["--failure-rate", "1", "--failure-burst", "5"]);
    let client = server.client();
    let wrong = signed("report", 2000, "beef");
    for _ in 0..200 {
        client.send(&wrong);
    }
    assert_eq!(field(&client.ask(signed("report", 2001, KEY)), "Code"), "401", "in the order of arrival");
    let refused = || client.receive_within(500).map(|reply| field(&reply, "Code").to_owned());
    let mut codes: Vec<String> = std::iter::from_fn(refused).collect();
    codes.sort();
    let answered = codes.iter().filter(|code| *code == "401").count();
    assert!((4..100).contains(&answered), "{codes:?}");
    assert_eq!(codes[0], "200", "a right signature is served beyond the limit");
    server.wait_for_log("127.0.0.1/32 has sent more than 1 wrong signatures a second");
    assert_eq!(server.log().matches("has sent more than").count(), 1);
}

#[test]
fn networks_are_served_as_the_settings_say() {
    let ping = request("ping", &[]);
    let server = Server::start(&["--deny-networks", "127.0.0.0/8"]);
    server.client().send(&ping);
    assert_eq!(server.client().receive_within(300), None);
    server.signal(Signal::SIGUSR1);
    server.wait_for_log(" 1 from denied networks");

    let server = Server::start(&["--allow-networks", "192.0.2.0/24 127.0.0.1", "--request-rate", "1"]);
    let client = server.client();
    (0..20).for_each(|_| client.send(&ping));
    let answered = std::iter::from_fn(|| client.receive_within(200)).count();
    assert!((1..20).contains(&answered), "{answered}: a burst of ten, and one a second");
    server.wait_for_log("127.0.0.1/32 has sent more than 1 requests or digests a second");

    let server = Server::start(&["--request-rate", "1", "--unlimited-networks", "127.0.0.1,::1"]);
    let client = server.client();
    (0..50).for_each(|_| assert_eq!(field(&client.ask(&ping), "Code"), "200"));
}

/// Arguments: destination port, number of bursts, forged sources per burst. Between the bursts an honest client sends one
/// request. Prints how many of those were answered.
const FLOOD: &str = "
import socket, struct, sys
port, bursts, size = map(int, sys.argv[1:])
ping = b'Op: ping\\nThread: 5\\nPV: 2.1\\n\\n'
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
honest = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
honest.connect(('127.0.0.1', port))
honest.settimeout(20)
udp = struct.pack('!HHHH', 4000, port, 8 + len(ping), 0) + ping
answered = 0
for burst in range(bursts):
    for number in range(size):
        source = struct.pack('!I', 0x7f100000 + burst * size + number)
        raw.sendto(struct.pack('!BBHHHBBH4s4s', 0x45, 0, 0, 0, 0, 64, 17, 0, source, b'\\x7f\\0\\0\\x01') + udp, ('127.0.0.1', 0))
    try:
        honest.send(ping)
        answered += honest.recv(1000).startswith(b'Code: 200')
    except OSError:
        pass
print(answered)
";

#[test]
fn a_flood_from_a_hundred_thousand_forged_addresses_costs_no_memory_and_no_honest_client() {
    let server = Server::start(&["--request-rate", "100", "--request-burst", "1000"]);
    let port = server.address.port().to_string();
    let flood = |bursts: &str| run_python(FLOOD, &[&port, bursts, "500"]).trim().parse::<u32>().unwrap();
    // More networks than the table has room for fill it.
    assert!(flood("200") >= 198);
    let before = server.memory();
    let answered = flood("200");
    let after = server.memory();
    assert!(answered >= 198, "{answered} of 200");
    assert!(after < before + 1024, "from {before} KiB to {after} KiB");
    wait_for("all of the flood", || {
        server.signal(Signal::SIGUSR1);
        server.log().contains("200400 datagrams received").then_some(())
    });
}

/// `--check-config` names the option of a value that cannot be used.
#[test]
fn wrong_limits_are_errors_that_name_the_option() {
    for (option, value, expected) in [
        ("--deny-networks", "192.0.2.0/33", "is not a list of networks such as 192.0.2.0/24, 2001:db8::/32"),
        ("--ipv4-prefix", "33", "is not a number of bits from 0 to 32"),
        ("--failure-rate", "-1", "is not a whole number from 0 to 4294967295"),
    ] {
        let output = Home::new().run(&["--check-config", &format!("{option}={value}")]);
        let message = format!("option {option}: `{value}` {expected}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && said.contains(&message), "{said}");
    }
}

/// A packaged server was open to the world without a word.
#[test]
fn a_server_that_is_open_to_all_says_so_and_one_with_a_limit_does_not() {
    const OPEN: &str = "every host that reaches 0.0.0.0:";
    let everywhere = ["-a", "0.0.0.0", "-p", "0"];
    let says = |arguments: &[&str]| {
        let output = Home::new().run(&[&everywhere[..], &["--check-config"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        text.contains(&format!("warning: {OPEN}"))
    };
    assert!(says(&[]));
    assert!(!says(&["--request-rate", "50"]));
    let home = Home::new();
    home.write("config", "[server]\nRequestRate = 50\n");
    let server = Server::spawn(home, &everywhere);
    assert!(!server.log().contains(OPEN), "{}", server.log());
    server.home.write("config", "[server]\nPort = 5\n");
    server.signal(Signal::SIGHUP);
    server.wait_for_log(&format!("WARNING {OPEN}"));
}
