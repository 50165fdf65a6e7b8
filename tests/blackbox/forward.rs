//! Forwarding between our server, another one of ours, and Python's.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Client, Home, Server, digest, field, request, wait_for, with_python_server};
use crate::http::{get, status_address};

/// The account and the access rules of a server that counts for this user alone.
const ACCESS: &str = "check ping : anonymous : allow\nreport whitelist ping : bob : allow\n";
const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

/// A client's home directory with these servers and a time-out of one second.
fn forward_to(addresses: &[SocketAddr], signed: bool) -> Home {
    let home = Home::new();
    let lines = |line: fn(&SocketAddr) -> String| addresses.iter().map(line).collect::<String>();
    home.write("servers", lines(|address| format!("{address}\n")));
    home.write("config", "[client]\nTimeout = 1\nStyle = msg\n");
    if signed {
        let account =
            |address: &SocketAddr| format!("{} : {} : bob : 5a17,{KEY}\n", address.ip(), address.port());
        home.write("accounts", lines(account));
    }
    home
}

/// The home directory of a server that counts for the user alone, or for every client.
fn counting(signed: bool) -> Home {
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {KEY}\n"));
    home.write("pyzord.access", if signed { ACCESS } else { "all : anonymous : allow\n" });
    home
}

/// A server that forwards every report and whitelisting.
fn forwarding(to: &Home) -> Server {
    Server::on(counting(false), &["--forward-client-homedir", to.dir().to_str().unwrap()])
}

fn count(client: &Client, op: &str, digests: &[&str]) {
    let reply = client.ask(request(op, digests));
    assert_eq!(field(&reply, "Code"), "200", "{reply}");
}

/// Sends 21 reports and one whitelisting; one digest is reported twice.
fn count_some(client: &Client) {
    let digests: Vec<String> = (0..20).map(digest).collect();
    count(client, "report", &digests.iter().map(String::as_str).collect::<Vec<_>>());
    count(client, "report", &[&digests[3]]);
    count(client, "whitelist", &[&digests[4]]);
}

fn wait_for_some(client: &Client) {
    let expected = |number: u32| (1 + u64::from(number == 3), u64::from(number == 4));
    wait_for("all counts", || {
        (0..20).all(|number| client.check(&digest(number)) == expected(number)).then_some(())
    });
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server of ours that listens on this address.
fn at(address: SocketAddr, home: Home, arguments: &[&str]) -> Server {
    let port = address.port().to_string();
    Server::spawn(home, &[&["--address", "127.0.0.1", "--port", &port], arguments].concat())
}

#[test]
fn another_server_of_ours_counts_what_this_one_counted() {
    for signed in [true, false] {
        let there = Server::on(counting(signed), &[]);
        let client_home = forward_to(&[there.address], signed);
        let here = forwarding(&client_home);
        count_some(&here.client());
        wait_for_some(&there.client());
        here.signal(Signal::SIGUSR1);
        here.wait_for_log(&format!("INFO forwarding to {}: ", there.address));
        let log = here.stop().read("stderr");
        let user = if signed { "bob" } else { "anonymous" };
        assert!(log.contains(&format!("INFO Forwarding to {} as {user}.\n", there.address)), "{log}");
        let totals =
            format!("INFO forwarding to {}: 22 digests accepted, 0 refused, 0 unanswered", there.address);
        assert!(log.contains(&totals), "{log}");
    }
}

#[test]
fn pythons_server_counts_what_ours_counted() {
    for signed in [true, false] {
        with_python_server(&counting(signed), &[], &[], |client| {
            let client_home = forward_to(&[client.server()], signed);
            let here = forwarding(&client_home);
            count_some(&here.client());
            wait_for_some(client);
        });
    }
}

/// Python's server sends a batch as soon as it has ten digests.
#[test]
fn ours_counts_what_pythons_server_forwards() {
    for signed in [true, false] {
        let here = Server::on(counting(signed), &[]);
        let client_home = forward_to(&[here.address], signed);
        let arguments = ["--forward-client-homedir", client_home.dir().to_str().unwrap()];
        with_python_server(&counting(false), &arguments, &[], |client| {
            let digests: Vec<String> = (0..10).map(digest).collect();
            for digest in &digests {
                count(client, "report", &[digest]);
                count(client, "whitelist", &[digest]);
            }
            let ours = here.client();
            let all = || digests.iter().all(|digest| ours.check(digest) == (1, 1)).then_some(());
            wait_for("all counts", all);
        });
    }
}

#[test]
fn two_servers_that_forward_to_each_other_count_once_each() {
    let addresses = [free_address(), free_address()];
    let clients = addresses.map(|address| forward_to(&[address], false));
    let start = |own: usize, other: usize| {
        let directory = clients[other].dir().to_str().unwrap();
        at(addresses[own], counting(false), &["--forward-client-homedir", directory])
    };
    let (one, two) = (start(0, 1), start(1, 0));
    let numbers = 0..30;
    for number in numbers.clone() {
        count(&one.client(), "report", &[&digest(number)]);
        count(&two.client(), "report", &[&digest(100 + number)]);
    }
    let all_at = |server: &Server| {
        let client = server.client();
        let mut all = numbers.clone().flat_map(|number| [number, 100 + number]);
        all.all(|number| client.check(&digest(number)).0 >= 1)
    };
    wait_for("all counts on both", || (all_at(&one) && all_at(&two)).then_some(()));
    // A stop sends all waiting requests: a count that had come back would now be sent to the other server.
    let log = two.stop().read("stderr");
    assert!(log.contains(": 30 digests accepted, "), "{log}");
    let client = one.client();
    for number in numbers.flat_map(|number| [number, 100 + number]) {
        assert_eq!(client.check(&digest(number)), (1, 0), "{number}");
    }
    let log = one.stop().read("stderr");
    assert!(log.contains(": 30 digests accepted, "), "{log}");
}

#[test]
fn a_server_that_was_away_gets_the_waiting_requests() {
    let address = free_address();
    let client_home = forward_to(&[address], true);
    let here = forwarding(&client_home);
    count_some(&here.client());
    here.wait_for_log(&format!("WARNING forwarding to {address}: no program listens on its port"));
    let there = at(address, counting(true), &[]);
    wait_for_some(&there.client());
    here.wait_for_log(&format!("INFO forwarding to {address}: it takes digests again, after "));
    here.wait_for_log("; 22 waited");
}

#[test]
fn a_stop_sends_the_waiting_requests() {
    let there = Server::start(&[]);
    let client_home = forward_to(&[there.address], false);
    let here = forwarding(&client_home);
    count(&here.client(), "report", &[&digest(1), &digest(2), &digest(2)]);
    here.stop();
    assert_eq!(there.client().check(&digest(1)), (1, 0));
    assert_eq!(there.client().check(&digest(2)), (2, 0));
}

#[test]
fn a_refusal_is_logged_and_the_server_goes_on() {
    let there = Server::on(counting(true), &[]);
    let client_home = forward_to(&[there.address], false);
    let here = forwarding(&client_home);
    count_some(&here.client());
    here.wait_for_log("it refuses what it is sent, which is dropped: 403 Forbidden: User is not authorized");
    assert_eq!(here.client().check(&digest(3)), (2, 0));
    assert!(here.stop().read("stderr").contains(": 0 digests accepted, 22 refused, "));
}

/// A server that forwards, with a status page.
fn watched(to: &Home) -> (Server, SocketAddr) {
    let to = to.dir().to_str().unwrap();
    let server =
        Server::on(counting(false), &["--forward-client-homedir", to, "--status-address", "127.0.0.1:0"]);
    let page = status_address(&server);
    (server, page)
}

/// Returns what the status document says of the one server that is forwarded to.
fn shown(page: SocketAddr) -> Value {
    let document: Value = serde_json::from_str(&get(page, "/status.json").body).unwrap();
    assert_eq!(document["forwarding"].as_array().map(Vec::len), Some(1), "{document}");
    document["forwarding"][0].clone()
}

fn wait_for_state(page: SocketAddr, state: &str) -> Value {
    wait_for(&format!("the state {state}"), || Some(shown(page)).filter(|shown| shown["state"] == state))
}

/// Dead, refusing and nameless servers looked the same from outside: like a server that works.
#[test]
fn status_metrics_and_log_show_whether_a_server_takes_what_is_forwarded() {
    let address = free_address();
    let client_home = forward_to(&[address], true);
    let (here, page) = watched(&client_home);
    let idle = shown(page);
    assert_eq!((&idle["server"], &idle["state"]), (&json!(address.to_string()), &json!("idle")));
    assert!(idle["since"].is_null() && idle["cause"].is_null() && idle["last_delivered"].is_null(), "{idle}");
    count_some(&here.client());
    wait_for_state(page, "failing");
    let dead = wait_for("all that waits", || Some(shown(page)).filter(|shown| shown["waiting"] == 22));
    assert_eq!(dead["cause"], "no program listens on its port");
    assert!(dead["since"].is_number() && dead["last_delivered"].is_null(), "{dead}");
    let metric = |name: &str| {
        let name = format!("pyzord_forward_{name} ");
        let metrics = get(page, "/metrics").body;
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok())
    };
    let label = format!("server=\"{address}\"");
    assert_eq!(metric(&format!("failing{{{label}}}")), Some(1.0));
    assert_eq!(metric(&format!("waiting{{{label}}}")), Some(22.0));
    assert_eq!(metric(&format!("last_delivered_seconds{{{label}}}")), None);
    let there = at(address, counting(true), &[]);
    wait_for_some(&there.client());
    let ok = wait_for("all delivered", || Some(shown(page)).filter(|shown| shown["delivered"] == 22));
    assert_eq!((&ok["state"], &ok["waiting"], &ok["cause"]), (&json!("ok"), &json!(0), &Value::Null));
    assert!(ok["last_delivered"].as_f64() >= dead["since"].as_f64(), "{ok}");
    assert_eq!(metric(&format!("failing{{{label}}}")), Some(0.0));
    assert_eq!(metric(&format!("digests_total{{{label},result=\"delivered\"}}")), Some(22.0));
    assert!(metric(&format!("last_delivered_seconds{{{label}}}")).is_some());
}

#[test]
fn the_status_names_why_a_server_does_not_take_digests() {
    let accounts = |address: SocketAddr, key: &str| {
        format!("{} : {} : bob : 5a17,{key}\n", address.ip(), address.port())
    };
    let there = Server::on(counting(true), &[]);
    let wrong_key = forward_to(&[there.address], false);
    wrong_key.write("accounts", accounts(there.address, &KEY.replace('0', "1")));
    let anonymous = forward_to(&[there.address], false);
    let nameless = forward_to(&[], false);
    nameless.write("servers", "pyzor.invalid:24441\n");
    let no_port = forward_to(&[], false);
    no_port.write("servers", "255.255.255.255:24441\n");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mute = forward_to(&[silent.local_addr().unwrap()], true);
    for (client_home, cause, refused) in [
        (&wrong_key, "it refuses what it is sent, which is dropped: 401 ", 22),
        (&anonymous, "it refuses what it is sent, which is dropped: 403 ", 22),
        (&nameless, "its name has no address", 0),
        (&no_port, "a firewall forbids to send to it", 0),
        (&mute, "it does not answer", 0),
    ] {
        let (here, page) = watched(client_home);
        count_some(&here.client());
        let failing = wait_for("the cause", || {
            let shown = shown(page);
            shown["cause"].as_str().is_some_and(|text| text.starts_with(cause)).then_some(shown)
        });
        assert_eq!(failing["state"], "failing");
        let losses = || Some(shown(page)["refused"].as_u64()?).filter(|count| *count == refused);
        wait_for("the losses", losses);
        let log = here.stop().read("stderr");
        let lines = log.lines().filter(|line| line.contains("WARNING forwarding to ")).count();
        assert_eq!(lines, 1, "{log}");
        assert!(log.contains(cause), "{log}");
    }
}

/// A server that takes longer than a second for each reply is no failure each time.
#[test]
fn a_slow_server_is_served_without_a_flood_of_lines() {
    let slow = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client_home = forward_to(&[slow.local_addr().unwrap()], false);
    client_home.write("config", "[client]\nTimeout = 30\n");
    let (here, page) = watched(&client_home);
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let client = here.client();
    for _ in 0..3 {
        count(&client, "report", &[&digest(1)]);
        let mut buffer = [0; 8192];
        let (length, from) = slow.recv_from(&mut buffer).unwrap();
        let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if asked.starts_with("Op: report") {
            thread::sleep(Duration::from_millis(1200));
        }
        slow.send_to(
            format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: {}\n\n", field(&asked, "Thread")).as_bytes(),
            from,
        )
        .unwrap();
    }
    wait_for("all delivered", || {
        slow.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut buffer = [0; 8192];
        if let Ok((length, from)) = slow.recv_from(&mut buffer) {
            let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let reply = format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: {}\n\n", field(&asked, "Thread"));
            slow.send_to(reply.as_bytes(), from).unwrap();
        }
        (shown(page)["delivered"] == 3).then_some(())
    });
    assert_eq!(shown(page)["state"], "ok");
    let log = here.stop().read("stderr");
    assert!(log.matches(" forwarding to ").count() <= 3, "one failure, its end, and the totals: {log}");
}

/// The queue is bounded, and its drops are seen.
#[test]
fn a_full_queue_is_seen() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client_home = forward_to(&[silent.local_addr().unwrap()], false);
    let (here, page) = watched(&client_home);
    let client = here.client();
    count(&client, "report", &[&digest(0)]);
    wait_for_state(page, "failing");
    let digests: Vec<String> = (0..100).map(digest).collect();
    let digests: Vec<&str> = digests.iter().map(String::as_str).collect();
    (0..102).for_each(|_| count(&client, "report", &digests));
    let full = wait_for("drops", || Some(shown(page)).filter(|shown| shown["dropped"] == 200));
    assert_eq!((&full["waiting"], &full["state"]), (&json!(10_000), &json!("failing")), "{full}");
    here.wait_for_log("too many digests wait for it; ");
}

#[test]
fn the_check_reads_the_clients_files() {
    let (home, client_home) = (Home::new(), forward_to(&[], false));
    client_home.write("servers", "other.example:1\nnonsense\n[::1]:24441\n");
    client_home.write("accounts", format!("::1 : 24441 : bob : ,{KEY}\nelse.example : 1 : bob : ,{KEY}\n"));
    let directory = client_home.dir().to_str().unwrap();
    let check = |directory: &str| {
        let output = home.run(&["--check-config", "--forward-client-homedir", directory]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, text) = check(directory);
    assert_eq!(status, Some(0), "{text}");
    for line in [
        "forwards to: other.example:1 as anonymous, time-out 1 s",
        "forwards to: [::1]:24441 as bob, time-out 1 s",
        "servers, line 2: skipped: a line is `host:port`",
        "accounts, line 2: the servers file does not name this host and port",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains(KEY), "{text}");
    client_home.write("config", "[client]\nTimeout = soon\n");
    let missing = client_home.path("none");
    for (directory, cause) in [
        (directory, "config, line 2: Timeout is not a whole number of seconds from 1"),
        (missing.to_str().unwrap(), "ForwardClientHomeDir: there is no directory "),
    ] {
        let (status, text) = check(directory);
        assert_eq!(status, Some(1));
        assert!(text.contains(cause), "{cause} is not in {text}");
    }
}

/// A stop while the other server was away lost what waited for it.
#[test]
fn what_a_stop_cannot_send_is_sent_after_the_next_start() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let client_home = forward_to(&[address], false);
    let here = forwarding(&client_home);
    let client = here.client();
    count(&client, "report", &[&digest(1)]);
    here.wait_for_log("it does not answer");
    let digests: Vec<String> = (10..40).map(digest).collect();
    count(&client, "report", &digests.iter().map(String::as_str).collect::<Vec<_>>());
    count(&client, "whitelist", &[&digest(50)]);
    let home = here.stop();
    assert!(home.read("stderr").contains("31 digests could not be forwarded"), "{}", home.read("stderr"));
    let mode = std::fs::metadata(home.path("pyzord.unsent")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A damaged line costs itself alone.
    home.write("pyzord.unsent", home.read("pyzord.unsent") + "report\t\0\nnonsense\n");
    drop(silent);
    let there = at(address, counting(false), &[]);
    let here = Server::on(home, &["--forward-client-homedir", client_home.dir().to_str().unwrap()]);
    let there = there.client();
    wait_for("all counts", || {
        let reports = digests.iter().all(|digest| there.check(digest) == (1, 0));
        (reports && there.check(&digest(50)) == (0, 1)).then_some(())
    });
    assert!(here.log().contains("2 lines are damaged"), "{}", here.log());
    let home = here.stop();
    assert!(!home.path("pyzord.unsent").exists());
    // The first report was sent, and may have been counted.
    assert_eq!(there.check(&digest(1)), (0, 0));
}

/// `servers` with one line, none of which was understood, sent everything to the public server.
#[test]
fn a_list_without_an_understood_line_is_an_error() {
    for line in ["pyzor.example.org", "pyzor.example.org 24441", "pyzor.example.org:24441 # ours"] {
        let home = Home::new();
        std::fs::create_dir(home.path("f")).unwrap();
        home.write("f/servers", format!("# ours\n{line}\n"));
        home.write("config", "[server]\nForwardClientHomeDir = f\n");
        for arguments in [&["--check-config"][..], &["--address", "127.0.0.1", "--port", "0"]] {
            let output = home.run(arguments);
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("no line names a server") && text.contains("line 2: skipped"), "{text}");
            assert!(!text.contains("public.pyzor.org"), "{text}");
        }
    }
}

/// As Python's server reads both.
#[test]
fn the_option_is_relative_to_the_current_folder_and_the_setting_to_the_home_directory() {
    let home = Home::new();
    for folder in ["f", "elsewhere", "elsewhere/f"] {
        std::fs::create_dir(home.path(folder)).unwrap();
    }
    home.write("f/servers", "in-home:1\n");
    home.write("elsewhere/f/servers", "in-folder:1\n");
    home.write("config", "[server]\nForwardClientHomeDir = f\n");
    for (arguments, folder, server) in [
        (&["--check-config"][..], "f", "in-home"),
        (&["--check-config", "--forward-client-homedir", "f"], "elsewhere/f", "in-folder"),
    ] {
        let output = home.command(arguments).current_dir(home.path("elsewhere")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let taken = home.path(folder).canonicalize().unwrap();
        assert!(text.contains(&format!("forwards as the client of: {}\n", taken.display())), "{text}");
        assert!(text.contains(&format!("forwards to: {server}:1 as anonymous")), "{text}");
    }
}

/// Each report of a server whose list names the server itself counted twice.
#[test]
fn a_server_that_names_itself_counts_once() {
    for (listen, name) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.7"),
        ("::", "[::1]"),
        ("::", "127.0.0.1"),
    ] {
        let port = free_address().port();
        let home = counting(false);
        // The own home directory is the easiest mistake.
        home.write("servers", format!("{name}:{port}\n"));
        home.write("config", "[server]\nForwardClientHomeDir = .\n");
        let arguments = ["--address", listen, "--port", &port.to_string()];
        let output = home.run(&[&arguments[..], &["--check-config"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let warning = format!("{name}:{port} is this server: nothing is forwarded to it");
        assert!(text.contains(&warning) && !text.contains("forwards to:"), "{text}");
        let server = Server::spawn(home, &arguments);
        assert!(server.log().contains(&warning), "{}", server.log());
        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], port)));
        count(&client, "report", &[&digest(1)]);
        assert_eq!(client.check(&digest(1)), (1, 0));
        let log = server.stop().read("stderr");
        assert!(!log.contains("digests accepted"), "{log}");
    }
}

/// An address translation leads back to the server; its own addresses do not tell.
#[test]
fn a_server_behind_another_address_counts_once() {
    for signed in [true, false] {
        let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client_home = forward_to(&[outside.local_addr().unwrap()], signed);
        let home = counting(false);
        home.write("pyzord.access", "all : anonymous bob : allow\n");
        let server = Server::on(home, &["--forward-client-homedir", client_home.dir().to_str().unwrap()]);
        let inside = UdpSocket::bind("127.0.0.1:0").unwrap();
        inside.connect(server.address).unwrap();
        count(&server.client(), "report", &[&digest(1)]);
        let mut buffer = [0; 8192];
        let (length, from) = outside.recv_from(&mut buffer).unwrap();
        inside.send(&buffer[..length]).unwrap();
        let length = inside.recv(&mut buffer).unwrap();
        let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert_eq!(field(&reply, "Code"), "400", "{reply}");
        outside.send_to(reply.as_bytes(), from).unwrap();
        server.wait_for_log(
            "it refuses what it is sent, which is dropped: 400 Bad request: this server forwards to itself",
        );
        assert_eq!(server.client().check(&digest(1)), (1, 0));
    }
}

#[test]
fn a_reload_says_that_another_list_needs_a_restart() {
    let client_home = forward_to(&[free_address()], false);
    let server = forwarding(&client_home);
    client_home.write("servers", "other.example:1\n");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("have changed: a reload does not apply that; restart the server");
    client_home.write("servers", "other.example\n");
    server.signal(Signal::SIGHUP);
    server.wait_for_log("forwarding goes on as before");
}
