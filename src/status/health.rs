//! Whether the server works: its workers finish batches, and its database answers.

use std::time::Duration;

use pyzord_core::{Digest, Store, StoreCall, StoreError, StoreOp, Tick};
use pyzord_runtime::{Clock, Details};

/// A worker with a batch of this age is stuck: if every call times out, a batch takes half a second.
const STUCK: Duration = Duration::from_secs(5);
/// How long an answer of the database counts. It bounds how often the database is asked, however often `/healthz` is.
const FRESH: Duration = Duration::from_secs(2);
/// How long an estimate of the number of records counts.
const RECORDS_FRESH: Duration = Duration::from_secs(10);

/// Asks the database from time to time, through a store of its own.
pub(super) struct HealthCheck {
    store: Box<dyn Store>,
    clock: Clock,
    answer: Option<(Tick, Result<(), StoreError>)>,
    records: Option<(Tick, Option<u64>)>,
}

impl HealthCheck {
    pub(super) fn new(store: Box<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, answer: None, records: None }
    }

    /// Returns whether the database answers. It reads one record, which may be absent.
    pub(super) fn store(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some((at, answer)) = self.answer
            && now.tick.since(at) < FRESH
        {
            return answer;
        }
        let (mut answers, call) = (Vec::new(), StoreCall::new(Digest::new([0; 20]), StoreOp::Read));
        self.store.execute(now, &[call], &mut answers);
        debug_assert_eq!(answers.len(), 1, "one answer for each call");
        let answer = match answers.first() {
            // An unreadable record is an answer, too.
            Some(Ok(_) | Err(StoreError::Unreadable)) => Ok(()),
            Some(Err(error)) => Err(*error),
            None => {
                log::error!("health check: internal error: the engine gave no answer");
                Err(StoreError::Unavailable)
            }
        };
        self.answer = Some((self.clock.tick(), answer));
        answer
    }

    /// Returns the approximate number of records, if the database tells it cheaply.
    pub(super) fn records(&mut self) -> Option<u64> {
        let now = self.clock.now();
        if let Some((at, records)) = self.records
            && now.tick.since(at) < RECORDS_FRESH
            && records.is_some()
        {
            return records;
        }
        let records = self.store().is_ok().then(|| self.store.record_count(now)).flatten();
        self.records = Some((now.tick, records));
        records
    }

    /// Returns why requests are not served, if they are not.
    pub(super) fn trouble(&mut self, details: &Details) -> Option<&'static str> {
        stuck_workers(details).or_else(|| self.store().is_err().then_some("the database does not answer"))
    }
}

fn stuck_workers(details: &Details) -> Option<&'static str> {
    let stuck = details.busy.iter().filter(|busy| **busy > STUCK).count();
    match details.workers {
        0 => Some("no worker is running"),
        workers if stuck >= workers => Some("no worker has finished a batch for 5 seconds"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_finishes_batches_is_enough() {
        let (quick, slow) = (Duration::from_millis(900), Duration::from_secs(6));
        for (running, busy, well) in [
            (0, vec![], false),
            (1, vec![], true),
            (1, vec![quick], true),
            (1, vec![slow], false),
            (2, vec![slow], true),
            (2, vec![slow, quick], true),
            (2, vec![slow, slow], false),
        ] {
            let mut details = Details::default();
            (details.workers, details.busy) = (running, busy.clone());
            assert_eq!(stuck_workers(&details).is_none(), well, "{running} {busy:?}");
        }
    }
}
