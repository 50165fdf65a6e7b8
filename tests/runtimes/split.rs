//! Requests of a digest keep their order, whatever store executes them; reads go to a worker's own store if they can.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::mpsc::{self, channel};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    Limits, MemoryStore, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall, StoreFailure, StoreOp,
    Task,
};
use pyzord_runtime::{Command, Counters, Service, Sockets, Stores, shared_guard};

use crate::{Drive, for_every_runtime};

/// Longer than any step of a test takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A store panics when it counts this digest.
const CURSED: u64 = 0xbad;

/// What a store is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Reads,
    Counts,
    Both,
}

/// Stores of one database. One that counts takes a while, a different one each time.
#[derive(Clone)]
struct Shared<'a> {
    records: &'a Mutex<MemoryStore>,
    role: Role,
    /// The roles that have executed a read.
    read_by: &'a Mutex<Vec<Role>>,
    pace: u32,
}

impl Shared<'_> {
    fn with(&self, role: Role) -> Self {
        Self { role, ..self.clone() }
    }
}

impl Store for Shared<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let counts = |call: &StoreCall| call.op != StoreOp::Read;
        assert!(self.role != Role::Reads || !calls.iter().any(counts), "a reader is asked to count");
        if !calls.iter().all(counts) {
            self.read_by.lock().unwrap().push(self.role);
        }
        let cursed = |call: &StoreCall| call.digest.as_bytes().ends_with(&[0x0b, 0xad]);
        assert!(!calls.iter().any(|call| counts(call) && cursed(call)), "a bug in a store");
        if calls.iter().any(counts) {
            self.pace = self.pace.wrapping_mul(0x915f_77f5).wrapping_add(1);
            thread::sleep(Duration::from_micros(u64::from(self.pace >> 22)));
        }
        self.records.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, _task: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}

/// A way to ask a store.
type Kind = for<'a> fn(&Shared<'a>) -> Stores<Shared<'a>>;

const KINDS: [Kind; 3] = [
    |store| Stores::Local { workers: vec![store.with(Role::Both)], large: store.with(Role::Both) },
    |store| Stores::Remote { workers: 1, stores: vec![store.with(Role::Both); 3] },
    split,
];

fn split<'a>(store: &Shared<'a>) -> Stores<Shared<'a>> {
    Stores::Split { readers: vec![store.with(Role::Reads)], writers: vec![store.with(Role::Counts); 3] }
}

/// Serves while `test` runs. Returns the counters, and which stores have read.
fn serve<D: Drive>(stores: Kind, test: impl FnOnce(&UdpSocket) + Send) -> (String, Vec<Role>) {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let (records, counters, read_by) = (Mutex::default(), Counters::default(), Mutex::default());
    let store = Shared { records: &records, role: Role::Both, read_by: &read_by, pace: 1 };
    let (commands, receiver) = channel();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Dropped on every way out, which stops the server.
            let _commands: mpsc::Sender<Command> = commands;
            test(&client);
        });
        let service = Service {
            sockets: &sockets,
            server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
            counters: &counters,
            stores: stores(&store),
            upkeep: store.clone(),
            cleanup: None,
            reload: &mut || None,
            on_answered: &|_| (),
            supervisor: None,
        };
        D::serve(service, receiver);
    });
    (counters.to_string(), read_by.into_inner().unwrap())
}

/// A request, by its operation and digests.
type Request = (&'static str, Vec<u64>);

/// Sends a request whose `Thread` is this number.
fn send(client: &UdpSocket, (op, digests): &Request, thread: usize) {
    let digests: String = digests.iter().map(|digest| format!("Op-Digest: {digest:040x}\n")).collect();
    let request = format!("Op: {op}\n{digests}Thread: {thread}\nPV: 2.1\n\n");
    assert_eq!(client.send(request.as_bytes()).unwrap(), request.len());
}

/// Returns the thread, the code and the count of the next reply.
fn receive(client: &UdpSocket) -> (usize, u16, Option<u64>) {
    let mut buffer = [0; 2000];
    let length = client.recv(&mut buffer).unwrap();
    let reply = std::str::from_utf8(buffer.get(..length).unwrap()).unwrap();
    let field = |name: &str| reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let count = field("Count").map(|count| count.parse().unwrap());
    (field("Thread").unwrap().parse().unwrap(), field("Code").unwrap().parse().unwrap(), count)
}

fn ask(client: &UdpSocket, op: &'static str, digest: u64) -> (u16, Option<u64>) {
    send(client, &(op, vec![digest]), 2000);
    let (_, code, count) = receive(client);
    (code, count)
}

/// Returns some random requests for a few digests, large ones too.
fn burst(random: &mut u64) -> Vec<Request> {
    let mut next = |below: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % below
    };
    let length = 1 + next(40);
    (0..length)
        .map(|_| match next(16) {
            0..8 => ("check", vec![next(6)]),
            8..14 => ("report", vec![next(6)]),
            14 => ("report", vec![next(6), next(6), next(6)]),
            // Too long to be judged by a worker.
            _ => ("report", (0..6).chain(100..110).collect()),
        })
        .collect()
}

/// A check of one client sees all of its reports that came before it, and no later one, with slow stores that pass each
/// other.
fn each_check_sees_the_reports_before_it_and_no_other<D: Drive>() {
    for kind in KINDS {
        let (counters, _) = serve::<D>(kind, |client| {
            let (mut random, mut reports) = (1, HashMap::new());
            for round in 0..150 {
                let requests = burst(&mut random);
                let mut expected = HashMap::new();
                for (thread, request) in (1024..).zip(&requests) {
                    let (op, digests) = request;
                    let count = digests.first().and_then(|digest| reports.get(digest)).copied().unwrap_or(0);
                    expected.insert(thread, (request, (*op == "check").then_some(count)));
                    if *op == "report" {
                        digests.iter().for_each(|digest| *reports.entry(*digest).or_default() += 1);
                    }
                    send(client, request, thread);
                }
                for _ in &requests {
                    let (thread, code, count) = receive(client);
                    let (request, expected) = expected.remove(&thread).unwrap();
                    assert_eq!(
                        (code, count),
                        (200, expected),
                        "{request:?} in round {round} of {requests:?}"
                    );
                }
            }
        });
        assert!(!counters.contains("internal errors"), "{counters}");
    }
}

/// A worker reads itself, but for what a count has to come before.
fn reads_are_made_by_the_reader_of_the_worker<D: Drive>() {
    let (_, read_by) = serve::<D>(split, |client| {
        for digest in 0..100 {
            assert_eq!(ask(client, "check", digest), (200, Some(0)));
        }
    });
    assert!(read_by.len() == 100 && read_by.iter().all(|role| *role == Role::Reads));
    // Of datagrams that are received at once, those with the digest of a count go with it.
    let (_, read_by) = serve::<D>(split, |client| {
        let requests: Vec<Request> =
            (0..50).flat_map(|_| [("check", vec![1]), ("report", vec![1]), ("check", vec![2])]).collect();
        (0..).zip(&requests).for_each(|(thread, request)| send(client, request, 1024 + thread));
        (0..150).for_each(|_| assert_eq!(receive(client).1, 200));
    });
    assert!(read_by.contains(&Role::Reads) && read_by.contains(&Role::Counts));
}

/// A count whose store has failed is not under way any more.
fn a_writer_that_panics_fails_its_batch_and_nothing_else<D: Drive>() {
    const PANICS: usize = 5;
    let (counters, read_by) = serve::<D>(split, |client| {
        for round in 0..PANICS {
            assert_eq!(ask(client, "report", CURSED), (500, None));
            assert_eq!(ask(client, "report", 1), (200, None));
            assert_eq!(ask(client, "check", 1), (200, Some(round as u64 + 1)));
        }
        // The reply comes before the end of the batch.
        while ask(client, "check", CURSED) != (200, Some(0)) {}
        (0..1000).for_each(|_| assert_eq!(ask(client, "check", CURSED), (200, Some(0))));
    });
    assert!(counters.ends_with(&format!(", {PANICS} internal errors")), "{counters}");
    assert!(read_by.iter().rev().take(900).all(|role| *role == Role::Reads));
}

for_every_runtime! {
    each_check_sees_the_reports_before_it_and_no_other,
    reads_are_made_by_the_reader_of_the_worker,
    a_writer_that_panics_fails_its_batch_and_nothing_else,
}
