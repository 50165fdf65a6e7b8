//! Counts datagrams, for the log and the status page.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use pyzord_core::{Ignored, UnixTime};

use crate::clock::Clock;
use crate::datagrams::Sent;
use crate::liveness::{Liveness, StuckThread};
use crate::metrics::{Details, Metrics, Running, Shard};
use crate::outcomes::{FailingCalls, Outcomes};

/// Counts since the start of the server. Each error that a client can provoke is counted here, and the server goes on.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    answered: AtomicU64,
    not_requests: AtomicU64,
    source_port_zero: AtomicU64,
    denied: AtomicU64,
    over_limit: AtomicU64,
    over_failure_limit: AtomicU64,
    in_flight: AtomicU64,
    overloaded: AtomicU64,
    stale: AtomicU64,
    left_at_stop: AtomicU64,
    receive_errors: AtomicU64,
    send_errors: AtomicU64,
    replies_dropped: AtomicU64,
    internal_errors: AtomicU64,
    expiry: Expired,
    clock: Clock,
    liveness: Liveness,
    outcomes: Outcomes,
    /// `None` unless they are asked for: they cost a little for each batch.
    metrics: Option<Metrics>,
}

/// The values of the counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Datagrams received.
    pub received: u64,
    /// Replies sent.
    pub answered: u64,
    /// Calls that failed to receive.
    pub receive_errors: u64,
    /// Replies that could not be sent.
    pub send_errors: u64,
    /// Replies that were dropped because a send buffer or a queue of the system was full.
    pub replies_dropped: u64,
    /// Requests and log lines that are missing or wrong because of a bug.
    pub internal_errors: u64,
    /// Datagrams that are left without a reply on purpose, by reason.
    pub dropped: [(&'static str, u64); 7],
    /// Those over a limit that were dropped for the limit of replies to wrong signatures.
    pub over_failure_limit: u64,
    /// Requests that were received and not executed, because a stop left no time for them.
    pub left_at_stop: u64,
    /// Records that expiry has removed; `None` if the store does not know it.
    pub expired: Option<u64>,
    /// When a round of expiry last came to its end.
    pub last_expiry: Option<UnixTime>,
}

/// What the upkeep has told of expiry: numbers from 1, and 0 for none.
#[derive(Debug, Default)]
struct Expired {
    removed: AtomicU64,
    ended: AtomicI64,
}

/// The counts of one received batch.
#[derive(Debug, Default)]
pub(crate) struct BatchCounts {
    pub(crate) received: u64,
    pub(crate) not_requests: u64,
    pub(crate) source_port_zero: u64,
    pub(crate) denied: u64,
    pub(crate) over_limit: u64,
    pub(crate) over_failure_limit: u64,
    pub(crate) in_flight: u64,
    pub(crate) overloaded: u64,
    pub(crate) stale: u64,
}

impl BatchCounts {
    pub(crate) const fn ignored(&mut self, reason: Ignored) {
        match reason {
            Ignored::Unanswerable => self.source_port_zero += 1,
            Ignored::DeniedNetwork => self.denied += 1,
            Ignored::TooManyRequests => self.over_limit += 1,
            Ignored::TooManyFailures => {
                self.over_limit += 1;
                self.over_failure_limit += 1;
            }
            Ignored::InFlight => self.in_flight += 1,
            Ignored::Overloaded => self.overloaded += 1,
            _ => self.not_requests += 1,
        }
    }
}

impl Counters {
    /// Creates counters that also keep details, for this number of serving threads.
    #[must_use]
    pub fn detailed(threads: usize) -> Self {
        Self { metrics: Some(Metrics::new(threads)), ..Self::default() }
    }

    /// Returns the clock of the server, which was started with the counters.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the current counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            received: read(&self.received),
            answered: read(&self.answered),
            receive_errors: read(&self.receive_errors),
            send_errors: read(&self.send_errors),
            replies_dropped: read(&self.replies_dropped),
            internal_errors: read(&self.internal_errors),
            dropped: [
                ("not_a_request", read(&self.not_requests)),
                ("source_port_zero", read(&self.source_port_zero)),
                ("denied_network", read(&self.denied)),
                ("over_limit", read(&self.over_limit)),
                ("in_flight", read(&self.in_flight)),
                ("overloaded", read(&self.overloaded)),
                ("stale", read(&self.stale)),
            ],
            over_failure_limit: read(&self.over_failure_limit),
            left_at_stop: read(&self.left_at_stop),
            expired: read(&self.expiry.removed).checked_sub(1),
            last_expiry: Some(self.expiry.ended.load(Ordering::Relaxed))
                .filter(|micros| *micros != 0)
                .map(UnixTime::from_micros),
        }
    }

    /// Returns the current details, with at most `top` networks: those that sent most. All are empty unless details are
    /// [kept](Self::detailed).
    #[must_use]
    pub fn details(&self, top: usize) -> Details {
        let details = |metrics: &Metrics| metrics.details(top);
        self.metrics.as_ref().map(details).unwrap_or_default()
    }

    /// Returns a thread of the server that does not get on, if there is one.
    #[must_use]
    pub fn stuck(&self) -> Option<StuckThread> {
        self.liveness.stuck(self.clock.tick())
    }

    /// Returns since when reads of the store fail, if the last one did.
    #[must_use]
    pub fn failing_reads(&self) -> Option<FailingCalls> {
        self.outcomes.failing_reads()
    }

    /// Returns since when the store refuses counts, if it refused the last one.
    #[must_use]
    pub fn failing_counts(&self) -> Option<FailingCalls> {
        self.outcomes.failing_counts()
    }

    pub(crate) const fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    pub(crate) const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// Returns the place for the details of one more serving thread, if details are kept.
    pub(crate) fn shard(&self) -> Option<&Shard> {
        self.metrics.as_ref()?.shard()
    }

    pub(crate) fn worker(&self) -> Option<Running<'_>> {
        self.metrics.as_ref().map(Metrics::worker)
    }

    pub(crate) fn add(&self, batch: &BatchCounts) {
        add(&self.received, batch.received);
        add(&self.not_requests, batch.not_requests);
        add(&self.source_port_zero, batch.source_port_zero);
        add(&self.denied, batch.denied);
        add(&self.over_limit, batch.over_limit);
        add(&self.over_failure_limit, batch.over_failure_limit);
        add(&self.in_flight, batch.in_flight);
        add(&self.overloaded, batch.overloaded);
        add(&self.stale, batch.stale);
    }

    pub(crate) fn sent(&self, sent: Sent) {
        add(&self.answered, sent.accepted);
        add(&self.send_errors, sent.failed);
        add(&self.replies_dropped, sent.no_room);
    }

    pub(crate) fn internal_errors(&self, count: u64) {
        add(&self.internal_errors, count);
    }

    pub(crate) fn left_at_stop(&self, count: u64) {
        add(&self.left_at_stop, count);
    }

    /// Records how many records expiry has removed, if the store tells it.
    pub(crate) fn expired(&self, removed: Option<u64>) {
        if let Some(removed) = removed {
            self.expiry.removed.store(removed.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Records that a round of expiry has come to its end.
    pub(crate) fn expiry_ended(&self, now: UnixTime) {
        self.expiry.ended.store(now.micros(), Ordering::Relaxed);
    }

    pub(crate) fn receive_error(&self) {
        add(&self.receive_errors, 1);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} datagrams received, {} answered, {} malformed, {} came from port 0, \
             {} receive errors, {} send errors, {} replies dropped for a full send buffer, \
             {} from denied networks, {} over a limit, {} copies of one in flight, {} dropped under overload, \
             {} too old",
            read(&self.received),
            read(&self.answered),
            read(&self.not_requests),
            read(&self.source_port_zero),
            read(&self.receive_errors),
            read(&self.send_errors),
            read(&self.replies_dropped),
            read(&self.denied),
            read(&self.over_limit),
            read(&self.in_flight),
            read(&self.overloaded),
            read(&self.stale),
        )?;
        match read(&self.internal_errors) {
            0 => Ok(()),
            errors => write!(f, ", {errors} internal errors"),
        }
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Most counts are zero. Skipping them keeps the cache line shared: a write takes it from all other workers.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
