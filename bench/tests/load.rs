//! The load generator and `pyzor-load` against servers with known replies.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use pyzord_bench::load::{Distribution, LoadPlan, LoadProgress, Mix, Pace, Report, Signer, numbered, run};
use pyzord_core::{
    AccessOrder, Limits, MemoryStore, Now, Operation, Policy, Progress, Server, Store, StoreAnswer,
    StoreCall, StoreFailure, Task,
};
use pyzord_runtime::{Command as ServerCommand, Counters, Service, Sockets, Stores, shared_guard};

/// Long enough that a slow machine does not count an answered request as lost.
const TIMEOUT: Duration = Duration::from_secs(2);

fn plan(server: SocketAddr) -> LoadPlan {
    LoadPlan { timeout: TIMEOUT, duration: Duration::from_secs(120), ..LoadPlan::new(server) }
}

fn load(plan: &LoadPlan) -> Report {
    run(plan, &LoadProgress::default()).unwrap()
}

/// Runs `test` against a server that calls `script` for each request.
fn with_script<T>(
    mut script: impl FnMut(u64, &UdpSocket, &[u8], SocketAddr) + Send,
    test: impl FnOnce(SocketAddr) -> T,
) -> T {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut buffer = [0; 9000];
            for number in 0.. {
                let (length, peer) = socket.recv_from(&mut buffer).unwrap();
                if length == 0 {
                    return;
                }
                script(number, &socket, &buffer[..length], peer);
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(address)));
        // An empty datagram ends the server, after a failed test too.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[], address).unwrap();
        server.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn reply(request: &[u8], code: u16) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let thread = text.lines().find(|line| line.starts_with("Thread: ")).unwrap();
    format!("Code: {code}\nDiag: OK\nPV: 2.1\n{thread}\n\n").into_bytes()
}

#[test]
fn lost_duplicate_and_late_replies_and_codes_are_counted_exactly() {
    // With one request in flight, the next request is sent after the timeout of an unanswered one. A reply that is
    // withheld until then is late by construction, on a slow machine too.
    let mut withheld: Option<Vec<u8>> = None;
    let script = |number: u64, socket: &UdpSocket, request: &[u8], peer: SocketAddr| {
        let send = |reply: &[u8]| assert_eq!(socket.send_to(reply, peer).unwrap(), reply.len());
        if let Some(late) = withheld.take() {
            send(&late);
        }
        match number {
            // Never answered.
            20 | 50 => (),
            // Answered after the next request has arrived, thus late.
            30 | 60 => withheld = Some(reply(request, 200)),
            // Answered twice and three times.
            10 => (0..2).for_each(|_| send(&reply(request, 200))),
            40 => (0..3).for_each(|_| send(&reply(request, 200))),
            70 => {
                send(b"Code: 200\nThread: 9999\n\n");
                send(b"no thread");
                send(b"");
                send(&reply(request, 200));
            }
            80..90 => send(&reply(request, 403)),
            90..95 => send(&reply(request, 500)),
            95 => send(&reply(request, 200).split_off("Code: 200\n".len())),
            _ => send(&reply(request, 200)),
        }
    };
    let report = with_script(script, |server| {
        let pace = Pace::Closed { outstanding: 1 };
        load(&LoadPlan { pace, requests: Some(100), ..plan(server) })
    });
    assert_eq!((report.sent, report.answered(), report.lost), (100, 96, 4));
    assert_eq!((report.late, report.duplicates, report.strays, report.unsent), (2, 3, 3, 0));
    assert_eq!(report.codes, BTreeMap::from([(0, 1), (200, 80), (403, 10), (500, 5)]));
    assert!((report.loss() - 0.04).abs() < 1e-9);
}

/// A server that pauses for a second delays every request that is scheduled in that second. A generator that measures
/// from the time of sending, or that waits for replies, sees a single slow request.
#[test]
fn every_request_that_a_pause_delays_shows_it_in_its_latency() {
    let pause = Duration::from_secs(1);
    let script = |number: u64, socket: &UdpSocket, request: &[u8], peer: SocketAddr| {
        if number == 75 {
            thread::sleep(pause);
        }
        socket.send_to(&reply(request, 200), peer).unwrap();
    };
    let report = with_script(script, |server| {
        // A rate low enough that the receive buffer of any system holds the requests of a second.
        let pace = Pace::Open { rate: 150 };
        load(&LoadPlan { pace, requests: Some(300), timeout: Duration::from_secs(60), ..plan(server) })
    });
    assert_eq!((report.sent, report.answered()), (300, 300));
    let latencies = report.latencies();
    assert!(latencies.max() >= pause, "{:?}", latencies.max());
    // Half of all requests fall into the pause and wait half a second on average: a quarter of all wait longer.
    assert!(latencies.quantile(0.76) >= pause / 2 - pause / 20, "{report}");
}

#[test]
fn requests_of_the_warm_up_are_sent_and_not_counted() {
    let mut seen = 0;
    let script = |_, socket: &UdpSocket, request: &[u8], peer: SocketAddr| {
        seen += 1;
        socket.send_to(&reply(request, 200), peer).unwrap();
    };
    let report = with_script(script, |server| {
        let [warm_up, duration] = [300, 700].map(Duration::from_millis);
        load(&LoadPlan { pace: Pace::Open { rate: 1000 }, warm_up, duration, ..plan(server) })
    });
    assert_eq!((report.sent, report.answered(), seen), (700, 700, 1000));
    assert!((report.rate() - 1000.0).abs() < 1.0, "{}", report.rate());
}

#[test]
fn a_server_that_does_not_listen_loses_every_request() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let short = Duration::from_millis(50);
    let report = load(&LoadPlan { timeout: short, requests: Some(100), ..plan(closed) });
    assert_eq!((report.sent, report.lost, report.answered()), (100, 100, 0));
    let output =
        pyzor_load(&[&closed.to_string(), "--requests", "10", "--timeout", "50ms", "--warm-up", "0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// A store that all workers share.
#[derive(Clone)]
struct SharedStore<'a>(&'a Mutex<MemoryStore>);

impl Store for SharedStore<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        self.0.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _: Now, _: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}

/// Runs `test` against the server of this project, and returns its records.
fn with_server(test: impl FnOnce(SocketAddr)) -> MemoryStore {
    let access = Some(&b"check report ping : anonymous : allow\nall : bob : allow\n"[..]);
    let (policy, _) = Policy::parse(Some(b"bob : ABcd"), access, AccessOrder::FirstMatch);
    let sockets = Sockets::bind("127.0.0.1", 0, 2).unwrap();
    let (counters, records) = (Counters::default(), Mutex::default());
    // The test sends more wrong signatures from one address than any client.
    let mut limits = Limits::default();
    limits.failures = None;
    let server = Server::new(policy, shared_guard(limits).unwrap());
    thread::scope(|scope| {
        // A failed test drops it, which stops the server.
        let (commands, receiver) = channel::<ServerCommand>();
        let (store, sockets, counters) = (SharedStore(&records), &sockets, &counters);
        scope.spawn(move || {
            let service = Service {
                sockets,
                server,
                counters,
                stores: Stores::Local { workers: vec![store.clone(); 2], large: store.clone() },
                upkeep: store,
                cleanup: None,
                reload: &mut || None,
                on_answered: &|_| (),
                supervisor: None,
            };
            pyzord_runtime_std::serve(service, &receiver).unwrap();
        });
        test(sockets.address().unwrap());
        drop(commands);
    });
    records.into_inner().unwrap()
}

#[test]
fn our_server_answers_every_operation_signed_and_not() {
    let records = with_server(|server| {
        let mix: Mix = "check,report,ping,pong,info,whitelist".parse().unwrap();
        let base = LoadPlan {
            requests: Some(6000),
            mix,
            digests: 50,
            distribution: Distribution::Zipf,
            ..plan(server)
        };
        let signed = load(&LoadPlan { signer: Some(Signer::new("bob", "abCD")), ..base.clone() });
        assert_eq!((signed.answered(), signed.codes), (6000, BTreeMap::from([(200, 6000)])));
        let forged = load(&LoadPlan { signer: Some(Signer::new("bob", "abCE")), ..base.clone() });
        assert_eq!(forged.codes, BTreeMap::from([(401, 6000)]));
        let sockets = 3.try_into().unwrap();
        let anonymous = load(&LoadPlan { sockets, batch: 4, ..base });
        let counts: BTreeMap<_, _> = anonymous.operations().map(|(op, all)| (op, all.count())).collect();
        let denied =
            [Operation::Pong, Operation::Info, Operation::Whitelist].map(|op| counts[&op]).iter().sum();
        assert_eq!(anonymous.codes, BTreeMap::from([(200, 6000 - denied), (403, denied)]));
        assert!(counts.values().all(|count| *count > 800), "{counts:?}");
    });
    assert_eq!(records.records().count(), 50);
}

#[test]
fn a_sequence_fills_a_database_with_each_digest_once() {
    let records = with_server(|server| {
        let mix = Mix::only(Operation::Report);
        let (distribution, requests, sockets) = (Distribution::Sequence, Some(100), 2.try_into().unwrap());
        load(&LoadPlan { mix, distribution, digests: 10_000, batch: 100, requests, sockets, ..plan(server) });
    });
    let mut expected: Vec<_> = (0..10_000).map(numbered).collect();
    expected.sort_unstable();
    assert_eq!(records.records().map(|(digest, _)| digest).collect::<Vec<_>>(), expected);
    assert!(records.records().all(|(_, record)| record.reports.count == 1));
}

fn pyzor_load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pyzor-load")).args(arguments).output().unwrap()
}

#[test]
fn the_program_prints_a_table_or_json() {
    let records = with_server(|server| {
        let server = server.to_string();
        let common = [&server, "--warm-up", "0", "--requests", "1000", "--timeout", "5s"];
        let run = |more: &[&str]| {
            let output = pyzor_load(&[&common, more].concat());
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let table = run(&["--mix", "check=1,report=1"]);
        assert!(table.contains("1000 requests sent, 0 lost (0.000 %)"), "{table}");
        assert!(table.contains("codes: 200 x 1000\n"), "{table}");
        let json = run(&["--mix", "ping", "--user", "bob", "--key", "abcd", "--json"]);
        assert!(json.starts_with('{') && json.contains(r#""answered":1000,"#), "{json}");
        assert!(json.contains(r#""codes":{"200":1000}"#), "{json}");
    });
    assert!(records.records().count() > 0);
}

#[test]
fn invalid_options_are_refused() {
    for arguments in [
        &["--rate", "5", "--outstanding", "5"][..],
        &["--mix", "chek"],
        &["--user", "bob"],
        &["--batch", "0"],
        &["--outstanding", "40000"],
        &["--duration", "1d"],
        &["no.such.host.invalid:1"],
        &["127.0.0.1"],
    ] {
        let output = pyzor_load(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}
