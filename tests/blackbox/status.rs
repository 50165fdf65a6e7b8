//! The status page over HTTP: exact counts, health, hostile clients, and no secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::harness::{Home, Server, digest, field, request, wait_for};
use crate::http::{Answer, connect, exchange, get, read, serve, status_address};

/// Returns the samples of `/metrics`, by name with labels. Panics unless HELP and TYPE announce each, as the format
/// requires.
pub(crate) fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let Answer { code, head, body } = get(address, "/metrics");
    assert!(code == 200 && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    parse(&body)
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut help, mut kind) = (BTreeMap::new(), "", ("", ""));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').expect("a text").0;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.split_once(' ').expect("a type");
            assert!(kind.0 == help && ["counter", "gauge", "histogram"].contains(&kind.1), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let is_part = kind.1 == "histogram"
                && ["_bucket", "_sum", "_count"].iter().any(|part| name == format!("{}{part}", kind.0));
            assert!(name == kind.0 || is_part, "{line} is not announced");
            assert_eq!(kind.1 == "counter", name.ends_with("_total"), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{line} twice");
        }
    }
    samples
}

/// Checks the form of a histogram and returns its number of values.
fn histogram(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let prefix = format!("{name}_bucket{{le=\"");
    let bucket = |(sample, count): (&String, &f64)| {
        let end = sample.strip_prefix(&prefix)?.strip_suffix("\"}")?;
        Some((if end == "+Inf" { f64::INFINITY } else { end.parse().unwrap() }, *count))
    };
    let mut buckets: Vec<(f64, f64)> = samples.iter().filter_map(bucket).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(buckets.len() > 5 && buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
    let last = buckets.last().unwrap();
    assert!(last.0.is_infinite() && last.1 == samples[&format!("{name}_count")]);
    last.1
}

#[test]
fn counts_are_exact_after_a_scripted_load() {
    let (server, page) = serve(&["--workers", "2"]);
    let client = server.client();
    for number in 0..40 {
        for op in ["report", "check", "check", "whitelist", "nonsense"] {
            client.ask(request(op, &[&digest(number)]));
        }
    }
    client.ask("Op: ping\nThread: 1\nPV: 3.0\n\n");
    client.ask("Op: check\nThread: 1\nPV: 2.1\nUser: eve\n\n");
    (0..7).for_each(|_| client.send("no request"));
    client.ask(request("ping", &[]));
    // The last reply is sent before it is counted, and a worker may be late at the start.
    let found = wait_for("the last count and both workers", || {
        let found = metrics(page);
        let complete = [("pyzord_request_duration_seconds_count", 121.0), ("pyzord_workers", 2.0)];
        complete.iter().all(|(name, value)| found[*name] == *value).then_some(found)
    });
    for (sample, expected) in [
        ("pyzord_requests_total{operation=\"report\",code=\"200\"}", 40),
        ("pyzord_requests_total{operation=\"check\",code=\"200\"}", 80),
        ("pyzord_requests_total{operation=\"check\",code=\"401\"}", 1),
        ("pyzord_requests_total{operation=\"whitelist\",code=\"403\"}", 40),
        ("pyzord_requests_total{operation=\"other\",code=\"403\"}", 40),
        ("pyzord_requests_total{operation=\"ping\",code=\"505\"}", 1),
        ("pyzord_requests_total{operation=\"ping\",code=\"200\"}", 1),
        ("pyzord_replies_sent_total", 203),
        ("pyzord_dropped_total{reason=\"not_a_request\"}", 7),
        ("pyzord_dropped_total{reason=\"over_limit\"}", 0),
        ("pyzord_records", 40),
        ("pyzord_store_up", 1),
        ("pyzord_store_errors_total{cause=\"unavailable\"}", 0),
        ("pyzord_batch_size_sum", 210),
        ("pyzord_check_hits_total", 80),
        ("pyzord_new_records_total", 40),
        ("pyzord_expired_records_total", 0),
        ("pyzord_kernel_drops_total", 0),
    ] {
        assert_eq!(found.get(sample), Some(&f64::from(expected)), "{sample}");
    }
    let requests = found.iter().filter(|(sample, _)| sample.starts_with("pyzord_requests_total"));
    assert_eq!(requests.map(|(_, count)| count).sum::<f64>(), 203.0);
    assert_eq!(histogram(&found, "pyzord_request_duration_seconds"), 121.0);
    assert_eq!(histogram(&found, "pyzord_failed_request_duration_seconds"), 82.0);
    assert!(histogram(&found, "pyzord_batch_size") <= 210.0);
    // Checks and reports make store calls; several of them in one batch are one measurement.
    assert!((1.0..=120.0).contains(&histogram(&found, "pyzord_store_duration_seconds")));
    the_document_shows_the_load(page);
}

/// Checks the figures that are in no metric, or there under another name.
fn the_document_shows_the_load(page: SocketAddr) {
    let status: Value = serde_json::from_str(&get(page, "/status.json").body).unwrap();
    assert_eq!(status["talkers"][0]["network"], "127.0.0.1/32");
    assert_eq!(status["talkers"][0]["datagrams"], 210);
    assert_eq!((&status["talkers"][0]["refused"], &status["talkers"][0]["dropped"]), (&82.into(), &0.into()));
    assert_eq!(
        (&status["checks"], &status["hits"], &status["new_records"]),
        (&80.into(), &80.into(), &40.into())
    );
    let denied = |index: usize| &status["denied"][index];
    assert_eq!(*denied(0), json!({"user": "anonymous", "code": 403, "count": 80}));
    assert_eq!(*denied(1), json!({"user": "eve", "code": 401, "count": 1}));
    assert!(status["database_bytes"].as_u64() > Some(0) && status["kernel_drops"] == 0);
    let disk = &status["disks"][0];
    assert!(disk["what"] == "the database" && disk["free"].as_u64() <= disk["total"].as_u64(), "{disk}");
    assert!((status["time"].as_f64().unwrap() - status["started"].as_f64().unwrap()) < 3600.0);
    assert_eq!(serde_json::from_str::<Value>(&get(page, "/history.json").body).unwrap()["step"], 60);
    assert_eq!((&status["healthy"], &status["received"]), (&Value::Bool(true), &Value::from(210)));
    assert!(status["latency"]["p99"].as_f64().unwrap() >= status["latency"]["p50"].as_f64().unwrap());
}

#[test]
fn every_path_has_a_response_and_other_paths_have_none() {
    let (server, page) = serve(&[]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/metrics", "text/plain"),
        ("/healthz", "text/plain"),
        ("/status.json", "application/json"),
        ("/history.json", "application/json"),
    ] {
        let whole = get(page, path);
        assert!(whole.code == 200 && whole.head.contains(&format!("Content-Type: {kind}")), "{}", whole.head);
        let head = exchange(page, format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert_eq!((head.code, head.body.as_str()), (200, ""));
    }
    assert!(get(page, "/").head.contains("Content-Security-Policy: default-src 'none';"));
    assert_eq!(get(page, "/../etc/passwd").code, 404);
    let post = exchange(page, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
    assert!(post.code == 405 && post.head.contains("Allow: GET, HEAD"), "{}", post.head);
    // A foreign name that resolves to 127.0.0.1.
    let rebound = exchange(page, b"GET /status.json HTTP/1.1\r\nHost: evil.example:80\r\n\r\n");
    assert_eq!(rebound.code, 421);
    server.stop();
}

#[test]
fn hostile_clients_keep_no_client_out() {
    let (server, page) = serve(&[]);
    let before = server.memory();
    // Three times as many connections as allowed: silent ones, and ones with half a request.
    let mut slow: Vec<_> = (0..200).map(|_| connect(page)).collect();
    slow.iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|stream| drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: l")));
    assert_eq!(get(page, "/healthz").code, 200);
    for (bytes, code) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"\0\0\0\0\r\n\r\n".to_vec(), 400),
        ([b"GET /", &b"x".repeat(20_000)[..], b" HTTP/1.1\r\n\r\n"].concat(), 431),
        ([b"GET / HTTP/1.1\r\n", &b"a: b\r\n".repeat(200)[..], b"\r\n"].concat(), 431),
        // Bytes after a request are ignored, and the request is answered.
        ([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", &b"x".repeat(20_000)[..]].concat(), 200),
    ] {
        assert_eq!(
            exchange(page, &bytes).code,
            code,
            "{:?}",
            String::from_utf8_lossy(&bytes[..20.min(bytes.len())])
        );
    }
    // A connection that is still open gets its response after the rest of the request.
    let mut patient = connect(page);
    patient.write_all(b"GET /healthz HT").unwrap();
    assert_eq!(get(page, "/healthz").code, 200);
    patient.write_all(b"TP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(read(&mut patient).code, 200);
    // A connection without the rest of its request is closed, and so is one whose client never closes it.
    let mut silent = connect(page);
    assert!(matches!(silent.read(&mut [0; 10]), Ok(0) | Err(_)));
    server.client().ask(request("ping", &[]));
    assert!(server.memory() < before + 8192, "{} KiB", server.memory());
    server.stop();
}

#[test]
fn an_address_that_cannot_be_listened_on_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (value, said) in [
        (taken.as_str(), "option --status-address: cannot listen on 127.0.0.1:"),
        ("8080", "option --status-address: `8080` is not a host and a port"),
        ("127.0.0.1:http", "option --status-address: `127.0.0.1:http` is not a host and a port"),
    ] {
        let output = Home::new().run(&["-a", "127.0.0.1", "-p", "0", "--status-address", value]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(said), "{error}");
    }
}

#[test]
fn without_the_setting_nothing_listens_and_a_public_address_is_a_warning() {
    let plain = Server::start(&[]);
    let sockets = fs::read_dir(format!("/proc/{}/fd", plain.pid())).unwrap();
    let links: Vec<_> = sockets.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).collect();
    let tcp = fs::read_to_string(format!("/proc/{}/net/tcp", plain.pid())).unwrap();
    for link in links.iter().filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')) {
        assert!(!tcp.split_whitespace().any(|word| word == link), "a TCP socket");
    }
    assert!(!plain.log().contains("Status page"));
    let open = Server::start(&["--status-address", "0.0.0.0:0"]);
    assert!(
        open.log()
            .contains("WARNING StatusAddress: the page has no password: every host that reaches 0.0.0.0:"),
        "{}",
        open.log()
    );
    let port = status_address(&open).port();
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    let ask =
        |host: &str| exchange(local, format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    wait_for("the first worker", || (ask(&format!("127.0.0.1:{port}")).code == 200).then_some(()));
    // Any name was served there: a web site could read the page through the browser of an operator.
    let rebound = ask("evil.example");
    assert!(rebound.code == 421 && rebound.body.contains("StatusHosts"), "{}", rebound.body);
    open.wait_for_log("WARNING status page: a request for the host `evil.example` is refused");
    let named = Server::start(&["--status-address", "0.0.0.0:0", "--status-hosts", "mail.example, monitor"]);
    let page = SocketAddr::from(([127, 0, 0, 1], status_address(&named).port()));
    let ask =
        |host: &str| exchange(page, format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).code;
    assert_eq!(["Mail.example:80", "monitor", "localhost", "other.example"].map(ask), [200, 200, 200, 421]);
}

/// Who floods was not to be seen: datagrams that a limit dropped had no sender.
#[test]
fn what_is_refused_and_dropped_is_told_by_sender_and_user() {
    let (server, page) = serve(&["--request-rate", "5"]);
    let client = server.client();
    let denied = "Op: check\nThread: 1\nPV: 2.1\nUser: mallory<b>\nTime: 1\nSig: x\n\n";
    assert_eq!(field(&client.ask(denied), "Code"), "401");
    (0..200).for_each(|_| client.send(request("ping", &[])));
    let status = wait_for("all datagrams", || {
        let status: Value = serde_json::from_str(&get(page, "/status.json").body).unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        let told = number(&status["answered"]) + number(&status["dropped"]["over_limit"]);
        (told == 201 && status["errors"] != json!([])).then_some(status)
    });
    let talker = &status["talkers"][0];
    let dropped = &status["dropped"]["over_limit"];
    assert!(dropped.as_u64() > Some(100), "{dropped}");
    assert_eq!(
        (&talker["datagrams"], &talker["refused"], &talker["dropped"]),
        (&201.into(), &1.into(), dropped)
    );
    assert_eq!(status["denied"], json!([{"user": "mallory<b>", "code": 401, "count": 1}]));
    assert_eq!(status["latency_failed"]["count"], 1);
    // The limit has a line in the log, and so has it here.
    let errors = status["errors"].as_array().unwrap();
    let is_limit = |error: &&Value| {
        error["text"].as_str().unwrap().contains("127.0.0.1/32 has sent more than 5 requests")
    };
    let error = errors.iter().find(is_limit).unwrap_or_else(|| panic!("{errors:?}"));
    assert_eq!(error["level"], "warning");
    assert!((status["time"].as_f64().unwrap() - error["time"].as_f64().unwrap()).abs() < 600.0);
    server.stop();
}

#[cfg(all(feature = "redis", feature = "mysql"))]
mod remote {
    use pyzord_testkit::RedisServer;

    use super::*;

    #[test]
    fn health_follows_the_database_and_no_secret_is_shown() {
        let database = RedisServer::with_password("hunter2secret");
        let dsn = format!("127.0.0.1,{},hunter2secret,0", database.port());
        let home = Home::new();
        home.write("pyzord.passwd", "bob : 0123456789abcdef0123456789abcdef01234567\n");
        let server = Server::on(home, &["-e", "redis", "--dsn", &dsn, "--status-address", "127.0.0.1:0"]);
        let page = status_address(&server);
        let until = |code: u16, text: &str| {
            wait_for("another state of health", || {
                let found = get(page, "/healthz");
                (found.code == code && found.body.starts_with(text)).then_some(())
            });
        };
        until(200, "ok");
        for path in ["/", "/metrics", "/status.json", "/healthz"] {
            let body = get(page, path).body;
            for secret in ["hunter2secret", "0123456789abcdef0123456789abcdef01234567"] {
                assert!(!body.contains(secret), "{path} shows a secret");
            }
        }
        let settings = get(page, "/status.json").body;
        assert!(settings.contains(r#"{"name":"DigestDB","value":"(hidden)""#), "{settings}");
        database.hang();
        until(503, "the database does not answer");
        assert_eq!(metrics(page)["pyzord_store_up"], 0.0);
        // The page itself and datagrams without store calls are still answered.
        assert_eq!(get(page, "/").code, 200);
        server.client().ask(request("ping", &[]));
        database.go_on();
        until(200, "ok");
    }
}
