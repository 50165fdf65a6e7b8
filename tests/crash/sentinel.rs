//! The master of a service is killed under load, and returns as a replica; the server keeps running.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use pyzord_testkit::RedisSentinels;

use crate::harness::{Server, digest, field, numbered_request, request, wait_for};
use crate::load::{SetOnDrop, count};
use crate::random::Random;
use crate::rounds;

/// Concurrent clients.
const CLIENTS: u32 = 4;
/// Reports of a client in flight.
const WINDOW: usize = 4;
/// Reports for each kill. Each digest is reported twice, with different masters as a rule.
const REPORTS: u32 = 10_000;
/// How many reports in a row are acknowledged by a server that has found the master.
const IN_A_ROW: u32 = 100;

/// A digest of no client.
const PROBE: u32 = 4_000_000_000;

/// What clients and the test share.
#[derive(Default)]
struct Shared {
    /// The reports of each client that may be sent by now.
    granted: AtomicU32,
    /// The reports of all clients that were sent and have a reply, or none in time.
    settled: AtomicU32,
    /// A master is gone, and the server may not have found the next one.
    failing_over: AtomicBool,
    done: AtomicBool,
    /// Reports without a 200 while there was a master.
    calm_errors: AtomicU64,
}

/// The reports of a digest that were acknowledged, and those that were sent.
#[derive(Clone, Copy, Default)]
struct Bounds {
    least: u64,
    most: u64,
}

/// The clients' digests do not overlap.
fn report(number: u32, digests: u32, server: SocketAddr, shared: &Shared) -> BTreeMap<u32, Bounds> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut bounds, mut pending) = (BTreeMap::<u32, Bounds>::new(), BTreeMap::new());
    let (mut sent, mut id, mut buffer) = (0, 1024_u16, [0; 1024]);
    while !shared.done.load(Ordering::Relaxed) {
        while pending.len() < WINDOW && sent < shared.granted.load(Ordering::Relaxed) {
            let reported = number * 10_000_000 + sent % digests;
            sent += 1;
            id = id.checked_add(1).unwrap_or(1024);
            bounds.entry(reported).or_default().most += 1;
            pending.insert(id, (reported, shared.failing_over.load(Ordering::SeqCst)));
            let report = numbered_request("report", &[&digest(reported)], id);
            socket.send(report.as_bytes()).unwrap();
        }
        if pending.is_empty() {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let is_calm = |was_calm: bool| was_calm && !shared.failing_over.load(Ordering::SeqCst);
        let Ok(length) = socket.recv(&mut buffer) else {
            for (_, failing_over) in std::mem::take(&mut pending).into_values() {
                shared.settled.fetch_add(1, Ordering::Relaxed);
                shared.calm_errors.fetch_add(u64::from(is_calm(!failing_over)), Ordering::Relaxed);
            }
            continue;
        };
        let reply = String::from_utf8_lossy(&buffer[..length]);
        let Some((reported, failing_over)) = pending.remove(&field(&reply, "Thread").parse().unwrap()) else {
            continue;
        };
        shared.settled.fetch_add(1, Ordering::Relaxed);
        if field(&reply, "Code") == "200" {
            bounds.entry(reported).or_default().least += 1;
        } else {
            shared.calm_errors.fetch_add(u64::from(is_calm(!failing_over)), Ordering::Relaxed);
            // A server without its database refuses reports at once.
            thread::sleep(Duration::from_millis(5));
        }
    }
    bounds
}

/// Kills the master, and waits until the server has found the next one, and the killed one is a replica.
fn fail_over(service: &mut RedisSentinels, server: &Server, shared: &Shared) {
    shared.failing_over.store(true, Ordering::SeqCst);
    let killed = service.fail_over();
    let client = server.client();
    let is_back = || {
        (0..IN_A_ROW)
            .all(|_| field(&client.ask(request("report", &[&digest(PROBE)])), "Code") == "200")
            .then_some(())
    };
    wait_for("the next master", is_back);
    shared.failing_over.store(false, Ordering::SeqCst);
    service.bring_back(killed);
}

#[test]
fn sentinel() {
    // A kill takes some ten seconds.
    let kills = rounds(1).div_ceil(30);
    let (mut random, mut service) = (Random::new(), RedisSentinels::start());
    let server = Server::start(&["-e", "redis", "--dsn", &service.dsn()]);
    wait_for("the first report", || {
        (field(&server.client().ask(request("report", &[&digest(PROBE)])), "Code") == "200").then_some(())
    });
    let shared = Shared::default();
    let (share, digests) = (REPORTS / CLIENTS, kills * REPORTS / CLIENTS / 2);
    let bounds = thread::scope(|scope| {
        let (address, shared) = (server.address, &shared);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| scope.spawn(move || report(number, digests, address, shared)))
            .collect();
        {
            let _done = SetOnDrop(&shared.done);
            for kill in 0..kills {
                shared.granted.fetch_add(share, Ordering::Relaxed);
                let at = kill * REPORTS + REPORTS / 4 + random.below(REPORTS / 2);
                wait_for("reports", || (shared.settled.load(Ordering::Relaxed) >= at).then_some(()));
                fail_over(&mut service, &server, shared);
                let all = (kill + 1) * REPORTS;
                wait_for("all reports", || (shared.settled.load(Ordering::Relaxed) >= all).then_some(()));
            }
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let client = server.client();
    let (mut acknowledged, mut sent, mut lost) = (0, 0, 0);
    for (number, Bounds { least, most }) in bounds {
        let count = count(&client, &digest(number));
        assert!(count <= most, "{count} of digest {number}, reported {most} times: {}", server.log());
        (acknowledged, sent, lost) = (acknowledged + least, sent + most, lost + least.saturating_sub(count));
    }
    let calm_errors = shared.calm_errors.into_inner();
    assert_eq!(calm_errors, 0, "errors while there was a master: {}", server.log());
    println!(
        "{kills} kills, {sent} reports: {acknowledged} acknowledged, {} refused or unanswered within a failover; none \
         counted twice; {lost} of the acknowledged lost, as redis replicates asynchronously",
        sent - acknowledged
    );
}
