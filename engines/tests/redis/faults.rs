//! Servers, proxies and networks that trickle, flood, cut and come late.

use std::time::Duration;

use pyzord_core::{Mark, Store, StoreCall, StoreError, StoreOp};
use pyzord_engines::RecordStore;
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{Fault, RedisServer, TcpProxy, wait_for};

use crate::support::{LAYOUTS, NOW, at, call, digest, engine, execute, execute_one, patient, tick, timed};

/// The bound for one call. `execute` promises half a second; a slow machine may take longer.
const SOON: Duration = Duration::from_secs(3);

struct Proxied {
    server: RedisServer,
    proxy: TcpProxy,
    store: Redis,
}

impl Proxied {
    fn start() -> Self {
        let server = RedisServer::start();
        let proxy = TcpProxy::to(server.port());
        let store = serving(&proxy);
        let mut proxied = Self { server, proxy, store };
        proxied.until_back(0);
        proxied
    }

    /// Reads with ever later ticks until the database answers, and returns the tick at which it did.
    fn until_back(&mut self, from: u64) -> u64 {
        let mut now = from;
        wait_for("the database to be back", || {
            now += 50;
            execute_one(&mut self.store, tick(now), StoreOp::Read, 1000).is_ok().then_some(now)
        })
    }

    /// Returns how often the server has counted a digest.
    fn counted(&self, n: u64) -> u64 {
        execute_one(&mut engine(&self.server), at(NOW), StoreOp::Read, n).unwrap().reports.count
    }
}

fn serving(proxy: &TcpProxy) -> Redis {
    let options = Options { connect: Duration::from_secs(5), ..Options::serving(None) };
    Redis::new(&Dsn::parse(&format!("127.0.0.1,{}", proxy.port())).unwrap(), options)
}

/// A byte every 20 ms kept a batch waiting for ever: the time-out of a socket begins again with each byte.
#[test]
fn a_reply_that_trickles_ends_with_its_time() {
    let mut proxied = Proxied::start();
    let nested = b"*6\r\n*3\r\n*2\r\n$100\r\n";
    for start in [b"$100000\r\n".as_slice(), b"*6\r\n$3\r\n", nested, b":1\r\n$9", b"*", b"-", b"+"] {
        let now = proxied.until_back(100_000);
        proxied.proxy.set(Fault::Trickle(start));
        let (answer, took) = timed(|| execute_one(&mut proxied.store, tick(now + 1), StoreOp::Read, 1));
        assert_eq!(answer, Err(StoreError::Unavailable));
        assert!(took < SOON, "{took:?}");
        proxied.proxy.set(Fault::None);
        proxied.proxy.close_all();
        proxied.store = serving(&proxied.proxy);
    }
}

/// A reply took the memory that it announced, or all that it sent.
#[test]
fn a_reply_without_end_takes_neither_memory_nor_stack() {
    let mut proxied = Proxied::start();
    const NOISE: &[u8] = &[b'x'; 65536];
    for (start, again) in [
        (b"$100000000000\r\n".as_slice(), NOISE),
        (b"$4194303\r\n", NOISE),
        (b"+", NOISE),
        (b"*1000000000\r\n", b"$-1\r\n"),
        (b"*299999\r\n", b"$-1\r\n"),
        (b"*2\r\n*299999\r\n", b"$-1\r\n"),
        (b"*299999\r\n", b"*1\r\n*0\r\n"),
        (b"*1\r\n", b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"),
        (b"*-2\r\n$-5\r\n:99999999999999999999\r\n", NOISE),
        (b"%1000000\r\n", NOISE),
        (b"\r\n\n\n", NOISE),
    ] {
        let now = proxied.until_back(100_000);
        proxied.proxy.set(Fault::Flood(start, again));
        let (answers, took) =
            timed(|| execute(&mut proxied.store, tick(now + 1), &[call(StoreOp::Read, 1); 2]));
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        assert!(took < SOON, "{took:?}");
        proxied.proxy.set(Fault::None);
        proxied.proxy.close_all();
        proxied.store = serving(&proxied.proxy);
    }
}

/// The handshake had the time of one call only, and began again with the next.
#[test]
fn a_late_greeting_is_reached_while_calls_fail_at_once() {
    let server = RedisServer::start();
    let proxy = TcpProxy::to(server.port());
    proxy.set(Fault::LateGreeting(Duration::from_millis(700)));
    let dsn = Dsn::parse(&format!("127.0.0.1,{}", proxy.port())).unwrap();
    let mut store = Redis::new(&dsn, Options::serving(None));
    let mut now = 0;
    wait_for("the greeting", || {
        now += 1;
        let (answer, took) = timed(|| execute_one(&mut store, tick(now), StoreOp::Read, 1));
        assert!(took < SOON, "{took:?}");
        answer.ok()
    });
    assert_eq!(proxy.accepted(), 1);
}

/// Each connection that a server closed while it was idle cost a batch.
#[test]
fn a_connection_that_was_closed_costs_nothing() {
    let mut proxied = Proxied::start();
    let now = proxied.until_back(100_000);
    for n in 0..5 {
        proxied.proxy.close_all();
        let calls = [call(StoreOp::Report, 1), call(StoreOp::Read, 1), call(StoreOp::Whitelist, 2)];
        let answers = execute(&mut proxied.store, tick(now + n), &calls);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!(proxied.counted(1), 5);
}

/// The server restarts within ten seconds of the last request, when connections counted as open.
#[test]
fn a_server_that_was_restarted_costs_nothing() {
    let mut server = RedisServer::durable();
    let mut store = Redis::new(
        &Dsn::parse(&format!("127.0.0.1,{}", server.port())).unwrap(),
        Options { connect: Duration::from_secs(5), ..Options::serving(None) },
    );
    for n in 1..4 {
        assert!(execute_one(&mut store, tick(n), StoreOp::Report, 1).is_ok());
        server.kill();
        server.restart();
        assert_eq!(execute_one(&mut store, tick(n), StoreOp::Read, 1).unwrap().reports.count, n);
    }
}

#[test]
fn a_cut_repeats_reads_and_never_counts() {
    let mut proxied = Proxied::start();
    let now = proxied.until_back(100_000);
    for fault in [Fault::CutRequest, Fault::CutReply] {
        let before = proxied.counted(1);
        proxied.proxy.set(fault);
        let answers = execute(&mut proxied.store, tick(now + 10), &[call(StoreOp::Report, 1)]);
        assert!(answers[0].is_err(), "{fault:?}: {answers:?}");
        proxied.proxy.set(Fault::None);
        assert!(proxied.counted(1) <= before + 1, "{fault:?}");
        proxied.until_back(now + 10_000);
    }
}

/// A count whose reply is lost is repeated by the client, and by the engine itself on a fresh connection.
#[test]
fn a_cut_counts_once_with_a_mark() {
    let mut proxied = Proxied::start();
    let mut now = proxied.until_back(100_000);
    for (place, fault) in (0..).zip([Fault::CutRequest, Fault::CutReply]) {
        let counts = [marked(1, place), call(StoreOp::Report, 2)];
        proxied.proxy.set(fault);
        let answers = execute(&mut proxied.store, tick(now + 10), &counts);
        assert_eq!(answers, [StoreError::Unsettled, StoreError::Unknown].map(Err), "{fault:?}");
        proxied.proxy.set(Fault::None);
        now = proxied.until_back(now + 10_000);
        let answers = execute(&mut proxied.store, tick(now), &counts[..1]);
        assert!(matches!(answers[0], Ok(_) | Err(StoreError::AlreadyCounted)), "{fault:?}: {answers:?}");
        assert_eq!(proxied.counted(1), u64::from(place) + 1, "{fault:?}");
    }
}

#[test]
fn without_the_right_to_marks_every_count_counts() {
    let server = RedisServer::start();
    let mut store = engine(&server);
    assert!(execute(&mut store, at(NOW), &[marked(1, 0)])[0].is_ok());
    assert_eq!(server.ask(&["ACL", "SETUSER", "default", "resetkeys", "~pyzord.digest_v1.*"]), "+OK");
    for _ in 0..2 {
        let calls = [marked(1, 0), marked(1, 1), marked(2, 2), call(StoreOp::Read, 3)];
        let answers = execute(&mut store, at(NOW), &calls);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!(execute_one(&mut store, at(NOW), StoreOp::Read, 1).unwrap().reports.count, 5);
}

fn marked(n: u64, place: u8) -> StoreCall {
    StoreCall { mark: Some(Mark { signature: digest(9), place }), ..call(StoreOp::Report, n) }
}

/// A proxy sends each key to another server, which has not learned the script.
#[test]
fn a_script_that_is_not_known_is_sent_again() {
    let server = RedisServer::start();
    let mut store = engine(&server);
    assert!(execute_one(&mut store, at(NOW), StoreOp::Report, 1).is_ok());
    let calls: Vec<_> = (0..50).map(|n| call(StoreOp::Report, n)).collect();
    let flushing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let flush = scope.spawn(|| {
            while flushing.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "+OK");
            }
        });
        for _ in 0..50 {
            let answers = execute(&mut store, at(NOW), &calls);
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        flushing.store(false, std::sync::atomic::Ordering::Relaxed);
        flush.join().unwrap();
    });
    let mut results = Vec::new();
    store.fetch(&[digest(1), digest(2)], &mut results);
    let counts: Vec<_> = results.into_iter().map(|record| record.unwrap().reports.count).collect();
    assert_eq!(counts, [51, 50]);
}

/// A connection is made before there is a batch for it, and a store says whether it has one.
#[test]
fn a_store_is_prepared_when_it_has_a_connection() {
    let server = RedisServer::start();
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(&proxy);
    let mut now = 0;
    proxy.set(Fault::Refuse);
    for _ in 0..5 {
        now += 2000;
        let (prepared, took) = timed(|| store.prepare(tick(now)));
        assert!(!prepared && took < SOON, "{took:?}");
    }
    proxy.set(Fault::None);
    wait_for("the connection", || {
        now += 2000;
        store.prepare(tick(now)).then_some(())
    });
    assert!(execute_one(&mut store, tick(now), StoreOp::Report, 1).is_ok());
}

/// Redis without scripts, or with too few rights, was found by the first report.
#[test]
fn what_serving_needs_is_tried_and_leaves_no_record() {
    let server = RedisServer::start();
    let rights = |rules: &[&str]| {
        assert_eq!(server.ask(&[&["ACL", "SETUSER", "tried", "reset", "on", ">pw"], rules].concat()), "+OK");
    };
    let mut all = vec!["~pyzord.digest*", "+ping", "+hmget", "+hset", "+expire", "+eval", "+evalsha"];
    all.extend(["+get", "+set", "+setex"]);
    let without = |right: &str| all.iter().copied().filter(|known| *known != right).collect::<Vec<_>>();
    let cases = [
        (without(""), [None, None]),
        (without("+eval"), [Some("nothing is counted, reports get 500: NOPERM"); 2]),
        (without("+evalsha"), [Some("nothing is counted, reports get 500: NOPERM"); 2]),
        (without("+hset"), [Some("must have EVAL, EVALSHA and the other commands of docs/redis.md"), None]),
        (without("+expire"), [Some("nothing is counted"), None]),
        (without("+hmget"), [Some("records cannot be read, requests get 500: NOPERM"), None]),
        (without("+get"), [None, Some("records cannot be read, requests get 500: NOPERM")]),
        (without("+setex"), [None, Some("nothing is counted")]),
        (without("+set"), [None, None]),
        (without("~pyzord.digest*"), [Some("records cannot be read"); 2]),
        (
            [without("~pyzord.digest*"), vec!["~pyzord.digest_v1.*", "~pyzord.digest.*"]].concat(),
            [Some("signed counts have no marks"); 2],
        ),
    ];
    let dsn = Dsn::parse(&format!("redis://tried:pw@127.0.0.1:{}/0", server.port())).unwrap();
    for (rules, expected) in cases {
        rights(&rules);
        for (engine, expected) in LAYOUTS.into_iter().zip(expected) {
            let refused = engine(&dsn, patient(100)).refusals().unwrap();
            let said = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert_eq!(expected.is_none(), said.is_empty(), "{rules:?}: {said}");
            assert!(expected.is_none_or(|cause| said.contains(cause)), "{rules:?}: {said}");
        }
    }
    wait_for("the end of all keys", || (server.ask(&["DBSIZE"]) == ":0").then_some(()));
    let server = RedisServer::with(&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    let refused = engine(&server).refusals().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let said = refused[0].to_string();
    assert!(
        said.contains("nothing is counted") && said.contains("the server must have EVAL, EVALSHA"),
        "{said}"
    );
}
