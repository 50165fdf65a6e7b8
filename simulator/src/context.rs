//! The state that all parts of a run share: time, random numbers, the queue of events, the checker and the trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{CleanupAge, Rate, Tick};

use crate::checker::{Checker, GuardModel};
use crate::clock::Clock;
use crate::event::Event;
use crate::invariant::Checked;
use crate::payload::{Datagram, Payload};
use crate::plan::{Fault, Plan, Sabotage};
use crate::random::Random;

/// Replies that attackers can send back: the last ones.
const KEPT_REPLIES: usize = 8;

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) checker: Checker,
    pub(crate) config: Config,
    plan: Plan,
    /// The events by time, and in the order of scheduling.
    events: BTreeMap<(Tick, u64), Event>,
    scheduled: u64,
    copies: u64,
    /// The last replies.
    pub(crate) replies: Vec<Vec<u8>>,
    trace: Option<Vec<String>>,
}

/// The configuration of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// Connections to a remote database, or writers of a split one; 0 for a local one.
    pub(crate) connections: usize,
    /// Whether workers read from the file, and others count.
    pub(crate) split: bool,
    /// The most datagrams that a worker receives at once.
    pub(crate) batch: usize,
    /// Datagrams in the receive buffer.
    pub(crate) buffer: usize,
    /// `None` if no record expires.
    pub(crate) cleanup: Option<CleanupAge>,
    /// Signed counts that the server remembers.
    pub(crate) copies: usize,
    /// Whether the database keeps the marks of signed counts. A local one does not.
    pub(crate) marks: bool,
    /// Requests per host; `None` for no limit.
    pub(crate) requests: Option<Rate>,
    /// Answered wrong signatures per host; `None` for no limit.
    pub(crate) failures: Option<Rate>,
}

/// Returns a rate; `None`, for no limit, if one of the numbers is 0.
fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
}

impl Context {
    pub(crate) fn new(plan: Plan, traced: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let config = Config {
            workers: random.pick(&[1, 1, 2, 4]),
            connections: random.pick(&[0, 0, 1, 2, 3]),
            split: false,
            batch: random.pick(&[1, 2, 8, 64]),
            buffer: random.pick(&[16, 256]),
            cleanup: CleanupAge::from_seconds(random.pick(&[0, 60, 3600, 259_200, 10_368_000])),
            copies: random.pick(&[0, 65_536, 65_536]),
            marks: !plan.seed.is_multiple_of(4) && plan.sabotage != Some(Sabotage::TakesUnknownForRefused),
            requests: random.pick(&[None, rate(1, 40), rate(10, 60)]),
            failures: random.pick(&[None, rate(1, 20), rate(5, 50)]),
        };
        let split = config.connections > 0 && plan.seed.is_multiple_of(3);
        let config = Config { split, marks: config.marks && config.connections > 0 && !split, ..config };
        let guard = GuardModel::new(config.copies != 0, config.marks, config.requests, config.failures);
        Self {
            clock: Clock::default(),
            random,
            checker: Checker::new(guard),
            config,
            plan,
            events: BTreeMap::new(),
            scheduled: 0,
            copies: 0,
            replies: Vec::new(),
            trace: traced.then(Vec::new),
        }
    }

    /// Whether workers execute all calls.
    pub(crate) fn is_local(&self) -> bool {
        self.config.connections == 0
    }

    /// Whether the database is a file on the server's machine.
    pub(crate) fn is_file(&self) -> bool {
        self.is_local() || self.config.split
    }

    /// Returns whether the fault happens now: with this probability, unless the plan excludes it.
    pub(crate) fn injects(&mut self, fault: Fault, percent: u64) -> bool {
        // An excluded fault draws its random number too, so that the rest of the run changes as little as possible.
        self.random.percent(percent) && !self.plan.without.contains(&fault)
    }

    pub(crate) fn has(&self, sabotage: Sabotage) -> bool {
        self.plan.sabotage == Some(sabotage)
    }

    /// Schedules an event.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.clock.tick().after(delay), self.scheduled), event);
    }

    /// Advances the time to the next event and returns it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((due, _), event) = self.events.pop_first()?;
        self.clock.advance(due);
        Some(event)
    }

    /// Sends a datagram to the server, over a network that loses, repeats and delays.
    pub(crate) fn send(&mut self, source: SocketAddr, payload: &Arc<Payload>) {
        let copies = if self.injects(Fault::Repeats, 5) { 2 } else { 1 };
        for _ in 0..copies {
            let Some(delay) = self.network_delay() else { continue };
            self.copies += 1;
            let datagram = Datagram { copy: self.copies, source, payload: Arc::clone(payload) };
            self.after(delay, Event::Arrival(datagram));
        }
    }

    /// Sends the server's reply to a copy.
    pub(crate) fn reply(&mut self, copy: u64, client: SocketAddr, bytes: &[u8]) -> Checked {
        let (now, local) = (self.clock.tick(), self.is_local());
        let code = self.checker.replied(copy, client, bytes, now, local)?;
        self.note(|| format!("copy {copy}: {code} to {client}"));
        if self.replies.len() == KEPT_REPLIES {
            self.replies.remove(0);
        }
        self.replies.push(bytes.to_vec());
        if let Some(delay) = self.network_delay() {
            self.after(delay, Event::Reply { client, code });
        }
        Ok(())
    }

    /// Returns the delay of a datagram; `None` if it is lost.
    fn network_delay(&mut self) -> Option<Duration> {
        if self.injects(Fault::Loss, 8) {
            return None;
        }
        let longest = if self.injects(Fault::Delays, 5) { 8_000_000 } else { 5_000 };
        Some(self.random.micros(50, longest))
    }

    /// Excludes all faults from now on.
    pub(crate) fn stop_faults(&mut self) {
        self.plan.without = Fault::ALL.into();
    }

    /// Adds a line to the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let elapsed = self.clock.elapsed();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6}.{:06} s  {}", elapsed.as_secs(), elapsed.subsec_micros(), line()));
        }
    }

    /// Takes the trace, which is empty if the run is not traced.
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}
