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

#[derive(Clone)]
struct Gated<'a>(&'a Gate, MemoryStore);

impl Store for Gated<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        if calls.iter().any(|call| call.op == StoreOp::Report) {
            self.0.pass(calls.len());
        }
        self.1.execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, _task: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}

fn request(op: &str, digests: usize) -> Vec<u8> {
    let digests: String = (0..digests).map(|number| format!("Op-Digest: {number:040x}\n")).collect();
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

    fn is_answered(&self) -> bool {
        let mut buffer = [0; 500];
        self.0.recv(&mut buffer).is_ok() && buffer.starts_with(b"Code: 200\n")
    }

    fn ask(&self, request: &[u8]) -> bool {
        self.0.send(request).unwrap();
        self.is_answered()
    }
}

/// Serves with one worker while `test` runs.
fn serve<D: Drive>(remote: bool, test: impl FnOnce(u16, &Gate, &Counters) + Send) -> State {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let (counters, gate) = (Counters::default(), Gate::default());
    let store = Gated(&gate, MemoryStore::new());
    let stores = if remote {
        Stores::Remote { workers: 1, stores: vec![store.clone(); 2] }
    } else {
        Stores::Local { workers: vec![store.clone()], large: store.clone() }
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
                assert!(small.ask(&request("ping", 0)) && small.ask(&request("check", 1)));
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
        let clock = Clock::start();
        for number in 1..=200 {
            large.0.send(&request("report", 10)).unwrap();
            gate.wait_for(1);
            // One after another, so that no receive buffer is too small.
            while counters.counts().received <= number {
                assert!(clock.tick().since(pyzord_core::Tick::default()) < PATIENCE, "{number} are lost");
                thread::yield_now();
            }
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
        while counters.counts().received < 10 {
            thread::yield_now();
        }
        gate.open();
    });
    assert_eq!(state.reports.len(), 10);
}

for_every_runtime! {
    a_small_request_is_answered_while_large_ones_are_executed,
    large_requests_wait_in_a_bounded_number_and_the_others_are_counted,
    a_stop_answers_the_large_requests_that_wait,
}
