//! The notifications that a supervisor receives.

use std::net::UdpSocket;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use pyzord_core::{
    CleanupAge, Limits, MemoryStore, Now, Policy, Progress, Store, StoreAnswer, StoreCall, StoreFailure, Task,
};
use pyzord_runtime::{Command, Counters, Live, News, Server, Shield, Sockets, Stores, Supervisor};

use crate::{Drive, for_every_runtime};

/// The time after which a test fails.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than a blocking worker waits for a datagram.
const PERIOD: Duration = Duration::from_millis(1500);

/// A store that waits for a lock that the test holds.
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

fn a_supervisor_is_notified_of_the_true_state<D: Drive>() {
    let records = Mutex::new(MemoryStore::new());
    let sockets = Sockets::bind("127.0.0.1", 0, 2).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let (policy, counters) = (Live::new(Policy::default()), Counters::default());
    let (commands, receiver) = mpsc::channel();
    let (teller, news) = mpsc::channel();
    let (sockets, policy, counters, store) = (&sockets, &policy, &counters, Waiting(&records));
    thread::scope(|scope| {
        // A failed test drops it, which stops the server.
        let commands = commands;
        scope.spawn(move || {
            let server = Server {
                sockets,
                policy,
                counters,
                shield: &Shield::new(Limits::default()),
                stores: Stores::Local(vec![store.clone(); 2]),
                upkeep: store,
                cleanup: CleanupAge(0),
                reload: &mut Policy::default,
                usage: &|_| (),
                supervisor: Some(Supervisor {
                    period: Some(PERIOD),
                    tell: &mut |news| teller.send(news).unwrap(),
                }),
            };
            D::serve(server, receiver);
        });
        // Idle workers are alive, too.
        assert_eq!(news.recv_timeout(DEADLINE), Ok(News::Alive));
        assert_eq!(news.recv_timeout(DEADLINE), Ok(News::Alive));
        commands.send(Command::Reload).unwrap();
        let told: Vec<News> = news.iter().filter(|news| *news != News::Alive).take(2).collect();
        assert_eq!(told, [News::Reloading, News::Reloaded]);

        // One worker hangs: there is no sign of life, although the other worker still answers.
        let hung = records.lock().unwrap();
        client
            .send(b"Op: check\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nThread: 6\nPV: 2.1\n\n")
            .unwrap();
        let mut told = 0;
        while news.recv_timeout(2 * PERIOD + PERIOD / 2).is_ok() {
            told += 1;
            assert!(told < 20, "a server with a worker that hangs is said to be alive");
        }
        drop(hung);
        client.recv(&mut [0; 500]).unwrap();
        assert_eq!(news.recv_timeout(DEADLINE), Ok(News::Alive));
        commands.send(Command::Stop).unwrap();
        drop(commands);
        assert_eq!(news.iter().find(|news| *news != News::Alive), Some(News::Stopping));
        assert_eq!(news.iter().next(), None);
    });
}

for_every_runtime! {
    a_supervisor_is_notified_of_the_true_state,
}
