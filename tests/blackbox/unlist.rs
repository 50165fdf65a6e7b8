//! `pyzorctl unlist`: a false listing ended on servers of ours and of Python, and what the logs say of it.

use std::net::{SocketAddr, UdpSocket};
use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{Client, Home, Server, digest, field, python, request, with_python_server};
use crate::pyzorctl::{command, ctl, feed, printed, stderr, stdout};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";
const ALL: &str = "all : anonymous bob : allow\n";

/// The home directory of a server that counts for every client.
fn counting(engine: &str) -> Home {
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {KEY}\n"));
    home.write("pyzord.access", ALL);
    home.write("config", format!("[server]\nEngine = {engine}\nForwardClientHomeDir = forward\n"));
    std::fs::create_dir(home.path("forward")).unwrap();
    home
}

/// Names the servers that a server forwards to, as bob with this key.
fn forward(home: &Home, servers: &[SocketAddr], key: &str) {
    let lines = |line: &dyn Fn(&SocketAddr) -> String| servers.iter().map(line).collect::<String>();
    home.write("forward/servers", lines(&|server| format!("{server}\n")));
    let account = |server: &SocketAddr| format!("{} : {} : bob : 5a17,{key}\n", server.ip(), server.port());
    home.write("forward/accounts", lines(&account));
    home.write("forward/config", "[client]\nTimeout = 1\n");
}

fn report(client: &Client, digest: &str, times: usize) {
    // One request can have many digests, and each counts.
    let reply = client.ask(request("report", &vec![digest; times]));
    assert_eq!(field(&reply, "Code"), "200", "{reply}");
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Whether Python's client takes the message for spam at this server.
fn is_listed(home: &Home, server: SocketAddr) -> bool {
    home.write("client-servers", format!("{server}\n"));
    let mut pyzor = python("pyzor");
    pyzor.arg("--homedir").arg(home.dir()).args(["--servers-file", "client-servers", "check"]);
    let message = home.write("message", MESSAGE);
    let output = pyzor.stdin(std::fs::File::open(message).unwrap()).output().unwrap();
    assert!(stdout(&output).contains("(200, 'OK')"), "{output:?}");
    output.status.success()
}

const MESSAGE: &str = "From: a@example.com\n\nThis is a newsletter that its readers have asked for.\n";

/// Returns the digest that Python's client makes of the message.
fn message_digest() -> String {
    let home = Home::new();
    let message = home.write("message", MESSAGE);
    let mut pyzor = python("pyzor");
    pyzor.arg("--homedir").arg(home.dir()).arg("digest");
    let output = pyzor.stdin(std::fs::File::open(message).unwrap()).output().unwrap();
    printed(&output).trim().to_owned()
}

fn objects(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One whitelisting was the recipe: SpamAssassin went on to list the mail.
#[test]
fn a_listed_mail_is_listed_no_more() {
    let digest = message_digest();
    for (engine, keep) in [("gdbm", false), ("gdbm", true), ("sqlite", false), ("sqlite", true)] {
        let server = Server::on(counting(engine), &[]);
        report(&server.client(), &digest, 80);
        assert!(is_listed(&server.home, server.address));
        let arguments = if keep { &["unlist", &digest, "--keep"][..] } else { &["unlist", &digest] };
        let text = printed(&ctl(&server.home, arguments));
        let (action, now) = if keep {
            ("whitelisted", "80 reports, 16 whitelistings: SpamAssassin: not listed, rspamd: +1.00")
        } else {
            ("deleted", "0 reports, 0 whitelistings: SpamAssassin: not listed, rspamd: +0.00")
        };
        let expected = format!(
            "{digest}: {action} (80 reports, 0 whitelistings)\n  here now: {now}, pyzor check: not listed\n\
             These are the filters' default rules."
        );
        assert!(text.starts_with(&expected), "{text}");
        assert!(!is_listed(&server.home, server.address));
        assert_eq!(server.client().check(&digest), if keep { (80, 16) } else { (0, 0) });
        // Again: there is nothing to do.
        assert!(printed(&ctl(&server.home, arguments)).contains(": nothing to do here ("));
        let account = nix::unistd::geteuid();
        server.wait_for_log(&format!(
            ": unlist has {action} the record (80 reports, 0 whitelistings) of {digest}"
        ));
        assert!(server.log().contains(&format!("uid {account}")), "{}", server.log());
    }
}

/// The log of the server said how many records were removed, not which and by whom.
#[test]
fn the_servers_log_names_digests_and_the_person_behind_sudo() {
    for engine in ["gdbm", "sqlite"] {
        let server = Server::on(counting(engine), &[]);
        (1..=40).for_each(|number| report(&server.client(), &digest(number), 7));
        let mut delete = command(&server.home, &["delete", &digest(1)]);
        printed(&delete.env("SUDO_USER", "ann\u{1b}").output().unwrap());
        server.wait_for_log(&format!(
            ": deleted the record (7 reports, 0 whitelistings) of {}, for ann\\u{{1b}} (sudo)\n",
            digest(1)
        ));
        printed(&ctl(&server.home, &["set", &digest(2), "--reports", "3"]));
        server.wait_for_log(&format!(": set the record of {}\n", digest(2)));
        let many: String = (2..=40).map(|number| digest(number) + "\n").collect();
        assert_eq!(printed(&feed(&server.home, &["delete", "-"], &many)).lines().count(), 39);
        server.wait_for_log(": and 19 digests more\n");
        assert_eq!(server.log().matches(": deleted the record (").count(), 1 + 20, "{}", server.log());
    }
}

#[test]
fn other_servers_whitelist_it_until_spamassassin_heeds_that() {
    let digest = message_digest();
    let there = Server::on(counting("gdbm"), &[]);
    with_python_server(&counting("gdbm"), &[], &[], |pythons| {
        let home = counting("gdbm");
        forward(&home, &[there.address, pythons.server()], KEY);
        // Its own forwarding would send the reports, too.
        home.write("config", "[server]\nEngine = gdbm\n");
        let here = Server::on(home, &[]);
        here.home.write("config", "[server]\nEngine = gdbm\nForwardClientHomeDir = forward\n");
        report(&here.client(), &digest, 6);
        report(&there.client(), &digest, 70);
        report(pythons, &digest, 20);
        let text = printed(&ctl(&here.home, &["unlist", &digest, "--forward"]));
        for line in [
            format!("{digest}: deleted (6 reports, 0 whitelistings)\n"),
            format!("  {}: 14 whitelistings counted; now 70 reports, 14 whitelistings: SpamAssassin: not", there.address),
            format!("  {}: 10 whitelistings counted; now 20 reports, 10 whitelistings: SpamAssassin: not", pythons.server()),
            "  a filter that asks all of them: 90 reports, 24 whitelistings: SpamAssassin: not listed".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        assert_eq!(there.client().check(&digest), (70, 14));
        assert_eq!(pythons.check(&digest), (20, 10));
        assert!(!is_listed(&here.home, pythons.server()));
        // A number that is given counts, and one that is too small is a failure.
        report(&there.client(), &digest, 100);
        let output = ctl(&here.home, &["unlist", &digest, "--forward", "--whitelistings", "1", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let [object] = &objects(&output)[..] else { panic!("{output:?}") };
        assert_eq!((&object["action"], &object["here"]["reports"]), (&json!("none"), &json!(0)));
        assert_eq!(object["forwarded"][0]["counted"], 1);
        assert_eq!(object["forwarded"][0]["now"]["whitelistings"], 15);
        assert_eq!(object["forwarded"][0]["now"]["spamassassin"], true);
        assert_eq!(object["forwarded"][1]["now"]["spamassassin"], false);
    });
}

#[test]
fn what_another_server_does_not_do_is_named_with_its_cause() {
    let refusing = Server::on(counting("gdbm"), &[]);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let home = counting("gdbm");
    let dead = free_address();
    forward(&home, &[refusing.address, dead, silent.local_addr().unwrap()], &KEY.replace('0', "1"));
    home.write("forward/servers", home.read("forward/servers") + "pyzor.invalid:24441\n");
    let server = Server::on(home, &[]);
    report(&server.client(), &digest(1), 9);
    let output = ctl(&server.home, &["unlist", &digest(1), "--forward", "--whitelistings", "2", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let [object] = &objects(&output)[..] else { panic!("{output:?}") };
    // What is done here does not depend on the others.
    assert_eq!((&object["action"], &object["error"]), (&json!("deleted"), &Value::Null));
    let causes: Vec<&str> = object["forwarded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|forwarded| {
            assert_eq!(forwarded["counted"], 0);
            forwarded["error"].as_str().unwrap()
        })
        .collect();
    assert!(causes[0].starts_with("401 "), "{causes:?}");
    assert_eq!(causes[1..], ["no program listens on its port", "no answer within 1 s", "its name has no address"]);
    assert_eq!(server.client().check(&digest(1)), (0, 0));
}

#[test]
fn arguments_and_settings_that_cannot_be_meant_are_named_and_change_nothing() {
    let home = counting("gdbm");
    home.write("config", "[server]\nEngine = gdbm\n");
    let server = Server::on(home, &[]);
    report(&server.client(), &digest(1), 9);
    for (arguments, status, cause) in [
        (&["unlist", &digest(1), "--forward"][..], 1, "ForwardClientHomeDir is not set"),
        (&["unlist", "abc"], 1, "`abc`: "),
        (&["unlist", &digest(1), "--whitelistings", "0"], 2, "--whitelistings"),
        (&["unlist", &digest(1), "--whitelistings", "5"], 1, "--whitelistings needs --keep or --forward"),
        (&["unlist"], 2, "DIGEST"),
    ] {
        let output = ctl(&server.home, arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(stderr(&output).contains(cause), "{output:?}");
    }
    assert_eq!(server.client().check(&digest(1)), (9, 0));
    let many: String = (1..=30).map(|number| digest(number) + " some words\n").collect();
    let output = feed(&server.home, &["unlist", "-", "--json"], &many);
    let actions: Vec<Value> = objects(&output).iter().map(|object| object["action"].clone()).collect();
    assert_eq!(actions[..2], [json!("deleted"), json!("none")]);
    assert_eq!((actions.len(), output.status.code()), (30, Some(0)));
}
