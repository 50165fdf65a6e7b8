//! The handles of the core's server.

use std::sync::Arc;

use pyzord_core::{Guard, Limits, Policy, Server};

use crate::context::Context;
use crate::plan::Sabotage;

/// The handles of one server process. All of them have the same policy and the same guard.
#[derive(Debug)]
pub(super) struct Handles {
    /// One for each worker.
    workers: Vec<Server>,
    /// Resolves the batches of the workers and of the connections.
    resolving: Server,
}

impl Handles {
    /// Creates handles with an empty guard.
    pub(super) fn new(context: &mut Context, policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let first = Server::new(Arc::clone(&policy), guard(context));
        let workers = (0..context.config.workers).map(|index| {
            let own = index > 0 && context.has(Sabotage::GuardPerWorker);
            if own { Server::new(Arc::clone(&policy), guard(context)) } else { first.clone() }
        });
        let workers = workers.collect();
        let other = context.has(Sabotage::NeverSettles);
        let resolving = if other { Server::new(policy, guard(context)) } else { first };
        Self { workers, resolving }
    }

    /// Returns the handle with which the worker with this index accepts datagrams.
    pub(super) fn worker(&self, index: usize) -> &Server {
        #[expect(clippy::indexing_slicing, reason = "each worker has a handle")]
        &self.workers[index]
    }

    /// Returns the handle that resolves batches.
    pub(super) const fn resolving(&self) -> &Server {
        &self.resolving
    }

    /// Replaces the policy of all handles. The guard stays.
    pub(super) fn replace_policy(&mut self, policy: Policy) {
        let policy = Arc::new(policy);
        for handle in self.workers.iter_mut().chain([&mut self.resolving]) {
            handle.replace_policy(Arc::clone(&policy));
        }
    }
}

/// Creates an empty guard.
fn guard(context: &mut Context) -> Guard {
    let mut limits = Limits::default();
    limits.signed_counts = context.config.copies;
    limits.requests = context.config.requests;
    limits.failures = context.config.failures;
    if context.has(Sabotage::LimitsNobody) {
        (limits.requests, limits.failures) = (None, None);
    }
    if context.has(Sabotage::LimitsEverybody) {
        limits.ipv4_prefix = 0;
    }
    Guard::new(limits, context.random.bytes())
}
