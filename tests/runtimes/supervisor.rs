//! Status changes for a service manager.

use std::net::UdpSocket;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    Limits, MemoryStore, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall, StoreFailure, Task,
    Tick,
};
use pyzord_runtime::{
    Clock, Command, Counters, Service, Sockets, StatusChange, Stores, Supervisor, shared_guard,
};

use crate::{Drive, for_every_runtime};

/// The longest time of any step before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than the wait of an idle worker.
const PERIOD: Duration = Duration::from_millis(1500);

/// A store that waits for a lock.
#[derive(Clone)]
struct Waiting<'a>(&'a Mutex<MemoryStore>);

impl Store for Waiting<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        self.0.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, _task: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}

fn a_service_manager_is_told_the_truth<D: Drive>() {
    let records = Mutex::new(MemoryStore::new());
    let sockets = Sockets::bind("127.0.0.1", 0, 2).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let counters = Counters::default();
    let (commands, receiver) = mpsc::channel();
    let (sender, changes) = mpsc::channel();
    let (sockets, counters, store) = (&sockets, &counters, Waiting(&records));
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        scope.spawn(move || {
            let service = Service {
                sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters,
                stores: Stores::Local { workers: vec![store.clone(); 2], large: store.clone() },
                upkeep: store,
                cleanup: None,
                reload: &mut || Some(Policy::default().into()),
                on_answered: &|_| (),
                supervisor: Some(Supervisor {
                    period: Some(PERIOD),
                    notify: &mut |change| sender.send(change).unwrap(),
                }),
            };
            D::serve(service, receiver);
        });
        assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Started));
        // Idle workers are alive.
        assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Alive));
        assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Alive));
        commands.send(Command::Reload).unwrap();
        let reported: Vec<StatusChange> =
            changes.iter().filter(|change| *change != StatusChange::Alive).take(2).collect();
        assert_eq!(reported, [StatusChange::Reloading, StatusChange::Reloaded]);

        // One worker hangs. The other one answers, and the server as a whole is not alive.
        let hung = records.lock().unwrap();
        client
            .send(b"Op: check\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nThread: 6\nPV: 2.1\n\n")
            .unwrap();
        let mut reported = 0;
        while changes.recv_timeout(2 * PERIOD + PERIOD / 2).is_ok() {
            reported += 1;
            assert!(reported < 20, "a server with a worker that hangs is reported alive");
        }
        drop(hung);
        client.recv(&mut [0; 500]).unwrap();
        assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Alive));
        commands.send(Command::Stop).unwrap();
        drop(commands);
        assert_eq!(
            changes.iter().find(|change| *change != StatusChange::Alive),
            Some(StatusChange::Stopping)
        );
        assert_eq!(changes.iter().next(), None);
    });
}

fn idle_workers_have_a_heartbeat_in_every_short_period<D: Drive>() {
    /// Less than the time that a worker waits for a datagram without a supervisor.
    const SHORT: Duration = Duration::from_millis(100);
    let (commands, receiver) = mpsc::channel();
    let (sender, changes) = mpsc::channel();
    thread::scope(|scope| {
        // Dropped when the test fails, which stops the server, too.
        let commands = commands;
        scope.spawn(move || {
            let service = Service {
                sockets: &Sockets::bind("127.0.0.1", 0, 2).unwrap(),
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters: &Counters::default(),
                stores: Stores::Local { workers: vec![MemoryStore::new(); 2], large: MemoryStore::new() },
                upkeep: MemoryStore::new(),
                cleanup: None,
                reload: &mut || Some(Policy::default().into()),
                on_answered: &|_| (),
                supervisor: Some(Supervisor {
                    period: Some(SHORT),
                    notify: &mut |change| sender.send(change).unwrap(),
                }),
            };
            D::serve(service, receiver);
        });
        assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Started));
        let clock = Clock::start();
        for _ in 0..10 {
            assert_eq!(changes.recv_timeout(DEADLINE), Ok(StatusChange::Alive));
        }
        // Ten take ten seconds if a worker waits for a second each time.
        assert!(clock.tick() < Tick::new(Duration::from_secs(5)), "{:?}", clock.tick());
        commands.send(Command::Stop).unwrap();
    });
}

for_every_runtime! {
    a_service_manager_is_told_the_truth,
    idle_workers_have_a_heartbeat_in_every_short_period,
}
