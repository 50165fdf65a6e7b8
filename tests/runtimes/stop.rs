//! A stop is prompt and complete.

use std::net::UdpSocket;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use pyzord_core::{Limits, MemoryStore, Policy, Server};
use pyzord_runtime::{Clock, Command, Counters, Counts, Service, Sockets, Stores, shared_guard};

use crate::{Drive, for_every_runtime};

/// Serves on this address while `test` runs, and stops.
fn serve<D: Drive>(address: &str, workers: usize, test: impl FnOnce(u16, Sender<Command>) + Send) -> Counts {
    let sockets = Sockets::bind(address, 0, workers).unwrap();
    let counters = Counters::default();
    let (commands, receiver) = channel();
    thread::scope(|scope| {
        let port = sockets.address().unwrap().port();
        scope.spawn(move || test(port, commands));
        let service = Service {
            sockets: &sockets,
            server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
            counters: &counters,
            stores: Stores::Local { workers: vec![MemoryStore::new(); workers], large: MemoryStore::new() },
            upkeep: MemoryStore::new(),
            cleanup: None,
            reload: &mut || Some(Policy::default().into()),
            on_answered: &|_| (),
            supervisor: None,
        };
        D::serve(service, receiver);
    });
    counters.counts()
}

fn idle_workers_are_woken<D: Drive>() {
    let clock = Clock::start();
    for address in ["127.0.0.1", "0.0.0.0", "::1", "::"] {
        for workers in [1, 3] {
            let counts = serve::<D>(address, workers, |_, commands| commands.send(Command::Stop).unwrap());
            assert_eq!((counts.received, counts.answered), (0, 0));
        }
    }
    // Each of the eight takes a second if its workers are not woken.
    assert!(clock.tick() < pyzord_core::Tick::new(Duration::from_secs(4)), "{:?}", clock.tick());
}

fn requests_that_were_received_under_load_are_answered<D: Drive>() {
    const CLIENTS: usize = 3;
    for workers in [1, 2] {
        let counts = serve::<D>("0.0.0.0", workers, |port, commands| {
            let (started, clients) = channel();
            thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    let started = started.clone();
                    scope.spawn(move || ask_until_there_is_no_answer(port, &started));
                }
                (0..CLIENTS).for_each(|_| clients.recv().unwrap());
                commands.send(Command::Stop).unwrap();
            });
        });
        assert!(counts.received >= 1000, "{counts:?}");
        assert_eq!(counts.received, counts.answered + counts.send_errors, "{counts:?}");
    }
}

/// Keeps a burst of requests under way until none of them is answered, and tells when the load has begun.
fn ask_until_there_is_no_answer(port: u16, started: &Sender<()>) {
    const BURST: usize = 50;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for round in 0.. {
        for _ in 0..BURST {
            // Refused when the server is gone.
            let _ = client.send(b"Op: ping\nThread: 5\nPV: 2.1\n\n");
        }
        let answered = (0..BURST).take_while(|_| client.recv(&mut [0; 200]).is_ok()).count();
        if round == 10 {
            started.send(()).unwrap();
        }
        if answered == 0 {
            return;
        }
    }
}

/// Each of a hundred signals that waited was a reload of its own, and a stop waited behind them.
fn reloads_that_wait_are_one_and_a_stop_goes_before_them<D: Drive>() {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    let (commands, receiver) = channel();
    let (entered, entries) = channel();
    let (leave, left) = channel::<()>();
    let left = Mutex::new(left);
    let mut reloads = 0;
    thread::scope(|scope| {
        scope.spawn(move || {
            let deadline = Duration::from_secs(60);
            commands.send(Command::Reload).unwrap();
            entries.recv_timeout(deadline).unwrap();
            (0..100).for_each(|_| commands.send(Command::Reload).unwrap());
            leave.send(()).unwrap();
            entries.recv_timeout(deadline).unwrap();
            (0..100).for_each(|_| commands.send(Command::Reload).unwrap());
            commands.send(Command::Stop).unwrap();
            leave.send(()).unwrap();
            // No reload waits from here on.
            drop(leave);
        });
        let service = Service {
            sockets: &sockets,
            server: Server::new(Policy::default(), shared_guard(Limits::default()).unwrap()),
            counters: &Counters::default(),
            stores: Stores::Local { workers: vec![MemoryStore::new()], large: MemoryStore::new() },
            upkeep: MemoryStore::new(),
            cleanup: None,
            reload: &mut || {
                reloads += 1;
                let _ = entered.send(());
                let _ = left.lock().unwrap().recv();
                None
            },
            on_answered: &|_| (),
            supervisor: None,
        };
        D::serve(service, receiver);
    });
    // Some commands may still be on their way when the reload ends.
    assert!((2..20).contains(&reloads), "{reloads} reloads");
}

for_every_runtime! {
    reloads_that_wait_are_one_and_a_stop_goes_before_them,
    idle_workers_are_woken,
    requests_that_were_received_under_load_are_answered,
}
