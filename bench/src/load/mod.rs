//! Puts a load on a Pyzor server: sends requests at a pace and records what became of each.

mod batch_socket;
mod digests;
mod in_flight;
mod mix;
mod pace;
mod plan;
mod progress;
mod report;
mod request;
mod worker;

use std::net::UdpSocket;
use std::sync::Barrier;
use std::thread;

use anyhow::{Context as _, anyhow};

pub use digests::{Distribution, numbered};
pub use mix::Mix;
pub use pace::Pace;
pub use plan::{LoadPlan, MOST_DIGESTS, MOST_OUTSTANDING};
pub use progress::LoadProgress;
pub use report::{Latencies, Report};
pub use request::Signer;

use crate::clock::Clock;
use worker::Worker;

/// Puts the load on the server. Returns when every request was answered or has timed out.
///
/// # Errors
/// When a socket cannot be opened or fails. A server that does not listen is not an error: its requests are lost.
pub fn run(plan: &LoadPlan, progress: &LoadProgress) -> anyhow::Result<Report> {
    let sockets: Vec<UdpSocket> = (0..plan.sockets.get())
        .map(|_| batch_socket::connect(plan.server))
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot open a socket for {}", plan.server))?;
    // All threads start together, after all buffers are allocated.
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
            all.add(&thread.join().map_err(|_| anyhow!("a thread of the load generator panicked"))??);
        }
        Ok(all)
    })
}
