//! Counts datagrams, for the log and the status page.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use pyzord_core::Ignored;

use crate::clock::Clock;
use crate::datagrams::Sent;
use crate::metrics::{Details, Metrics, Running, Shard};

/// Counts since the start of the server. Each error that a client can provoke is counted here, and the server goes on.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    answered: AtomicU64,
    not_requests: AtomicU64,
    source_port_zero: AtomicU64,
    denied: AtomicU64,
    over_limit: AtomicU64,
    in_flight: AtomicU64,
    overloaded: AtomicU64,
    receive_errors: AtomicU64,
    send_errors: AtomicU64,
    internal_errors: AtomicU64,
    clock: Clock,
    /// `None` unless a status page needs them: they cost a little for each batch.
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
    /// Requests and log lines that are missing or wrong because of a bug.
    pub internal_errors: u64,
    /// Datagrams that are left without a reply on purpose, by reason.
    pub dropped: [(&'static str, u64); 6],
}

/// The counts of one received batch.
#[derive(Debug, Default)]
pub(crate) struct BatchCounts {
    pub(crate) received: u64,
    pub(crate) not_requests: u64,
    pub(crate) source_port_zero: u64,
    pub(crate) denied: u64,
    pub(crate) over_limit: u64,
    pub(crate) in_flight: u64,
    pub(crate) overloaded: u64,
}

impl BatchCounts {
    pub(crate) const fn ignored(&mut self, reason: Ignored) {
        match reason {
            Ignored::Unanswerable => self.source_port_zero += 1,
            Ignored::DeniedNetwork => self.denied += 1,
            Ignored::TooManyRequests | Ignored::TooManyFailures => self.over_limit += 1,
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
            internal_errors: read(&self.internal_errors),
            dropped: [
                ("not_a_request", read(&self.not_requests)),
                ("source_port_zero", read(&self.source_port_zero)),
                ("denied_network", read(&self.denied)),
                ("over_limit", read(&self.over_limit)),
                ("in_flight", read(&self.in_flight)),
                ("overloaded", read(&self.overloaded)),
            ],
        }
    }

    /// Returns the current details, with at most `top` networks: those that sent most. All are empty unless details are
    /// [kept](Self::detailed).
    #[must_use]
    pub fn details(&self, top: usize) -> Details {
        let details = |metrics: &Metrics| metrics.details(self.clock.tick(), top);
        self.metrics.as_ref().map(details).unwrap_or_default()
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
        add(&self.in_flight, batch.in_flight);
        add(&self.overloaded, batch.overloaded);
    }

    pub(crate) fn sent(&self, sent: Sent) {
        add(&self.answered, sent.accepted);
        add(&self.send_errors, sent.failed);
    }

    pub(crate) fn internal_errors(&self, count: u64) {
        add(&self.internal_errors, count);
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
             {} receive errors, {} send errors, {} from denied networks, {} over a limit, \
             {} copies of one in flight, {} dropped under overload",
            read(&self.received),
            read(&self.answered),
            read(&self.not_requests),
            read(&self.source_port_zero),
            read(&self.receive_errors),
            read(&self.send_errors),
            read(&self.denied),
            read(&self.over_limit),
            read(&self.in_flight),
            read(&self.overloaded),
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
