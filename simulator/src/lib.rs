//! A whole Pyzor server in virtual time, with everything that can happen to it.
//!
//! This is a third runtime beside the ones of threads and tasks. It drives the same parts: the core's
//! [`Batch`](pyzord_core::Batch), [`Policy`](pyzord_core::Policy), [`Guard`](pyzord_core::Guard),
//! [`Schedule`](pyzord_core::Schedule) and [`MemoryStore`](pyzord_core::MemoryStore), the runtimes'
//! [`Queue`](pyzord_runtime::Queue) and the engines'
//! [`ConnectionManager`](pyzord_engines::ConnectionManager). But it has no threads, no sockets and no clocks: all that they would do is
//! cut into steps on one agenda, and a seed decides what happens when. Days of a server's life take a
//! millisecond, and the same seed is the same run, always.
//!
//! Clients ask, repeat and give up; other peers forge, replay, flood and send garbage; the network loses, repeats
//! and delays; databases fail, hang and go away before or after they have counted; files are reloaded, clocks
//! are set, servers are stopped and killed, and machines lose their power. At every step a judge, who has
//! models of his own, checks each [`Invariant`].
//!
//! ```
//! use pyzord_simulator::{Plan, run};
//!
//! let summary = run(&Plan::new(1))?;
//! assert!(summary.answered > 0);
//! # Ok::<(), pyzord_simulator::Violation>(())
//! ```

mod clients;
mod clock;
mod database;
mod invariant;
mod judge;
mod law;
mod message;
mod plan;
mod random;
mod server;
mod stage;
mod world;

use std::time::Duration;

pub use invariant::{Invariant, Violation};
pub use plan::{Nuisance, Plan, Sabotage};
use world::World;

/// What a run was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Steps that were taken.
    pub steps: u64,
    /// Replies that the server sent.
    pub answered: u64,
    /// How long it took in virtual time.
    pub elapsed: Duration,
}

/// Runs a plan.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(plan: &Plan) -> Result<Summary, Violation> {
    let mut world = World::new(plan.clone(), false);
    world.run()?;
    Ok(summary(&world))
}

/// Runs a plan and writes down what happens: one line for each event, with its virtual time.
pub fn trace(plan: &Plan) -> (Vec<String>, Result<Summary, Violation>) {
    let mut world = World::new(plan.clone(), true);
    let outcome = world.run();
    (world.stage.take_trace(), outcome.map(|()| summary(&world)))
}

/// Makes a plan that breaks `invariant` as small as it can be and still do so.
#[must_use]
pub fn minimise(plan: &Plan, invariant: Invariant) -> Plan {
    let mut least = plan.clone();
    let fails = |plan: &Plan| run(plan).is_err_and(|violation| violation.invariant == invariant);
    loop {
        let Some(smaller) = world::smaller(&least).find(fails) else { return least };
        least = smaller;
    }
}

fn summary(world: &World) -> Summary {
    Summary { steps: world.steps, answered: world.stage.judge.answered, elapsed: world.stage.clock.elapsed() }
}
