//! A load on a Pyzor server: requests at a pace, and an account of what became of each of them.

mod digests;
mod flight;
mod mix;
mod pace;
mod report;
mod request;
mod wire;
mod worker;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

pub use digests::{Draw, numbered};
pub use mix::Mix;
pub use pace::Pace;
pub use report::{Latencies, Report};
pub use request::Account;

use crate::clock::Clock;
use worker::Worker;

/// The most requests that may be under way on one socket in a closed loop: fewer than a `Thread` can tell apart, so
/// that a lost one's is not used again at once.
pub const MOST_OUTSTANDING: u64 = 32_768;
/// The most digests that a request has room for.
pub const MOST_DIGESTS: usize = 150;

/// What load to put on which server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it listens.
    pub server: SocketAddr,
    /// When requests are sent.
    pub pace: Pace,
    /// How long requests are sent before they count.
    pub warm_up: Duration,
    /// How long requests that count are sent.
    pub duration: Duration,
    /// How many requests are sent, warming up included, if the time does not end before.
    pub requests: Option<u64>,
    /// How many sockets send; each has a thread.
    pub sockets: NonZeroU64,
    /// Which operations are asked for.
    pub mix: Mix,
    /// Who signs the requests; they are anonymous without.
    pub account: Option<Account>,
    /// How many digests there are.
    pub digests: u64,
    /// Which of them are asked for.
    pub draw: Draw,
    /// How many of them go into a request, up to [`MOST_DIGESTS`].
    pub batch: usize,
    /// After this a request is lost.
    pub timeout: Duration,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// The CPU that the threads run on, if they are to stay on one. With a fixed rate they keep it busy.
    pub cpu: Option<usize>,
}

impl Plan {
    /// 64 outstanding checks of 100,000 digests on one socket for 10 seconds.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            pace: Pace::Closed { outstanding: 64 },
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(10),
            requests: None,
            sockets: NonZeroU64::MIN,
            mix: Mix::only(pyzord_core::Operation::Check),
            account: None,
            digests: 100_000,
            draw: Draw::Uniform,
            batch: 1,
            timeout: Duration::from_secs(1),
            seed: 1,
            cpu: None,
        }
    }
}

/// How far a load is, for those who watch it. What arrives while it warms up is in it, too.
#[derive(Debug, Default)]
pub struct Progress {
    answered: AtomicU64,
    lost: AtomicU64,
}

impl Progress {
    /// Requests answered and lost so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }
}

/// Puts the load on the server. Returns after the last answer, or when it was waited for long enough.
///
/// # Errors
/// When a socket cannot be opened or fails; a server that does not listen is no error, its requests are lost.
pub fn run(plan: &Plan, progress: &Progress) -> io::Result<Report> {
    let sockets: Vec<UdpSocket> =
        (0..plan.sockets.get()).map(|_| wire::connect(plan.server)).collect::<io::Result<_>>()?;
    // All begin together, with their buffers in place.
    let ready = Barrier::new(sockets.len());
    let load = |(index, socket)| {
        let worker = Worker::new(plan, progress, socket, index);
        ready.wait();
        worker.run(Clock::start())
    };
    thread::scope(|scope| {
        let load = &load;
        let threads: Vec<_> = (0..).zip(sockets).map(|socket| scope.spawn(move || load(socket))).collect();
        let mut all = Report::new();
        for thread in threads {
            all.add(&thread.join().map_err(|_| io::Error::other("a thread of the generator panicked"))??);
        }
        Ok(all)
    })
}
