//! A worker, or the store's upkeep, that waits for a disk.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Limits, MemoryStore, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall,
    StoreFailure, Task, Tick,
};
use pyzord_runtime::{
    Clock, Command, Counters, Service, Sockets, StatusChange, Stores, StuckThread, Supervisor, shared_guard,
};

use crate::{Drive, for_every_runtime};

const PING: &str = "Op: ping\nThread: 5\nPV: 2.1\n\n";
const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
/// The longest time of any step before a test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A disk that answers, or does not.
#[derive(Default)]
struct Disk {
    hangs: Mutex<bool>,
    changed: Condvar,
}

impl Disk {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }

    fn access(&self) {
        drop(self.changed.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
    }
}

/// Lets a disk answer when a test ends, well or not.
struct Answering<'a>(&'a Disk);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.hang(false);
    }
}

/// A store whose records and whose upkeep are on a disk each.
#[derive(Clone)]
struct OnDisk<'a> {
    records: &'a Mutex<MemoryStore>,
    disk: &'a Disk,
    upkeep: &'a Disk,
}

impl Store for OnDisk<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        self.disk.access();
        self.records.lock().unwrap().execute(now, calls, answers);
    }

    fn upkeep(&mut self, _now: Now, _task: Task) -> Result<Progress, StoreFailure> {
        self.upkeep.access();
        Ok(Progress::Done)
    }
}

/// A server while a test runs, and what the test can do with it.
struct Running<'a> {
    client: UdpSocket,
    commands: Sender<Command>,
    changes: mpsc::Receiver<StatusChange>,
    counters: &'a Counters,
    disk: &'a Disk,
    upkeep: &'a Disk,
    /// A worker that logs waits for it.
    log: &'a Disk,
}

impl Running<'_> {
    fn ask(&self, request: &str) -> String {
        self.client.send(request.as_bytes()).unwrap();
        self.receive()
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 2000];
        let length = self.client.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned()
    }

    /// Waits until the server tells of the next change that is neither its start nor a sign of life.
    fn change(&self) -> StatusChange {
        loop {
            let change = self.changes.recv_timeout(DEADLINE).unwrap();
            if !matches!(change, StatusChange::Alive | StatusChange::Started) {
                return change;
            }
        }
    }

    /// Waits for a sign of life that is sent from now on.
    fn is_alive(&self) {
        while self.changes.try_recv().is_ok() {}
        let mut changes = std::iter::repeat_with(|| self.changes.recv_timeout(DEADLINE));
        assert_eq!(
            changes.find(|change| *change != Ok(StatusChange::Started)),
            Some(Ok(StatusChange::Alive))
        );
    }

    fn wait_until(&self, what: &str, done: impl Fn(Option<StuckThread>) -> bool) {
        let clock = Clock::start();
        while !done(self.counters.stuck()) {
            assert!(clock.tick() < Tick::new(DEADLINE), "{what}: {:?}", self.counters.stuck());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Runs a server during a test; returns its records.
fn with_server<D: Drive>(
    stores: impl FnOnce(OnDisk<'_>) -> Stores<OnDisk<'_>> + Send,
    test: impl FnOnce(&Running<'_>),
) -> MemoryStore {
    let (records, counters) = (Mutex::new(MemoryStore::new()), Counters::default());
    let [disk, upkeep, log] = [(); 3].map(|()| Disk::default());
    let (commands, receiver) = mpsc::channel();
    let (sender, changes) = mpsc::channel();
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let store = OnDisk { records: &records, disk: &disk, upkeep: &upkeep };
    thread::scope(|scope| {
        let _answering = [&disk, &upkeep, &log].map(Answering);
        let running = Running {
            client,
            commands,
            changes,
            counters: &counters,
            disk: &disk,
            upkeep: &upkeep,
            log: &log,
        };
        let (sockets, counters, log) = (&sockets, &counters, &log);
        scope.spawn(move || {
            let logged = AtomicBool::new(false);
            let service = Service {
                sockets,
                server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
                counters,
                stores: stores(store.clone()),
                upkeep: store,
                cleanup: None,
                reload: &mut || {
                    Some(
                        Policy::parse(None, Some(b"ping : anonymous : deny"), AccessOrder::FirstMatch)
                            .0
                            .into(),
                    )
                },
                on_answered: &|_| {
                    // Only the first one: what a thread does in its place must not be what it is stuck in.
                    if *log.hangs.lock().unwrap() && !logged.swap(true, Ordering::Relaxed) {
                        log.access();
                    }
                },
                supervisor: Some(Supervisor {
                    period: Some(Duration::from_millis(100)),
                    notify: &mut |change| {
                        // The test may be over.
                        let _ = sender.send(change);
                    },
                }),
            };
            D::serve(service, receiver);
        });
        test(&running);
        // The test may have stopped it.
        let _ = running.commands.send(Command::Stop);
    });
    records.into_inner().unwrap()
}

fn local(store: OnDisk<'_>) -> Stores<OnDisk<'_>> {
    Stores::Local { workers: vec![store.clone()], large: store }
}

fn is_worker(stuck: Option<StuckThread>) -> bool {
    matches!(stuck, Some(StuckThread::Worker(1, _)))
}

/// One slow read of the gdbm file left all datagrams of a worker without an answer, pings too, and health was ok.
fn a_worker_that_waits_for_a_disk_is_stood_in_for<D: Drive>() {
    let [check, report] =
        ["check", "report"].map(|op| format!("Op: {op}\nOp-Digest: {DIGEST}\nThread: 6\nPV: 2.1\n\n"));
    let records = with_server::<D>(local, |server| {
        assert!(server.ask(&report).starts_with("Code: 200\n"));
        server.disk.hang(true);
        assert!(server.ask(&report).starts_with("Code: 500\n"), "it may be counted all the same");
        for _ in 0..100 {
            assert!(server.ask(PING).starts_with("Code: 200\n"));
            assert!(server.ask(&check).starts_with("Code: 500\n"));
        }
        server.wait_until("the stuck worker", is_worker);
        server.disk.hang(false);
        server.wait_until("its return", |stuck| stuck.is_none());
        server.is_alive();
        assert!(server.ask(&check).starts_with("Code: 200\nDiag: OK\nPV: 2.1\nThread: 6\nCount: 2\n"));
    });
    assert_eq!(records.records().next().unwrap().1.reports.count, 2);
}

/// A log that blocks kept a worker from all others, too.
fn a_worker_that_waits_for_a_log_is_stood_in_for<D: Drive>() {
    let check = format!("Op: check\nOp-Digest: {DIGEST}\nThread: 6\nPV: 2.1\n\n");
    for (stores, code) in [
        (local as fn(OnDisk<'_>) -> Stores<OnDisk<'_>>, "Code: 500\n"),
        (|store| Stores::Remote { workers: 1, stores: vec![store] }, "Code: 200\n"),
    ] {
        with_server::<D>(stores, |server| {
            server.log.hang(true);
            assert!(server.ask(PING).starts_with("Code: 200\n"), "it is sent before it is logged");
            assert!(server.ask(PING).starts_with("Code: 200\n"));
            assert!(server.ask(&check).starts_with(code));
            server.wait_until("the stuck worker", is_worker);
            server.log.hang(false);
            server.wait_until("its return", |stuck| stuck.is_none());
            assert!(server.ask(&check).starts_with("Code: 200\n"));
        });
    }
}

/// A rewrite of the file that took longer than the service manager waits got the server killed, and no signal had an
/// effect meanwhile.
fn upkeep_that_waits_for_a_disk_keeps_no_command_waiting<D: Drive>() {
    with_server::<D>(local, |server| {
        // The first sync may be over, so the last one waits.
        server.upkeep.hang(true);
        server.is_alive();
        server.commands.send(Command::Reload).unwrap();
        assert_eq!([server.change(), server.change()], [StatusChange::Reloading, StatusChange::Reloaded]);
        assert!(server.ask(PING).starts_with("Code: 403\n"));
        server.is_alive();
        server.commands.send(Command::Stop).unwrap();
        assert_eq!([server.change(), server.change()], [StatusChange::Stopping, StatusChange::StopOverdue]);
    });
}

/// A stop waited for a worker that waited for a disk, for ever.
fn a_stop_with_a_stuck_worker_is_reported_in_time<D: Drive>() {
    let check = format!("Op: check\nOp-Digest: {DIGEST}\nThread: 6\nPV: 2.1\n\n");
    with_server::<D>(local, |server| {
        server.disk.hang(true);
        assert!(server.ask(&check).starts_with("Code: 500\n"));
        server.commands.send(Command::Stop).unwrap();
        assert_eq!(server.change(), StatusChange::Stopping);
        // What came before the stop is answered.
        assert!(server.ask(PING).starts_with("Code: 200\n"));
        assert_eq!(server.change(), StatusChange::StopOverdue);
    });
}

for_every_runtime! {
    a_worker_that_waits_for_a_disk_is_stood_in_for,
    a_worker_that_waits_for_a_log_is_stood_in_for,
    upkeep_that_waits_for_a_disk_keeps_no_command_waiting,
    a_stop_with_a_stuck_worker_is_reported_in_time,
}
