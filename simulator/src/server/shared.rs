//! The state that the parts of a server share.

use std::collections::VecDeque;
use std::sync::Arc;

use pyzord_core::{Guard, Limits, Policy, Rate};
use pyzord_runtime::Queue;

use crate::checker::BatchEntry;
use crate::context::Context;
use crate::payload::Datagram;
use crate::plan::Sabotage;
use crate::rules::Rules;

#[derive(Debug)]
pub(super) struct Shared {
    /// The number of this server among all servers of the run.
    pub(super) generation: u32,
    pub(super) rules: Arc<Rules>,
    pub(super) policy: Arc<Policy>,
    pub(super) guard: Guard,
    /// The receive buffer.
    pub(super) buffer: VecDeque<Datagram>,
    pub(super) queue: Queue,
    /// The copies in the batches of the queue, in the same order.
    pub(super) queued: VecDeque<BatchEntry>,
    pub(super) stopping: bool,
}

impl Shared {
    pub(super) fn new(context: &mut Context, generation: u32, rules: &Arc<Rules>) -> Self {
        Self {
            generation,
            rules: Arc::clone(rules),
            policy: Arc::new(rules.policy()),
            guard: guard(context),
            buffer: VecDeque::new(),
            queue: Queue::new(queue_connections(context)),
            queued: VecDeque::new(),
            stopping: false,
        }
    }

    /// Reloads the rules: all of them, or none if the reload fails.
    pub(super) fn reload(&mut self, context: &mut Context, rules: &Arc<Rules>, fails: bool) {
        context.note(|| format!("reload: {}", if fails { "fails".to_owned() } else { format!("{rules:?}") }));
        if fails {
            if context.has(Sabotage::FailedReloadForgets) {
                self.policy = Arc::new(Policy::default());
            }
            return;
        }
        if context.has(Sabotage::ReloadForgetsCopies) {
            self.guard = guard(context);
        }
        let mixed = context.has(Sabotage::MixesPolicies);
        self.policy = Arc::new(if mixed { rules.mixed_with(&self.rules) } else { rules.policy() });
        self.rules = Arc::clone(rules);
    }
}

/// Creates an empty guard.
fn guard(context: &mut Context) -> Guard {
    let mut limits = Limits::default();
    limits.replays = context.config.copies;
    limits.requests = context.config.requests;
    limits.failures = context.config.failures;
    if context.has(Sabotage::LimitsNobody) {
        (limits.requests, limits.failures) = (Rate::UNLIMITED, Rate::UNLIMITED);
    }
    if context.has(Sabotage::LimitsEverybody) {
        limits.ipv4_prefix = 0;
    }
    Guard::new(limits, context.random.bytes())
}

/// Returns the number of connections for which the queue has room.
fn queue_connections(context: &Context) -> usize {
    match context.config.connections {
        _ if context.has(Sabotage::EndlessQueue) => 1000,
        _ if context.has(Sabotage::RefusesEarly) => 0,
        connections => connections,
    }
}
