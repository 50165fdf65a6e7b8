//! Large requests keep no small one waiting.

use std::net::UdpSocket;
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    Limits, MemoryStore, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall, StoreFailure, StoreOp,
    Task,
};
use pyzord_runtime::{Clock, Command, Counters, Service, Sockets, Stores, shared_guard};

use crate::{Drive, for_every_runtime};

/// Longer than any step of a test takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the stores of a server share: reports wait until the gate opens.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Reports that came to the gate, by the calls of each.
    reports: Vec<usize>,
}

impl Gate {
    fn pass(&self, calls: usize) {
        let mut state = self.state.lock().unwrap();
        state.reports.push(calls);
        self.changed.notify_all();
        drop(self.changed.wait_timeout_while(state, PATIENCE, |state| !state.open).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    /// Waits until so many reports have come to the gate.
    fn wait_for(&self, reports: usize) {
        let state = self.state.lock().unwrap();
        let waits = |state: &mut State| state.reports.len() < reports;
        assert!(!self.changed.wait_timeout_while(state, PATIENCE, waits).unwrap().1.timed_out());
    }
}

#[derive(Clone, Copy)]
struct Gated<'a>(&'a Gate, &'a Mutex<MemoryStore>);

impl Store for Gated<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.iter().any(|call| call.op == StoreOp::Report) {
            self.0.pass(calls.len());
        }
        self.1.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, _task: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}

fn request(op: &str, digests: usize) -> Vec<u8> {
    request_of(op, 0..digests)
}

fn request_of(op: &str, digests: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let digests: String = digests.into_iter().map(|number| format!("Op-Digest: {number:040x}\n")).collect();
    format!("Op: {op}\n{digests}Thread: 5\nPV: 2.1\n\n").into_bytes()
}

struct Client(UdpSocket);

impl Client {
    fn new(port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// One with another address.
    fn other(port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn send(&self, request: &[u8]) {
        assert_eq!(self.0.send(request).unwrap(), request.len());
    }

    fn reply(&self) -> String {
        let mut buffer = vec![0; 500];
        let length = self.0.recv(&mut buffer).unwrap();
        buffer.truncate(length);
        String::from_utf8(buffer).unwrap()
    }

    fn is_answered(&self) -> bool {
        self.reply().starts_with("Code: 200\n")
    }

    /// Returns the count in the next reply.
    fn count(&self) -> u64 {
        self.reply().lines().find_map(|line| line.strip_prefix("Count: ")).unwrap().parse().unwrap()
    }

    fn ask(&self, request: &[u8]) -> bool {
        self.0.send(request).unwrap();
        self.is_answered()
    }
}

/// Waits until so many datagrams were received.
fn wait_for_received(counters: &Counters, received: u64) {
    let clock = Clock::start();
    while counters.counts().received < received {
        assert!(clock.tick().since(pyzord_core::Tick::default()) < PATIENCE, "{counters}");
        thread::yield_now();
    }
}

/// Serves with one worker while `test` runs.
fn serve<D: Drive>(remote: bool, test: impl FnOnce(u16, &Gate, &Counters) + Send) -> State {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let (counters, gate, records) = (Counters::default(), Gate::default(), Mutex::new(MemoryStore::new()));
    let store = Gated(&gate, &records);
    let stores = if remote {
        Stores::Remote { workers: 1, stores: vec![store; 2] }
    } else {
        Stores::Local { workers: vec![store], large: store }
    };
    let (commands, receiver) = channel();
    thread::scope(|scope| {
        let port = sockets.address().unwrap().port();
        let (gate, counters) = (&gate, &counters);
        scope.spawn(move || {
            // Dropped on every way out, which stops the server.
            let _commands: std::sync::mpsc::Sender<Command> = commands;
            test(port, gate, counters);
        });
        let service = Service {
            sockets: &sockets,
            server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
            counters,
            stores,
            upkeep: store,
            cleanup: None,
            reload: &mut || None,
            on_answered: &|_| (),
            supervisor: None,
        };
        D::serve(service, receiver);
    });
    gate.state.into_inner().unwrap()
}

/// A worker executed a request of 156 counts, and up to 64 of them, before it answered the next one.
fn a_small_request_is_answered_while_large_ones_are_executed<D: Drive>() {
    for remote in [false, true] {
        let state = serve::<D>(remote, |port, gate, _| {
            let (large, small) = (Client::new(port), Client::new(port));
            (0..3).for_each(|_| assert!(large.0.send(&request("report", 150)).is_ok()));
            gate.wait_for(1);
            for _ in 0..20 {
                assert!(small.ask(&request("ping", 0)) && small.ask(&request_of("check", [999])));
            }
            assert_eq!(gate.state.lock().unwrap().reports.len(), 1, "the others wait");
            gate.open();
            assert!((0..3).all(|_| large.is_answered()));
        });
        assert_eq!(state.reports.iter().sum::<usize>(), 3 * 150);
        if !remote {
            assert!(state.reports.iter().all(|calls| *calls <= 16), "{:?}", state.reports);
        }
    }
}

fn large_requests_wait_in_a_bounded_number_and_the_others_are_counted<D: Drive>() {
    serve::<D>(false, |port, gate, counters| {
        let large = Client::new(port);
        assert!(large.ask(&request("ping", 0)));
        for number in 1..=200 {
            large.0.send(&request("report", 10)).unwrap();
            gate.wait_for(1);
            // One after another, so that no receive buffer is too small.
            wait_for_received(counters, 1 + number);
        }
        let dropped = counters.counts().dropped;
        assert!(dropped.contains(&("overloaded", 200 - 129)), "{dropped:?}");
        gate.open();
        assert!((0..129).all(|_| large.is_answered()), "one was executed, and 128 waited");
    });
}

/// What waits at a stop is answered.
fn a_stop_answers_the_large_requests_that_wait<D: Drive>() {
    let state = serve::<D>(false, |port, gate, counters| {
        let large = Client::new(port);
        (0..10).for_each(|_| assert!(large.0.send(&request("report", 10)).is_ok()));
        gate.wait_for(1);
        wait_for_received(counters, 10);
        gate.open();
    });
    assert_eq!(state.reports.len(), 10);
}

/// A check overtook the large report before it, and did not see it.
fn a_check_after_a_large_report_of_its_sender_sees_it<D: Drive>() {
    for remote in [false, true] {
        serve::<D>(remote, |port, gate, counters| {
            let (large, small, other) = (Client::new(port), Client::new(port), Client::other(port));
            large.send(&request("report", 150));
            gate.wait_for(1);
            // From another socket, as Python's client sends.
            small.send(&request_of("check", [7]));
            wait_for_received(counters, 2);
            assert!(small.ask(&request_of("check", [999])), "it shares no digest");
            if !remote {
                other.send(&request_of("check", [7]));
                assert_eq!(other.count(), 0, "a sender can delay no other one");
            }
            gate.open();
            assert_eq!(small.count(), 1);
            assert!(large.is_answered());
        });
    }
}

/// Forged datagrams could fill the backlog in the name of a sender, whose checks of well-known digests would be lost.
fn a_small_request_is_served_though_its_sender_has_no_room<D: Drive>() {
    serve::<D>(false, |port, gate, counters| {
        let (large, small) = (Client::new(port), Client::new(port));
        for number in 1..=140 {
            large.send(&request("report", 10));
            gate.wait_for(1);
            wait_for_received(counters, number);
        }
        for _ in 0..10 {
            small.send(&request_of("check", [7]));
            assert_eq!(small.count(), 0);
        }
        gate.open();
        assert!((0..129).all(|_| large.is_answered()));
        wait_for_received(counters, 150);
    });
}

/// Datagrams that are received at once keep their order, large ones and small ones.
fn large_and_small_requests_of_a_client_keep_their_order<D: Drive>() {
    for remote in [false, true] {
        for round in 0..5 {
            serve::<D>(remote, |port, gate, counters| {
                let (client, blocking) = (Client::new(port), Client::other(port));
                blocking.send(&request_of("report", [999]));
                gate.wait_for(1);
                let digests = |first: usize| [first].into_iter().chain(100..120);
                client.send(&request_of("check", [5]));
                client.send(&request_of("report", digests(5)));
                client.send(&request_of("check", [5]));
                client.send(&request_of("report", [5]));
                client.send(&request_of("check", digests(5)));
                client.send(&request_of("report", [5, 6]));
                client.send(&request_of("check", [6]));
                client.send(&request_of("report", digests(6)));
                client.send(&request_of("check", [5]));
                client.send(&request_of("check", [6]));
                if remote {
                    wait_for_received(counters, 11);
                }
                gate.open();
                let mut counts: Vec<u64> = Vec::new();
                for _ in 0..10 {
                    let reply = client.reply();
                    assert!(reply.starts_with("Code: 200\n"), "{reply}");
                    let count = reply.lines().find_map(|line| line.strip_prefix("Count: "));
                    counts.extend(count.map(|count| count.parse::<u64>().unwrap()));
                }
                // Checks may be answered in any order.
                counts.sort_unstable();
                assert_eq!(counts, [0, 1, 1, 2, 2, 3], "in round {round}, remote: {remote}");
                assert!(blocking.is_answered());
            });
        }
    }
}

/// All requests of a digest wait for the one that is at a store, and no other does.
fn a_store_that_hangs_holds_up_its_digests_alone<D: Drive>() {
    serve::<D>(true, |port, gate, counters| {
        let (client, other) = (Client::new(port), Client::other(port));
        client.send(&request_of("report", [1]));
        gate.wait_for(1);
        let waiting = 200;
        for number in 1..=waiting {
            client.send(&request_of("check", [1]));
            wait_for_received(counters, 2 * number);
            assert!(other.ask(&request_of("check", [2])));
        }
        gate.open();
        assert!(client.is_answered());
        (0..waiting).for_each(|_| assert_eq!(client.count(), 1));
    });
}

for_every_runtime! {
    a_check_after_a_large_report_of_its_sender_sees_it,
    large_and_small_requests_of_a_client_keep_their_order,
    a_small_request_is_served_though_its_sender_has_no_room,
    a_store_that_hangs_holds_up_its_digests_alone,
    a_small_request_is_answered_while_large_ones_are_executed,
    large_requests_wait_in_a_bounded_number_and_the_others_are_counted,
    a_stop_answers_the_large_requests_that_wait,
}
