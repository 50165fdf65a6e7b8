//! What happened to datagrams, for the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use pyzord_core::Reason;

use crate::datagrams::Sent;

/// Counts since the server's start. Every error that a peer could provoke is counted here and survived.
#[derive(Debug, Default)]
pub struct Counters {
    received: AtomicU64,
    answered: AtomicU64,
    not_requests: AtomicU64,
    source_port_zero: AtomicU64,
    denied: AtomicU64,
    over_limit: AtomicU64,
    in_flight: AtomicU64,
    receive_errors: AtomicU64,
    send_errors: AtomicU64,
}

/// What one batch adds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) received: u64,
    pub(crate) not_requests: u64,
    pub(crate) source_port_zero: u64,
    pub(crate) denied: u64,
    pub(crate) over_limit: u64,
    pub(crate) in_flight: u64,
}

impl Tally {
    pub(crate) const fn ignored(&mut self, reason: Reason) {
        match reason {
            Reason::SourcePortZero => self.source_port_zero += 1,
            Reason::DeniedNetwork => self.denied += 1,
            Reason::TooManyRequests | Reason::TooManyFailures => self.over_limit += 1,
            Reason::InFlight => self.in_flight += 1,
            _ => self.not_requests += 1,
        }
    }
}

impl Counters {
    pub(crate) fn add(&self, tally: &Tally) {
        add(&self.received, tally.received);
        add(&self.not_requests, tally.not_requests);
        add(&self.source_port_zero, tally.source_port_zero);
        add(&self.denied, tally.denied);
        add(&self.over_limit, tally.over_limit);
        add(&self.in_flight, tally.in_flight);
    }

    pub(crate) fn sent(&self, sent: Sent) {
        add(&self.answered, sent.accepted);
        add(&self.send_errors, sent.failed);
    }

    pub(crate) fn receive_error(&self) {
        add(&self.receive_errors, 1);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} datagrams received, {} answered, {} were no requests, {} came from port 0, \
             {} receive errors, {} send errors, {} from denied networks, {} over a limit, \
             {} copies of one in flight",
            read(&self.received),
            read(&self.answered),
            read(&self.not_requests),
            read(&self.source_port_zero),
            read(&self.receive_errors),
            read(&self.send_errors),
            read(&self.denied),
            read(&self.over_limit),
            read(&self.in_flight),
        )
    }
}

/// Most of what could be added is zero, and a line of cache that nobody writes is not fought for.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
