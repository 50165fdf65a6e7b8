//! What every runtime must do.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Limits, MemoryStore, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall,
    StoreError, StoreFailure, Task,
};
use pyzord_runtime::{Command, Counters, Service, Sockets, Stores, shared_guard};

use crate::{Drive, for_every_runtime};

const PING: &[u8] = b"Op: ping\nThread: 5\nPV: 2.1\n\n";
const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// A store that all workers share, that counts syncs, and that panics when it is asked about the digest of zeros.
#[derive(Clone)]
struct Shared<'a>(&'a Mutex<MemoryStore>, &'a AtomicUsize);

impl Store for Shared<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        assert!(calls.iter().all(|call| call.digest.as_bytes() != &[0; 20]), "a bug in a store");
        self.0.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, task: Task) -> Result<Progress, StoreFailure> {
        self.1.fetch_add(usize::from(task == Task::Sync), Ordering::Relaxed);
        Ok(Progress::Done)
    }
}

fn client(sockets: &Sockets) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", sockets.address().unwrap().port())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

fn ask(client: &UdpSocket, request: &[u8]) -> String {
    client.send(request).unwrap();
    receive(client)
}

fn receive(client: &UdpSocket) -> String {
    let mut buffer = [0; 2000];
    let length = client.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned()
}

/// All ways to ask a store, with so many workers.
const KINDS: [fn(Shared<'_>, usize) -> Stores<Shared<'_>>; 3] = [
    |store, workers| Stores::Local { workers: vec![store.clone(); workers], large: store },
    |store, workers| Stores::Remote { workers, stores: vec![store; 2] },
    |store, workers| Stores::Split { readers: vec![store.clone(); workers], writers: vec![store; 2] },
];

/// Runs a server for as long as `test` takes, then stops it; returns its counters, its records and its syncs.
fn with_server<D: Drive>(
    stores: impl FnOnce(Shared<'_>) -> Stores<Shared<'_>>,
    test: impl FnOnce(&Sockets, &mpsc::Sender<Command>),
) -> (String, MemoryStore, usize) {
    with_server_on::<D>(&["127.0.0.1"], stores, test)
}

fn with_server_on<D: Drive>(
    addresses: &[&str],
    stores: impl FnOnce(Shared<'_>) -> Stores<Shared<'_>>,
    test: impl FnOnce(&Sockets, &mpsc::Sender<Command>),
) -> (String, MemoryStore, usize) {
    let (records, syncs) = (Mutex::new(MemoryStore::new()), AtomicUsize::new(0));
    let store = Shared(&records, &syncs);
    let stores = stores(store.clone());
    let sockets = Sockets::bind_all(addresses, 0, stores.workers()).unwrap();
    let (commands, receiver) = mpsc::channel();
    let counters = Counters::default();
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        scope.spawn(|| {
            let service = Service {
                sockets: &sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters: &counters,
                stores,
                upkeep: store.clone(),
                cleanup: None,
                reload: &mut || {
                    Some(
                        Policy::parse(None, Some(b"ping : anonymous : deny"), AccessOrder::FirstMatch)
                            .0
                            .into(),
                    )
                },
                on_answered: &|_| (),
                supervisor: None,
            };
            D::serve(service, receiver);
        });
        test(&sockets, &commands);
        commands.send(Command::Stop).unwrap();
    });
    let syncs = syncs.load(Ordering::Relaxed);
    (counters.to_string(), records.into_inner().unwrap(), syncs)
}

fn a_stop_answers_what_was_received_and_syncs<D: Drive>() {
    let report = format!("Op: report\nOp-Digest: {DIGEST}\nThread: 5\nPV: 2.1\n\n");
    for kind in KINDS {
        let mut waiting = None;
        let (counters, records, syncs) = with_server::<D>(
            |store| kind(store, 2),
            |sockets, _| {
                let client = client(sockets);
                for _ in 0..100 {
                    client.send(report.as_bytes()).unwrap();
                }
                waiting = Some(client);
            },
        );
        for _ in 0..100 {
            assert!(receive(waiting.as_ref().unwrap()).starts_with("Code: 200\n"));
        }
        assert_eq!(records.records().next().unwrap().1.reports.count, 100);
        assert_eq!(syncs, 2, "one at the start and one at the end");
        assert!(counters.contains(" 100 answered"), "{counters}");
    }
}

fn a_reload_changes_the_rules_of_every_worker<D: Drive>() {
    for kind in KINDS {
        with_server::<D>(
            |store| kind(store, 3),
            |sockets, commands| {
                assert!(ask(&client(sockets), PING).starts_with("Code: 200\n"));
                commands.send(Command::Reload).unwrap();
                // The sender's port decides which worker is asked, so each of them is often enough; none may use the
                // old rules for long.
                let mut denied = 0;
                let denied_everywhere = (0..100_000).any(|_| {
                    denied =
                        if ask(&client(sockets), PING).starts_with("Code: 403\n") { denied + 1 } else { 0 };
                    denied == 100
                });
                assert!(denied_everywhere, "some worker still has the old rules");
            },
        );
    }
}

/// A thread that a panic ends leaves a server with fewer workers, unnoticed; a lost batch leaves clients without an answer.
fn a_bug_in_a_store_fails_its_batch_and_nothing_else<D: Drive>() {
    const PANICS: u64 = 5;
    for kind in KINDS {
        let test = |sockets: &Sockets, _: &mpsc::Sender<Command>| {
            let client = client(sockets);
            let check = format!("Op: check\nOp-Digest: {DIGEST}\nPV: 2.1\n\n");
            for _ in 0..PANICS {
                let failed = ask(&client, check.replace(DIGEST, &"0".repeat(40)).as_bytes());
                assert!(failed.starts_with("Code: 500\n"), "{failed}");
                let answered = ask(&client, check.as_bytes());
                assert!(answered.starts_with("Code: 200\n"), "{answered}");
            }
        };
        let (counters, ..) = with_server::<D>(|store| kind(store, 1), test);
        assert!(counters.ends_with(&format!(", {PANICS} internal errors")), "{counters}");
    }
}

/// A server on all addresses answered from the one that the routes prefer, so a client that asked another one, on a
/// connected socket, never saw the reply.
fn a_reply_leaves_from_the_address_that_was_asked<D: Drive>() {
    for (address, asked) in [
        ("0.0.0.0", &["127.0.0.1", "127.0.0.2", "127.3.2.1"][..]),
        ("::", &["127.0.0.1", "127.0.0.2", "::1"]),
    ] {
        for kind in KINDS {
            let test = |sockets: &Sockets, _: &mpsc::Sender<Command>| {
                let port = sockets.address().unwrap().port();
                let check = format!("Op: check\nOp-Digest: {DIGEST}\nPV: 2.1\n\n");
                for ip in asked {
                    // A connected socket takes datagrams from this address alone.
                    let client =
                        UdpSocket::bind(if ip.contains(':') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
                    client.connect((*ip, port)).unwrap();
                    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    for request in [PING, check.as_bytes()] {
                        let reply = ask(&client, request);
                        assert!(reply.starts_with("Code: 200\n"), "{ip} on {address}: {reply}");
                    }
                }
            };
            with_server_on::<D>(&[address], |store| kind(store, 2), test);
        }
    }
}

/// Every worker serves every address, and replies leave from the right one: those of workers, and those of the threads
/// with the stores, which send for all of them.
fn each_of_several_addresses_is_served<D: Drive>() {
    let report = format!("Op: report\nOp-Digest: {DIGEST}\nThread: 5\nPV: 2.1\n\n");
    let large = report.replace("Op-Digest", &format!("Padding: {}\nOp-Digest", "x".repeat(500)));
    let addresses = ["127.0.0.1", "127.0.0.2", "::1"];
    for kind in KINDS {
        let test = |sockets: &Sockets, _: &mpsc::Sender<Command>| {
            for address in sockets.addresses().chain(sockets.addresses()) {
                // Connected: it gets no reply that comes from another address.
                let client = UdpSocket::bind((address.ip(), 0)).unwrap();
                client.connect(address).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                for request in [PING, report.as_bytes(), large.as_bytes()] {
                    client.send(request).unwrap();
                    let mut reply = [0; 2000];
                    let length = client
                        .recv(&mut reply)
                        .map_err(|error| format!("{address}, {} bytes: {error}", request.len()));
                    assert!(length.unwrap() > 0 && reply.starts_with(b"Code: 200\n"), "{address}");
                }
            }
        };
        let (counters, records, _) = with_server_on::<D>(&addresses, |store| kind(store, 2), test);
        assert!(counters.contains(" 18 answered"), "{counters}");
        assert_eq!(records.records().next().unwrap().1.reports.count, 12);
    }
}

fn what_is_no_request_is_counted<D: Drive>() {
    for kind in KINDS {
        let (counters, ..) = with_server::<D>(
            |store| kind(store, 1),
            |sockets, _| {
                let client = client(sockets);
                for datagram in [&b""[..], b"Code: 200\nDiag: OK\nPV: 2.1\n\n", &[0; 60_000]] {
                    client.send(datagram).unwrap();
                }
                assert!(ask(&client, PING).starts_with("Code: 200\n"));
            },
        );
        // The datagrams that wake workers for the stop are counted as well.
        let count = counters.split(" malformed").next().unwrap().rsplit(' ').next().unwrap();
        assert!(count.parse::<u64>().unwrap() >= 3, "{counters}");
    }
}

/// Python's server answered nothing at all while its database hung.
fn a_store_that_hangs_delays_no_ping<D: Drive>() {
    let (records, syncs) = (Mutex::new(MemoryStore::new()), AtomicUsize::new(0));
    let hung = records.lock().unwrap();
    // As many digests as a small request has room for: some twenty of them fill a batch.
    let digests = format!("Op-Digest: {DIGEST}\n").repeat(6);
    let report = format!("Op: report\n{digests}Thread: 6\nPV: 2.1\n\n");
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let client = client(&sockets);
    let (commands, receiver) = mpsc::channel();
    let counters = Counters::default();
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        let store = Shared(&records, &syncs);
        let (sockets, counters) = (&sockets, &counters);
        scope.spawn(move || {
            let service = Service {
                sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters,
                stores: Stores::Remote { workers: 1, stores: vec![store.clone(); 2] },
                upkeep: store,
                cleanup: None,
                reload: &mut || None,
                on_answered: &|_| (),
                supervisor: None,
            };
            D::serve(service, receiver);
        });
        // With each report a ping: the pings are answered, and so are the reports that nothing has room for.
        let mut unavailable = 0;
        for _ in 0..1000 {
            client.send(report.as_bytes()).unwrap();
            client.send(PING).unwrap();
            while !receive(&client).starts_with("Code: 200\n") {
                unavailable += 1;
            }
        }
        assert!(unavailable > 0, "waiting requests are bounded");
        drop(hung);
        let mut answered = 0;
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        while let Ok(length) = client.recv(&mut [0; 200]) {
            answered += usize::from(length > 0);
        }
        assert_eq!(answered + unavailable, 1000, "each is answered once");
        commands.send(Command::Stop).unwrap();
    });
}

/// A store that needs a connection, and fails at once without.
struct Linked<'a> {
    store: Shared<'a>,
    connected: &'a AtomicBool,
}

impl Store for Linked<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if self.connected.load(Ordering::Relaxed) {
            self.store.execute(now, calls, answers);
        } else {
            answers.extend(calls.iter().map(|_| Err(StoreError::Unavailable)));
        }
    }

    fn prepare(&mut self, _now: Now) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        self.store.upkeep(now, task)
    }
}

/// A thread whose connection could not be made failed its batches at once, was free before all others, and so failed
/// most requests.
fn a_store_without_a_connection_takes_no_work_from_others<D: Drive>() {
    let (records, syncs) = (Mutex::new(MemoryStore::new()), AtomicUsize::new(0));
    let (one, others) = (&AtomicBool::new(true), &AtomicBool::new(false));
    let link = |connected| Linked { store: Shared(&records, &syncs), connected };
    let check = format!("Op: check\nOp-Digest: {DIGEST}\nPV: 2.1\n\n");
    let sockets = &Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let client = client(sockets);
    let (commands, receiver) = mpsc::channel();
    let counters = &Counters::default();
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        let (stores, upkeep) = (vec![link(others), link(one), link(others), link(others)], link(one));
        scope.spawn(move || {
            let service = Service {
                sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters,
                stores: Stores::Remote { workers: 1, stores },
                upkeep,
                cleanup: None,
                reload: &mut || None,
                on_answered: &|_| (),
                supervisor: None,
            };
            D::serve(service, receiver);
        });
        let answered = || ask(&client, check.as_bytes()).starts_with("Code: 200\n");
        let settle = |expected| while (0..50).any(|_| answered() != expected) {};
        settle(true);
        assert!((0..2000).all(|_| answered()), "the others fail requests");
        one.store(false, Ordering::Relaxed);
        settle(false);
        others.store(true, Ordering::Relaxed);
        settle(true);
        assert!((0..2000).all(|_| answered()), "the one fails requests");
        commands.send(Command::Stop).unwrap();
    });
}

for_every_runtime! {
    a_stop_answers_what_was_received_and_syncs,
    a_reload_changes_the_rules_of_every_worker,
    a_bug_in_a_store_fails_its_batch_and_nothing_else,
    a_reply_leaves_from_the_address_that_was_asked,
    each_of_several_addresses_is_served,
    what_is_no_request_is_counted,
    a_store_that_hangs_delays_no_ping,
    a_store_without_a_connection_takes_no_work_from_others,
}
