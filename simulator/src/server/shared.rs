//! The state that the parts of a server process share.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use pyzord_core::Policy;
use pyzord_runtime::{CountsUnderWay, Queue, Splitter};

use super::handles::Handles;
use crate::context::Context;
use crate::payload::{Datagram, Sender};
use crate::plan::Sabotage;
use crate::rules::Rules;

#[derive(Debug)]
pub(super) struct Shared {
    /// The number of this server among all servers of the run.
    pub(super) generation: u32,
    pub(super) rules: Arc<Rules>,
    pub(super) handles: Handles,
    /// The hosts that [`Sabotage::FailuresShutOut`] does not serve.
    pub(super) shut_out: BTreeSet<IpAddr>,
    /// The receive buffer.
    pub(super) buffer: VecDeque<Datagram>,
    pub(super) queue: Queue<Sender>,
    /// For workers that read from a split store.
    pub(super) splitter: Splitter,
    pub(super) stopping: bool,
}

impl Shared {
    pub(super) fn new(context: &mut Context, generation: u32, rules: &Arc<Rules>) -> Self {
        let under_way = || Arc::new(CountsUnderWay::with_secret([7; 16]));
        let (shown, stores) = (under_way(), queue_connections(context));
        let queue = if context.config.split {
            Queue::beside_readers(stores, Arc::clone(&shown))
        } else {
            Queue::new(stores)
        };
        let seen = if context.has(Sabotage::ReadsPassCounts) { under_way() } else { shown };
        Self {
            generation,
            rules: Arc::clone(rules),
            handles: Handles::new(context, rules.policy()),
            shut_out: BTreeSet::new(),
            buffer: VecDeque::new(),
            queue,
            splitter: Splitter::new(seen),
            stopping: false,
        }
    }

    /// Reloads the rules: all of them, or none if the reload fails.
    pub(super) fn reload(&mut self, context: &mut Context, rules: &Arc<Rules>, fails: bool) {
        context.note(|| format!("reload: {}", if fails { "fails".to_owned() } else { format!("{rules:?}") }));
        if fails {
            if context.has(Sabotage::FailedReloadForgets) {
                self.handles.replace_policy(Policy::default());
            }
            return;
        }
        let mixed = context.has(Sabotage::MixesPolicies);
        let policy = if mixed { rules.mixed_with(&self.rules) } else { rules.policy() };
        if context.has(Sabotage::ReloadForgetsCopies) {
            self.handles = Handles::new(context, policy);
        } else {
            self.handles.replace_policy(policy);
        }
        self.rules = Arc::clone(rules);
    }
}

/// Returns the number of connections for which the queue has room.
fn queue_connections(context: &Context) -> usize {
    match context.config.connections {
        _ if context.has(Sabotage::EndlessQueue) => 1000,
        _ if context.has(Sabotage::RefusesEarly) => 0,
        connections => connections,
    }
}
