//! Tests of what a worker does with requests that come late: after a stop, or after their client is gone.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use pyzord_core::{Limits, MemoryStore, Policy, Server, Tick};

use crate::context::WorkerContext;
use crate::counters::{Counters, Counts};
use crate::datagrams::ReceiveMode;
use crate::guard::shared_guard;
use crate::service::{Service, Stores};
use crate::socket::Sockets;
use crate::worker::Worker;

const PING: &[u8] = b"Op: ping\nThread: 5\nPV: 2.1\n\n";

/// Runs a test with a worker and a client whose datagrams wait for it, and returns the counts.
fn with_worker(test: impl FnOnce(&WorkerContext<'_>, &mut Worker<'_, MemoryStore>, &UdpSocket)) -> Counts {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let counters = Counters::default();
    let service = Service {
        sockets: &sockets,
        server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
        counters: &counters,
        stores: Stores::Local { workers: vec![MemoryStore::new()], large: MemoryStore::new() },
        upkeep: MemoryStore::new(),
        cleanup: None,
        reload: &mut || None,
        on_answered: &|_| (),
        supervisor: None,
    };
    let context = WorkerContext::new(&service);
    let backend = context.parts(service).backends.pop().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    test(&context, &mut context.worker(backend), &client);
    counters.counts()
}

/// Waits until this much time has passed on the counters' clock.
fn wait_until(context: &WorkerContext<'_>, time: Duration) {
    while context.clock().tick() < Tick::new(time) {
        thread::sleep(Duration::from_millis(20));
    }
}

/// A worker took a batch of empty datagrams, which wake it, for the end of what had been received.
#[test]
fn requests_behind_empty_datagrams_are_answered_after_a_stop() {
    let counts = with_worker(|context, worker, client| {
        for _ in 0..150 {
            client.send(&[]).unwrap();
        }
        client.send(PING).unwrap();
        context.stop();
        worker.drain();
    });
    assert_eq!((counts.received, counts.answered, counts.left_at_stop), (1, 1, 0));
}

/// A flood of large reports kept a stop waiting for 69 seconds.
#[test]
fn no_request_is_begun_after_the_deadline_of_a_stop() {
    let counts = with_worker(|context, worker, client| {
        context.stop();
        wait_until(context, Duration::from_millis(4100));
        for _ in 0..100 {
            client.send(PING).unwrap();
            client.send(&[]).unwrap();
        }
        worker.drain();
    });
    assert_eq!((counts.received, counts.answered, counts.left_at_stop), (0, 0, 100));
}

/// Requests whose clients were gone were executed, and those of others waited behind them.
#[cfg(target_os = "linux")]
#[test]
fn a_request_that_has_waited_longer_than_its_client_is_not_executed() {
    let counts = with_worker(|context, worker, client| {
        client.send(PING).unwrap();
        wait_until(context, Duration::from_millis(5200));
        client.send(PING).unwrap();
        while worker.serve(ReceiveMode::NonBlocking) {}
    });
    assert_eq!((counts.received, counts.answered), (2, 1));
    assert!(counts.dropped.contains(&("stale", 1)), "{counts:?}");
}
