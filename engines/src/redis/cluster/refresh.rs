//! Asks for the topology when it has changed, on a thread of its own.

use std::time::Duration;

use ::redis::ConnectionInfo;
use pyzord_core::Tick;

use super::super::options::Options;
use super::topology::{self, Topology, TopologyError};
use crate::connector::{AttemptError, Connector};
use crate::hosts::Host;

/// The shortest time between two questions. A node that fails and a slot that moves make many calls ask.
const PERIOD: Duration = Duration::from_millis(500);
/// The same if the question was refused, for want of a right as a rule. Redirections tell enough to serve.
const PERIOD_IF_REFUSED: Duration = Duration::from_secs(30);
/// How much time a node has for its answer at most.
const LONGEST: Duration = Duration::from_secs(1);
/// How many nodes are asked at once, one after another.
const MOST_ASKED: usize = 5;

/// What is needed to ask for the topology.
#[derive(Debug)]
pub(super) struct Refresh {
    connector: Connector<Topology, TopologyError>,
    /// The nodes of the DSN.
    seeds: Vec<Host>,
    /// How much time a node has for its answer.
    limit: Duration,
    expired: bool,
    running: bool,
    /// A question was answered, or has failed.
    asked: bool,
    failure: Option<String>,
    /// When the next question is due.
    due: Tick,
    /// Each question begins with another node: one that is cut off from the others tells old things.
    turn: usize,
}

impl Refresh {
    pub(super) fn new(seeds: Vec<Host>, options: Options) -> Self {
        Self {
            connector: Connector::new("redis-topology", options.connect),
            seeds,
            limit: options.handshake.min(LONGEST),
            expired: true,
            running: false,
            asked: false,
            failure: None,
            due: Tick::default(),
            turn: 0,
        }
    }

    /// Learns that the topology has changed, or may have.
    pub(super) fn expire(&mut self) {
        self.expired = true;
    }

    /// Returns whether a question was answered, or has failed.
    pub(super) fn has_asked(&self) -> bool {
        self.asked
    }

    /// Returns why the last question failed, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Waits at most `wait` for the answer to a question that is due or under way. Without `now`, one is always due.
    pub(super) fn poll(
        &mut self,
        now: Option<Tick>,
        wait: Duration,
        name: &str,
        info: &ConnectionInfo,
        known: &Topology,
    ) -> Option<Topology> {
        let due = self.expired && now.is_none_or(|now| self.due <= now);
        if !self.running && !due {
            return None;
        }
        let nodes = if self.running { Vec::new() } else { self.next_nodes(known) };
        let (info, limit) = (info.clone(), self.limit);
        let result = self.connector.poll(wait, move || topology::ask(&info, &nodes, limit));
        self.running = matches!(result, Ok(None));
        if self.running {
            return None;
        }
        (self.asked, self.expired) = (true, false);
        let refused = matches!(result, Err(AttemptError::Failed(TopologyError::Refused(..))));
        self.due = now.unwrap_or_default().after(if refused { PERIOD_IF_REFUSED } else { PERIOD });
        match result {
            Ok(topology) => {
                self.failure = None;
                topology.inspect(|topology| tell(name, known, topology))
            }
            Err(error) => {
                self.expired = true;
                if self.failure.is_none() {
                    log::warn!("{name}: it is not known which node has which slot: {error}");
                }
                self.failure = Some(error.to_string());
                None
            }
        }
    }

    /// Returns the nodes to ask: some of those that are known, and some of the DSN.
    fn next_nodes(&mut self, known: &Topology) -> Vec<Host> {
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        let rotated = |hosts: &[Host], most: usize| -> Vec<Host> {
            let from = turn.checked_rem(hosts.len()).unwrap_or_default();
            hosts.iter().cycle().skip(from).take(most.min(hosts.len())).cloned().collect()
        };
        let mut nodes = rotated(&known.masters, MOST_ASKED - 2);
        for other in [rotated(&known.replicas, 1), rotated(&self.seeds, MOST_ASKED)].concat() {
            if nodes.len() < MOST_ASKED && !nodes.contains(&other) {
                nodes.push(other);
            }
        }
        nodes
    }
}

/// Logs what has changed.
fn tell(name: &str, known: &Topology, topology: &Topology) {
    let sorted = |topology: &Topology| {
        let mut masters: Vec<_> = topology.masters.iter().map(Host::to_string).collect();
        masters.sort_unstable();
        masters
    };
    let (old, new) = (sorted(known), sorted(topology));
    if !known.is_known() {
        log::debug!("{name}: its masters are {}", new.join(", "));
    } else if old != new {
        log::info!("{name}: its masters are now {}", new.join(", "));
    }
}
