//! What everybody in a run shares: time, chance, the agenda, the judge, and the trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::{CleanupAge, Rate, Tick};

use crate::clock::Clock;
use crate::database::{Application, Health};
use crate::invariant::Checked;
use crate::judge::{Judge, Past};
use crate::message::{Datagram, Parcel};
use crate::plan::{Nuisance, Plan, Sabotage};
use crate::random::Random;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A datagram reaches the server's machine.
    Arrival(Datagram),
    /// A reply reaches a client, with this code.
    Reply { client: SocketAddr, code: u16 },
    /// A client sends, for the first time or again.
    Send { client: SocketAddr },
    /// A peer who is up to something sends.
    Mischief,
    /// A flood begins.
    Flood,
    /// A worker goes on, of the server with this number.
    Worker { life: u32, index: usize },
    /// A thread with a remote store goes on.
    Connection { life: u32, index: usize },
    /// Upkeep goes on.
    Upkeep { life: u32 },
    /// A remote database does what it was asked to.
    Application(Application),
    /// Something goes wrong, or right again.
    Trouble(Trouble),
    /// The next act begins.
    Act,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Health(Health),
    Reload { fails: bool },
    Clock { correct: bool },
    Crash { power: bool },
    Stop,
    Start,
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) judge: Judge,
    pub(crate) config: Config,
    plan: Plan,
    agenda: BTreeMap<(Tick, u64), Event>,
    scheduled: u64,
    copies: u64,
    /// The last replies, for those who send them back.
    pub(crate) replies: Vec<Vec<u8>>,
    trace: Option<Vec<String>>,
}

/// How the server is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    /// How many connections there are to a remote database; none for a local one.
    pub(crate) connections: usize,
    /// How many datagrams a worker receives at once.
    pub(crate) batch: usize,
    /// How many datagrams the receive buffer holds.
    pub(crate) buffer: usize,
    pub(crate) cleanup: CleanupAge,
    /// How many signed counts it remembers.
    pub(crate) copies: usize,
    /// How much a host may ask for.
    pub(crate) requests: Rate,
    /// How many wrong signatures of a host are answered.
    pub(crate) failures: Rate,
}

const fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second, burst }
}

impl Stage {
    pub(crate) fn new(plan: Plan, traced: bool) -> Self {
        let mut random = Random::new(plan.seed);
        let usize = |number: Option<u32>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
        let config = Config {
            workers: usize(random.pick(&[1, 1, 2, 4])),
            connections: usize(random.pick(&[0, 0, 1, 2, 3])),
            batch: usize(random.pick(&[1, 2, 8, 64])),
            buffer: usize(random.pick(&[16, 256])),
            cleanup: CleanupAge(random.pick(&[0, 60, 3600, 259_200, 10_368_000]).unwrap_or(0)),
            copies: usize(random.pick(&[0, 65_536, 65_536])),
            requests: random.pick(&[Rate::UNLIMITED, rate(1, 40), rate(10, 60)]).unwrap_or(Rate::UNLIMITED),
            failures: random.pick(&[Rate::UNLIMITED, rate(1, 20), rate(5, 50)]).unwrap_or(Rate::UNLIMITED),
        };
        let past = Past::new(config.copies != 0, config.requests, config.failures);
        Self {
            clock: Clock::default(),
            random,
            judge: Judge::new(past),
            config,
            plan,
            agenda: BTreeMap::new(),
            scheduled: 0,
            copies: 0,
            replies: Vec::new(),
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.config.connections == 0
    }

    /// Whether the run has this kind of trouble, and it strikes now.
    pub(crate) fn strikes(&mut self, nuisance: Nuisance, percent: u64) -> bool {
        // Chance is asked either way, so that what is left out changes as little of the rest as possible.
        self.random.percent(percent) && !self.plan.without.contains(&nuisance)
    }

    pub(crate) fn has(&self, sabotage: Sabotage) -> bool {
        self.plan.sabotage == Some(sabotage)
    }

    /// Puts an event on the agenda.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.scheduled += 1;
        self.agenda.insert((self.clock.tick().after(delay), self.scheduled), event);
    }

    /// Goes on to the next event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((due, _), event) = self.agenda.pop_first()?;
        self.clock.advance(due);
        Some(event)
    }

    /// Sends a datagram to the server, through a network that does what it likes with it.
    pub(crate) fn send(&mut self, source: SocketAddr, parcel: &Arc<Parcel>) {
        let copies = if self.strikes(Nuisance::Repeats, 5) { 2 } else { 1 };
        for _ in 0..copies {
            let Some(delay) = self.network_delay() else { continue };
            self.copies += 1;
            let datagram = Datagram { copy: self.copies, source, parcel: Arc::clone(parcel) };
            self.after(delay, Event::Arrival(datagram));
        }
    }

    /// Sends the server's answer to a copy.
    pub(crate) fn reply(&mut self, copy: u64, client: SocketAddr, bytes: &[u8]) -> Checked {
        let (now, local) = (self.clock.tick(), self.is_local());
        let code = self.judge.replied(copy, client, bytes, now, local)?;
        self.note(|| format!("copy {copy}: {code} to {client}"));
        if self.replies.len() == 8 {
            self.replies.remove(0);
        }
        self.replies.push(bytes.to_vec());
        if let Some(delay) = self.network_delay() {
            self.after(delay, Event::Reply { client, code });
        }
        Ok(())
    }

    fn network_delay(&mut self) -> Option<Duration> {
        if self.strikes(Nuisance::Loss, 8) {
            return None;
        }
        let longest = if self.strikes(Nuisance::Delays, 5) { 8_000_000 } else { 5_000 };
        Some(self.random.micros(50, longest))
    }

    /// Leaves trouble out from now on.
    pub(crate) fn quieten(&mut self) {
        self.plan.without = Nuisance::ALL.into();
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let elapsed = self.clock.elapsed();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6}.{:06} s  {}", elapsed.as_secs(), elapsed.subsec_micros(), line()));
        }
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}
