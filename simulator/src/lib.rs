//! A deterministic simulation of a Pyzor server, with faults.
//!
//! The simulator is a runtime in virtual time, beside those of threads and of tasks. It drives the same parts: the
//! core's [`Server`](pyzord_core::Server), [`Batch`](pyzord_core::Batch), [`Schedule`](pyzord_core::Schedule) and
//! [`MemoryStore`](pyzord_core::MemoryStore), the runtimes' [`Queue`](pyzord_runtime::Queue) and the engines'
//! [`ConnectionManager`](pyzord_engines::ConnectionManager). It has no threads, sockets or clocks: their work is divided
//! into steps in one queue of events, and a seed determines the order. A day of virtual time takes milliseconds, and
//! the same seed always gives the same run.
//!
//! Clients send, repeat and give up; attackers forge, replay, flood and send garbage; the network loses, repeats and
//! delays; databases fail, hang and go down before or after they have counted; files are reloaded, clocks are set,
//! servers are stopped and killed, and machines lose power. At every step a checker with models of its own checks each
//! [`Invariant`].
//!
//! ```
//! use pyzord_simulator::{Plan, run};
//!
//! let summary = run(&Plan::new(1))?;
//! assert!(summary.answered > 0);
//! # Ok::<(), pyzord_simulator::Violation>(())
//! ```

mod checker;
mod clients;
mod clock;
mod context;
mod database;
mod event;
mod invariant;
mod payload;
mod plan;
mod random;
mod rules;
mod server;
mod simulation;

use std::time::Duration;

pub use invariant::{Invariant, Violation};
pub use plan::{Fault, Plan, Sabotage};
use simulation::Simulation;

/// The figures of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Events.
    pub steps: u64,
    /// Replies of the server.
    pub answered: u64,
    /// Virtual time.
    pub elapsed: Duration,
}

/// Runs a plan.
///
/// # Errors
/// The first invariant that did not hold.
pub fn run(plan: &Plan) -> Result<Summary, Violation> {
    let mut simulation = Simulation::new(plan.clone(), false);
    simulation.run()?;
    Ok(summary(&simulation))
}

/// Runs a plan and returns its trace: one line per event, with its virtual time.
pub fn trace(plan: &Plan) -> (Vec<String>, Result<Summary, Violation>) {
    let mut simulation = Simulation::new(plan.clone(), true);
    let outcome = simulation.run();
    (simulation.context.take_trace(), outcome.map(|()| summary(&simulation)))
}

/// Returns the smallest plan that breaks `invariant` as `plan` does.
#[must_use]
pub fn minimise(plan: &Plan, invariant: Invariant) -> Plan {
    let mut least = plan.clone();
    let fails = |plan: &Plan| run(plan).is_err_and(|violation| violation.invariant == invariant);
    loop {
        let Some(smaller) = simulation::smaller(&least).find(fails) else { return least };
        least = smaller;
    }
}

fn summary(simulation: &Simulation) -> Summary {
    Summary {
        steps: simulation.steps,
        answered: simulation.context.checker.answered,
        elapsed: simulation.context.clock.elapsed(),
    }
}
