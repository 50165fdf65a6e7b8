//! What a reload takes from the configuration file, and what it leaves.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Client, Home, Server, digest, field, request, wait_for};
use crate::http::{exchange, get, status_address};

const DENY: &str = "[server]\nDenyNetworks = 127.0.0.0/8\n";

fn with_config(text: &str) -> Home {
    let home = Home::new();
    home.write("config", text);
    home
}

fn config(server: &Server, text: &str) {
    server.home.write("config", text);
}

/// Sends a signal that reloads and waits until the log has one more line with this text.
fn reload(server: &Server, expected: &str) {
    let count = || server.log().matches(expected).count();
    let before = count();
    server.signal(Signal::SIGHUP);
    wait_for(expected, || (count() > before).then_some(()));
}

/// Whether the server answers: a ping that is not answered in time was ignored.
fn answers(client: &Client) -> bool {
    client.send(request("ping", &[]));
    client.receive_within(300).is_some()
}

/// An operator added `DenyNetworks`, reloaded, and the attacker was still answered.
#[test]
fn networks_and_limits_of_the_file_are_applied() {
    let server = Server::on(with_config("[server]\nRequestRate = 0\n"), &["--workers", "3"]);
    let client = server.client();
    assert!(answers(&client));
    for signal in [Signal::SIGHUP, Signal::SIGUSR1] {
        config(&server, DENY);
        server.signal(signal);
        wait_for("the deny list", || (!answers(&client)).then_some(()));
        config(&server, "[server]\nDenyNetworks = 192.0.2.0/24\n");
        server.signal(signal);
        wait_for("no deny list", || answers(&client).then_some(()));
    }
    server.wait_for_log("INFO DenyNetworks is now `127.0.0.0/8` (line 2).");
    config(&server, "[server]\nAllowNetworks = 192.0.2.0/24\n");
    server.signal(Signal::SIGHUP);
    wait_for("the allow list", || (!answers(&client)).then_some(()));
    config(&server, "[server]\nRequestRate = 1\nRequestBurst = 1\n");
    reload(&server, "RequestRate is now `1`");
    wait_for("a limit", || {
        client.send(request("ping", &[]));
        server.log().contains("127.0.0.1/32 has sent more than 1 requests or digests a second").then_some(())
    });
}

/// The command line counts more than the file, at a reload as at the start.
#[test]
fn an_option_of_the_command_line_stays() {
    let server = Server::on(with_config("[server]\n"), &["--deny-networks", "192.0.2.0/24"]);
    let client = server.client();
    config(&server, "[server]\nDenyNetworks = 127.0.0.0/8\nRequestRate = 5000\n");
    reload(&server, "RequestRate is now `5000`");
    assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    assert!(!server.log().contains("DenyNetworks is now"), "{}", server.log());
}

#[test]
fn what_needs_a_restart_is_named_and_no_password_is_shown() {
    let server = Server::on(with_config("[server]\nWorkers = 2\n"), &[]);
    let text = "[server]\nWorkers = 3\nDigestDB = redis://:hunter2@localhost\nRememberedReports = 0\n\
                SentryDSN = x\nPort = 9\nCleanupAge = 5\n";
    config(&server, text);
    for _ in 0..2 {
        reload(&server, "CleanupAge has changed (line 7): a reload does not apply that; restart the server");
    }
    let log = server.log();
    for (line, name) in [(2, "Workers"), (3, "DigestDB"), (4, "RememberedReports")] {
        assert!(log.contains(&format!("WARNING {name} has changed (line {line}): ")), "{name}: {log}");
    }
    assert!(!log.contains("hunter2") && !log.contains("SentryDSN has"), "{log}");
    // The port is one of the command line.
    assert!(!log.contains("Port has changed"), "{log}");
    config(&server, "[server]\nWorkers = 2\nRequestRate = 7\n");
    reload(&server, "RequestRate is now `7`");
    assert_eq!(server.log().matches("Workers has changed").count(), 2);
}

/// Half of the new rules is worse than the old ones.
#[test]
fn a_file_that_cannot_be_used_keeps_all_of_the_old() {
    let server = Server::on(with_config(DENY), &[]);
    let client = server.client();
    assert!(!answers(&client));
    let kept = |cause: &str| {
        reload(&server, "the old settings and rules still hold");
        assert!(server.log().contains(cause), "{cause}: {}", server.log());
        assert!(!answers(&client), "{cause}");
    };
    server.home.write("pyzord.access", "all : all : allow\n");
    for (text, cause) in [
        ("[server]\nDenyNetworks = 192.0.2.0/33\n", "line 2: DenyNetworks: `192.0.2.0/33` is not a list"),
        ("[server]\nRequestRate = many\n", "line 2: RequestRate: `many`"),
        ("[server\n", "config, line 1: the name of a section"),
        ("", "it has vanished or is empty"),
    ] {
        config(&server, text);
        kept(cause);
    }
    fs::remove_file(server.home.path("config")).unwrap();
    kept("it has vanished or is empty");
    fs::create_dir(server.home.path("config")).unwrap();
    kept("config: ");
    fs::remove_dir(server.home.path("config")).unwrap();
    // The access file vanishes: the new networks are not taken, either.
    config(&server, DENY);
    reload(&server, "Accounts file does not exist");
    config(&server, "[server]\n");
    fs::remove_file(server.home.path("pyzord.access")).unwrap();
    reload(&server, "the old rules still hold, and the old settings");
    assert!(!answers(&client));
    server.home.write("pyzord.access", "all : all : allow\n");
    server.signal(Signal::SIGHUP);
    wait_for("the new settings", || answers(&client).then_some(()));
}

/// A file that was not there at the start counts once it is there.
#[test]
fn a_new_file_is_read_and_other_files_are_looked_for() {
    let server = Server::start(&[]);
    let ping = || field(&server.client().ask(request("ping", &[])), "Code").to_owned();
    assert_eq!(ping(), "200");
    server.home.write("other.access", "ping : anonymous : deny\n");
    config(&server, "[server]\nAccessFile = other.access\n");
    server.signal(Signal::SIGHUP);
    wait_for("the other access file", || (ping() == "403").then_some(()));
    server.home.write("other.access", "all : anonymous : allow\nping : anonymous : deny\n");
    config(&server, "[server]\nAccessFile = other.access\nAccessOrder = last-match\n");
    reload(&server, "AccessOrder is now `last-match`");
    wait_for("the last line", || (ping() == "403").then_some(()));
}

#[test]
fn the_log_level_follows_the_file_unless_the_command_line_sets_it() {
    let server = Server::on(with_config("[server]\nLogLevel = info\n"), &["--workers", "1"]);
    let client = server.client();
    let logged = |op: &str| server.log().contains(&format!("anonymous,127.0.0.1,{op}"));
    client.ask(request("ping", &[]));
    // A request is logged after its reply, and before the worker takes the next one.
    client.ask(request("info", &[&digest(1)]));
    config(&server, "[server]\nLogLevel = debug\n");
    reload(&server, "LogLevel is now `debug`");
    wait_for("requests in the log", || {
        client.ask(request("pong", &[&digest(1)]));
        logged("pong").then_some(())
    });
    assert!(!logged("ping"));
    config(&server, "[server]\nLogLevel = error\n");
    reload(&server, "LogLevel is now `error`");
    config(&server, "[server]\nRequestRate = many\n");
    reload(&server, "the old settings and rules still hold");
    assert_eq!(server.log().matches("Reloading configuration.").count(), 2, "{}", server.log());
    let server = Server::on(with_config("[server]\nLogLevel = error\n"), &["--debug"]);
    reload(&server, "Reloading configuration.");
}

#[test]
fn the_status_page_moves_closes_and_opens_again() {
    let text = |address: &str, hosts: &str| {
        format!("[server]\nStatusAddress = {address}\nStatusHosts = {hosts}\nPort = 7\n")
    };
    let server = Server::on(with_config(&text("127.0.0.1:0", "")), &[]);
    let first = status_address(&server);
    wait_for("the first worker", || (get(first, "/healthz").code == 200).then_some(()));
    let named = |page: SocketAddr| exchange(page, b"GET /healthz HTTP/1.1\r\nHost: monitor\r\n\r\n").code;
    assert_eq!(named(first), 421);
    config(&server, &text("127.0.0.1:0", "monitor").replace("Port = 7", "Port = 8"));
    server.signal(Signal::SIGHUP);
    wait_for("the new name", || (named(first) == 200).then_some(()));
    // What is shown is in effect.
    let shown: Value = serde_json::from_str(&get(first, "/status.json").body).unwrap();
    let setting = |name: &str| {
        let rows = shown["settings"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((setting("StatusHosts"), setting("CleanupAge")), ("monitor".into(), "10368000".into()));
    config(&server, &text("127.0.0.2:0", "monitor"));
    reload(&server, "Status page on http://127.0.0.2:");
    let log = server.log();
    let second = log.split("Status page on http://127.0.0.2:").nth(1).unwrap().split('/').next().unwrap();
    let second = SocketAddr::from(([127, 0, 0, 2], second.parse().unwrap()));
    wait_for("the new address", || (get(second, "/healthz").code == 200).then_some(()));
    wait_for("the end of the old one", || TcpStream::connect(first).is_err().then_some(()));
    // An address that cannot be had leaves the page where it is, and all else is applied.
    config(&server, &format!("{}RequestRate = 77\n", text("192.0.2.1:1", "")));
    reload(&server, "the page stays where it is");
    assert!(server.log().contains("RequestRate is now `77`"));
    assert_eq!(get(second, "/healthz").code, 200);
    config(&server, &text("", ""));
    server.signal(Signal::SIGHUP);
    wait_for("the end of the page", || TcpStream::connect(second).is_err().then_some(()));
    config(&server, &text(&first.to_string(), ""));
    reload(&server, "Status page on http://127.0.0.1:");
    wait_for("the first address", || TcpStream::connect(first).is_ok().then_some(()));
    assert_eq!(get(first, "/healthz").code, 200);
}

/// Figures were kept for a page of the start alone, and a page needed a restart.
#[test]
fn a_reload_opens_a_page_with_the_figures_since_the_start() {
    let server = Server::on(with_config("[server]\n"), &[]);
    server.client().ask(request("ping", &[]));
    config(&server, "[server]\nStatusAddress = 127.0.0.1:0\n");
    reload(&server, "Status page on http://127.0.0.1:");
    let page = status_address(&server);
    let counted = |answered: &Value| {
        answered["latency"]["count"] == 1 && answered["talkers"][0]["network"] == "127.0.0.1/32"
    };
    wait_for("the ping of before", || {
        let shown: Value = serde_json::from_str(&get(page, "/status.json").body).unwrap();
        counted(&shown).then_some(())
    });
}
