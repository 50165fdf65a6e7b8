//! A worker, or the store's upkeep, that waits for a disk.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Digest, HashedKey, HeaderBlock, Limits, MemoryStore, Now, Policy, Progress, Server, Store,
    StoreAnswer, StoreCall, StoreFailure, Task, Tick,
};
use pyzord_runtime::{
    Clock, Command, Counters, Service, Sockets, StatusChange, Stores, StuckThread, Supervisor, shared_guard,
};

use crate::{Drive, for_every_runtime};

const PING: &str = "Op: ping\nThread: 5\nPV: 2.1\n\n";
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef01234567";
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

/// A store whose records and whose upkeep are on a disk each. One that counts for others has a disk of its own.
#[derive(Clone)]
struct OnDisk<'a> {
    records: &'a Mutex<MemoryStore>,
    disk: &'a Disk,
    writes: &'a Disk,
    upkeep: &'a Disk,
    /// The disk that a reply waits for after a count can be read, if it does.
    sync: Option<&'a Disk>,
}

impl OnDisk<'_> {
    fn writer(&self) -> Self {
        Self { disk: self.writes, ..*self }
    }

    /// One whose replies wait for the disk, unlike its counts.
    fn durable_writer(&self) -> Self {
        Self { sync: Some(self.writes), ..*self }
    }
}

impl Store for OnDisk<'_> {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        self.disk.access();
        self.records.lock().unwrap().execute(now, calls, answers);
    }

    fn commit(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) -> bool {
        self.execute(now, calls, answers);
        self.sync.is_some()
    }

    fn make_durable(&mut self, _now: Now, _calls: &[StoreCall], _answers: &mut [StoreAnswer]) {
        self.sync.inspect(|sync| sync.access());
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
    writes: &'a Disk,
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

    /// Asks until the reply is 200: a thread that returns takes a moment to take part again.
    fn ask_until_good(&self, request: &str) -> String {
        let clock = Clock::start();
        loop {
            let reply = self.ask(request);
            if reply.starts_with("Code: 200\n") {
                return reply;
            }
            assert!(clock.tick() < Tick::new(DEADLINE), "{reply}");
        }
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
    let [disk, writes, upkeep, log] = [(); 4].map(|()| Disk::default());
    let (commands, receiver) = mpsc::channel();
    let (sender, changes) = mpsc::channel();
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let store = OnDisk { records: &records, disk: &disk, writes: &writes, upkeep: &upkeep, sync: None };
    thread::scope(|scope| {
        let _answering = [&disk, &writes, &upkeep, &log].map(Answering);
        let running = Running {
            client,
            commands,
            changes,
            counters: &counters,
            disk: &disk,
            writes: &writes,
            upkeep: &upkeep,
            log: &log,
        };
        let (sockets, counters, log) = (&sockets, &counters, &log);
        scope.spawn(move || {
            let logged = AtomicBool::new(false);
            let service = Service {
                sockets,
                server: Server::new(policy(), shared_guard(Limits::default()).unwrap()),
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

/// Anonymous users may do all but whitelist, and bob may, too.
fn policy() -> Policy {
    let accounts = format!("bob : {}", String::from_utf8_lossy(KEY));
    let rules = b"check report ping : anonymous : allow\nall : bob : allow";
    Policy::parse(Some(accounts.as_bytes()), Some(rules), AccessOrder::FirstMatch).0
}

/// Returns a signed report.
fn signed_report() -> String {
    let time = Clock::start().now().wall.seconds();
    let request = format!("Op: report\nOp-Digest: {DIGEST}\nThread: 6\nPV: 2.1\nUser: bob\nTime: {time}\n");
    let signature = HashedKey::new(b"bob", KEY).sign(HeaderBlock::new(request.as_bytes()), time);
    format!("{request}Sig: {}\n\n", String::from_utf8_lossy(&signature))
}

fn request(op: &str, digest: u8) -> String {
    format!("Op: {op}\nOp-Digest: {digest:040x}\nThread: 6\nPV: 2.1\n\n")
}

/// Returns the number of reports of a digest.
fn reports(records: &MemoryStore, digest: u8) -> u64 {
    let digest = Digest::parse(format!("{digest:040x}").as_bytes()).unwrap();
    records.records().find(|(other, _)| *other == digest).map_or(0, |(_, record)| record.reports.count)
}

fn split(store: OnDisk<'_>, writers: usize) -> Stores<OnDisk<'_>> {
    Stores::Split { writers: vec![store.writer(); writers], readers: vec![store] }
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

/// Counts that wait for a disk keep no check waiting; once they got 500, not even one of their own digests.
fn checks_go_on_while_all_counts_wait_for_a_disk<D: Drive>() {
    let records = with_server::<D>(
        |store| split(store, 2),
        |server| {
            assert!(server.ask(&request("report", 1)).starts_with("Code: 200\n"));
            server.writes.hang(true);
            assert!(server.ask(&request("report", 1)).starts_with("Code: 500\n"), "it may be counted");
            assert!(server.ask(&request("report", 2)).starts_with("Code: 500\n"), "so may this");
            server.wait_until("the stuck writer", |stuck| matches!(stuck, Some(StuckThread::Writer(..))));
            for _ in 0..100 {
                assert!(server.ask(PING).starts_with("Code: 200\n"));
                let check = server.ask(&request("check", 3));
                assert!(check.starts_with("Code: 200\n"), "{check}");
            }
            // More than there is room for: none is left without an answer.
            for _ in 0..5 {
                (0..20).for_each(|_| assert!(server.client.send(request("report", 3).as_bytes()).is_ok()));
                (0..20).for_each(|_| assert!(server.receive().starts_with("Code: 500\n")));
            }
            let answered = server.ask(&request("check", 1));
            assert!(answered.contains("\nCount: 1\n"), "the second count is not promised: {answered}");
            let large = request("report", 4).replace("PV", &format!("Padding: {}\nPV", "x".repeat(500)));
            assert!(server.ask(&large).starts_with("Code: 500\n"));
            server.is_alive();
            server.writes.hang(false);
            server.wait_until("its return", |stuck| stuck.is_none());
            let answered = server.ask_until_good(&request("check", 1));
            assert!(
                answered.starts_with("Code: 200\nDiag: OK\nPV: 2.1\nThread: 6\nCount: 2\n"),
                "{answered}"
            );
            server.ask_until_good(&request("report", 4));
        },
    );
    let counted = [1, 2, 3, 4].map(|digest| reports(&records, digest));
    assert_eq!(counted, [2, 1, 0, 1], "what was at a store is counted, and nothing that waited");
}

/// One of several writers holds up nothing but what it has taken.
fn counts_go_on_while_one_writer_waits_for_a_disk<D: Drive>() {
    with_server::<D>(
        |store| Stores::Split { writers: vec![store.writer(), store.clone()], readers: vec![store] },
        |server| {
            server.writes.hang(true);
            // Until the one that hangs has taken one.
            let hangs = |digest| server.ask(&request("report", digest)).starts_with("Code: 500\n");
            let clock = Clock::start();
            let in_time = |_: &u8| clock.tick() < Tick::new(DEADLINE);
            let stuck = (1..=250).cycle().take_while(in_time).find(|digest| hangs(*digest)).unwrap();
            for digest in 251..=255 {
                assert!(server.ask(&request("report", digest)).starts_with("Code: 200\n"));
                // The report may be under way for a moment after its reply.
                server.ask_until_good(&request("check", digest));
            }
            assert!(server.ask(&request("check", stuck)).starts_with("Code: 200\n"));
            assert!(server.ask(&request("report", stuck)).starts_with("Code: 200\n"));
        },
    );
}

/// What is counted is read at once, although it is not yet on the disk and its reply waits for that.
fn checks_see_counts_whose_replies_wait_for_a_disk<D: Drive>() {
    with_server::<D>(
        |store| Stores::Split { writers: vec![store.durable_writer(); 2], readers: vec![store] },
        |server| {
            assert!(server.ask(&request("report", 1)).starts_with("Code: 200\n"));
            server.writes.hang(true);
            server.client.send(request("report", 1).as_bytes()).unwrap();
            // Those that come with the report wait for it, and may get 500 with it.
            let clock = Clock::start();
            while !server.ask(&request("check", 1)).contains("\nCount: 2\n") {
                assert!(clock.tick() < Tick::new(DEADLINE), "no check sees the report");
            }
            assert!(*server.writes.hangs.lock().unwrap(), "its reply still waits");
        },
    );
}

/// A copy is counted once, whatever became of the first one: it is at a writer, it got 500, or it has ended.
fn a_copy_of_a_signed_count_under_way_is_not_counted<D: Drive>() {
    let report = signed_report();
    let records = with_server::<D>(
        |store| split(store, 2),
        |server| {
            server.writes.hang(true);
            (0..3).for_each(|_| assert!(server.client.send(report.as_bytes()).is_ok()));
            assert!(server.receive().starts_with("Code: 500\n"), "only the first one is answered");
            assert!(server.ask(&report).starts_with("Code: 500\n"), "its fate is unknown");
            assert!(server.counters.counts().dropped.contains(&("in_flight", 2)));
            server.writes.hang(false);
            // It was counted, and is not again.
            server.ask_until_good(&report);
        },
    );
    assert_eq!(records.records().next().unwrap().1.reports.count, 1);
}

/// The reads of a worker that is stuck are made by the stores that count.
fn a_reader_that_waits_for_a_disk_is_stood_in_for<D: Drive>() {
    with_server::<D>(
        |store| split(store, 2),
        |server| {
            server.disk.hang(true);
            assert!(server.ask(&request("check", 1)).starts_with("Code: 500\n"));
            for _ in 0..100 {
                assert!(server.ask(PING).starts_with("Code: 200\n"));
                assert!(server.ask(&request("report", 1)).starts_with("Code: 200\n"));
                assert!(server.ask(&request("check", 1)).starts_with("Code: 200\n"));
            }
            server.wait_until("the stuck worker", is_worker);
            server.disk.hang(false);
            server.wait_until("its return", |stuck| stuck.is_none());
            assert!(server.ask(&request("check", 1)).ends_with("Count: 100\nWL-Count: 0\n\n"));
        },
    );
}

/// What was received before a stop is answered, also if no count gets on.
fn a_stop_with_stuck_writers_answers_all<D: Drive>() {
    with_server::<D>(
        |store| split(store, 2),
        |server| {
            server.writes.hang(true);
            for digest in 1..=20 {
                server.client.send(request("report", digest).as_bytes()).unwrap();
                server.client.send(request("check", digest).as_bytes()).unwrap();
            }
            server.client.send(request("check", 99).as_bytes()).unwrap();
            server.commands.send(Command::Stop).unwrap();
            assert_eq!(server.change(), StatusChange::Stopping);
            let replies: Vec<_> = (0..41).map(|_| server.receive()).collect();
            let good = replies.iter().filter(|reply| reply.starts_with("Code: 200\n")).count();
            assert_eq!(good, 1, "{replies:?}");
            assert_eq!(server.change(), StatusChange::StopOverdue);
        },
    );
}

for_every_runtime! {
    checks_go_on_while_all_counts_wait_for_a_disk,
    counts_go_on_while_one_writer_waits_for_a_disk,
    checks_see_counts_whose_replies_wait_for_a_disk,
    a_copy_of_a_signed_count_under_way_is_not_counted,
    a_reader_that_waits_for_a_disk_is_stood_in_for,
    a_stop_with_stuck_writers_answers_all,
    a_worker_that_waits_for_a_disk_is_stood_in_for,
    a_worker_that_waits_for_a_log_is_stood_in_for,
    upkeep_that_waits_for_a_disk_keeps_no_command_waiting,
    a_stop_with_a_stuck_worker_is_reported_in_time,
}
