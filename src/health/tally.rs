//! What the counters say, reduced to what the verdict needs.

use std::collections::HashMap;
use std::time::Duration;

use pyzord_core::{IpNet, Tick};
use pyzord_runtime::{Counters, Details, Distribution, Suspect, Suspicion, TopClient};

use crate::kernel_drops::KernelDrops;
use crate::logs::Logs;

/// A reply, or a batch of the database, that takes longer than this is slow, in nanoseconds. A filter waits for it.
const SLOW: u64 = 250_000_000;
/// The shortest time between two readings.
const LEAST: Duration = Duration::from_millis(900);
/// How many networks are kept of each second.
const NETWORKS: usize = 32;

/// Numbers of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) received: u64,
    /// Datagrams that the system dropped, as the receive buffer was full.
    pub(super) kernel_drops: u64,
    /// Datagrams that the limit of requests dropped.
    pub(super) over_limit: u64,
    /// Requests that got 500 because too many wait for the database.
    pub(super) overloaded: u64,
    /// Requests that got a reply.
    pub(super) requests: u64,
    /// Those that got 500.
    pub(super) failed: u64,
    pub(super) timed: u64,
    pub(super) slow: u64,
    pub(super) batches: u64,
    pub(super) slow_batches: u64,
    pub(super) unreadable: u64,
    pub(super) internal_errors: u64,
    pub(super) log_lines_lost: u64,
}

/// What one network has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Talk {
    pub(super) datagrams: u64,
    /// Those that limits and lists have dropped.
    pub(super) dropped: u64,
}

/// What one network was noticed for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notice {
    /// The last user.
    pub(super) user: String,
    pub(super) count: u64,
}

/// What happened between two looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    pub(super) began: Tick,
    pub(super) ended: Tick,
    pub(super) tally: Tally,
    /// The networks that sent most in this time.
    pub(super) networks: HashMap<IpNet, Talk>,
    pub(super) notices: HashMap<(IpNet, Suspicion), Notice>,
}

/// Reads the counters and tells what has changed.
#[derive(Debug, Default)]
pub(super) struct Meter {
    at: Tick,
    tally: Tally,
    networks: HashMap<IpNet, TopClient>,
    notices: HashMap<(IpNet, Suspicion), Notice>,
}

impl Meter {
    /// Whether there is enough time since the last call.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        now.since(self.at) >= LEAST
    }

    /// Returns what has happened since the last call; at first, since the start of the server.
    pub(super) fn read(&mut self, counters: &Counters, logs: &Logs, kernel_drops: &KernelDrops) -> Interval {
        let at = counters.clock().tick();
        let details = counters.details(usize::MAX);
        let mut tally = Tally::read(counters, &details, logs);
        tally.kernel_drops = kernel_drops.count().unwrap_or(self.tally.kernel_drops);
        let networks = self.talks(&details.top_clients);
        let notices = notices(details.suspects);
        let interval = Interval {
            began: self.at,
            ended: at,
            tally: tally.since(&self.tally),
            networks,
            notices: self.new_notices(&notices),
        };
        self.notices = notices;
        self.networks = details.top_clients.into_iter().map(|client| (client.network, client)).collect();
        (self.at, self.tally) = (at, tally);
        interval
    }

    /// Returns what the networks have sent since the last call.
    fn talks(&self, now: &[TopClient]) -> HashMap<IpNet, Talk> {
        let talk = |client: &TopClient| {
            let before = self.networks.get(&client.network);
            // A network that took over an entry also took the count of another one.
            let before = before.filter(|before| before.excess == client.excess);
            let talk = before.map_or(
                Talk { datagrams: client.datagrams.saturating_sub(client.excess), dropped: client.dropped },
                |before| Talk {
                    datagrams: client.datagrams.saturating_sub(before.datagrams),
                    dropped: client.dropped.saturating_sub(before.dropped),
                },
            );
            (client.network, talk)
        };
        let mut talks: Vec<(IpNet, Talk)> =
            now.iter().map(talk).filter(|(_, talk)| talk.datagrams > 0).collect();
        talks.sort_unstable_by_key(|(_, talk)| std::cmp::Reverse(talk.datagrams));
        talks.truncate(NETWORKS);
        talks.into_iter().collect()
    }

    /// Returns what the networks were noticed for since the last call.
    fn new_notices(&self, now: &HashMap<(IpNet, Suspicion), Notice>) -> HashMap<(IpNet, Suspicion), Notice> {
        let new = |(key, notice): (&(IpNet, Suspicion), &Notice)| {
            let before = self.notices.get(key).map_or(0, |before| before.count);
            // An entry that was lost and made again begins anew.
            let count = notice.count.checked_sub(before).unwrap_or(notice.count);
            (*key, Notice { user: notice.user.clone(), count })
        };
        now.iter().map(new).filter(|(_, notice)| notice.count > 0).collect()
    }
}

impl Interval {
    /// Adds the interval that follows this one.
    pub(super) fn add(&mut self, next: &Self) {
        self.ended = next.ended;
        self.tally = self.tally.plus(&next.tally);
        for (network, talk) in &next.networks {
            let sum = self.networks.entry(*network).or_default();
            sum.datagrams += talk.datagrams;
            sum.dropped += talk.dropped;
        }
        for (key, notice) in &next.notices {
            let sum = self.notices.entry(*key).or_default();
            sum.user.clone_from(&notice.user);
            sum.count += notice.count;
        }
    }
}

/// Adds up what all threads have noticed.
fn notices(suspects: Vec<Suspect>) -> HashMap<(IpNet, Suspicion), Notice> {
    let mut sums: HashMap<(IpNet, Suspicion), Notice> = HashMap::new();
    for suspect in suspects {
        let sum = sums.entry((suspect.network, suspect.suspicion)).or_default();
        sum.count += suspect.count;
        sum.user = suspect.user;
    }
    sums
}

impl Tally {
    fn read(counters: &Counters, details: &Details, logs: &Logs) -> Self {
        let counts = counters.counts();
        let dropped = |wanted| counts.dropped.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, n)| *n);
        let with_code = |wanted: Option<u16>| {
            let rows =
                details.requests.iter().filter(|(_, code, _)| wanted.is_none_or(|wanted| wanted == *code));
            rows.map(|(_, _, count)| count).sum()
        };
        let slow = |found: &Distribution| found.count().saturating_sub(found.at_most(SLOW));
        Self {
            received: counts.received,
            // Not the counters', but the system's: the caller adds it.
            kernel_drops: 0,
            over_limit: dropped("over_limit").saturating_sub(counts.over_failure_limit),
            overloaded: details.overloaded,
            requests: with_code(None),
            failed: with_code(Some(500)),
            timed: details.latency.count(),
            slow: slow(&details.latency),
            batches: details.store.count(),
            slow_batches: slow(&details.store),
            unreadable: details.unreadable,
            internal_errors: counts.internal_errors,
            log_lines_lost: logs.lost().iter().map(|(_, count)| count).sum(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        self.zip(before, u64::saturating_sub)
    }

    fn plus(&self, other: &Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    fn zip(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            received: join(self.received, other.received),
            kernel_drops: join(self.kernel_drops, other.kernel_drops),
            over_limit: join(self.over_limit, other.over_limit),
            overloaded: join(self.overloaded, other.overloaded),
            requests: join(self.requests, other.requests),
            failed: join(self.failed, other.failed),
            timed: join(self.timed, other.timed),
            slow: join(self.slow, other.slow),
            batches: join(self.batches, other.batches),
            slow_batches: join(self.slow_batches, other.slow_batches),
            unreadable: join(self.unreadable, other.unreadable),
            internal_errors: join(self.internal_errors, other.internal_errors),
            log_lines_lost: join(self.log_lines_lost, other.log_lines_lost),
        }
    }
}
