//! Whether the server serves: its workers get on, and its database answers.

use std::time::Duration;

use pyzord_core::{Digest, Store, StoreCall, StoreError, StoreOp, Tick};
use pyzord_runtime::{Clock, Details};

/// A worker that has been at one batch for this long is stuck: a batch takes half a second when all goes wrong.
const STUCK: Duration = Duration::from_secs(5);
/// How long the database's last answer is believed. So it is asked seldom, however often somebody asks us.
const FRESH: Duration = Duration::from_secs(2);
/// How long an estimate of the number of records is good enough.
const RECORDS_FRESH: Duration = Duration::from_secs(10);

/// Asks the database now and then, through a store of its own.
pub(super) struct Health {
    store: Box<dyn Store>,
    clock: Clock,
    answer: Option<(Tick, Result<(), StoreError>)>,
    records: Option<(Tick, Option<u64>)>,
}

impl Health {
    pub(super) fn new(store: Box<dyn Store>, clock: Clock) -> Self {
        Self { store, clock, answer: None, records: None }
    }

    /// Whether the database answers. It reads one record; whether there is one does not matter.
    pub(super) fn store(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if let Some((at, answer)) = self.answer
            && now.tick.since(at) < FRESH
        {
            return answer;
        }
        let (mut answers, call) = (Vec::new(), StoreCall { digest: Digest::new([0; 20]), op: StoreOp::Read });
        self.store.execute(now, &[call], &mut answers);
        let answer = match answers.first() {
            // A record that nobody can read is an answer.
            Some(Ok(_) | Err(StoreError::Unreadable)) => Ok(()),
            _ => Err(StoreError::Unavailable),
        };
        self.answer = Some((self.clock.tick(), answer));
        answer
    }

    /// About how many records there are, when the database can tell cheaply.
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

    /// Why requests are not served, if they are not.
    pub(super) fn trouble(&mut self, details: &Details) -> Option<&'static str> {
        workers(details).or_else(|| self.store().is_err().then_some("the database does not answer"))
    }
}

fn workers(details: &Details) -> Option<&'static str> {
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
    fn one_worker_that_gets_on_is_enough() {
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
            assert_eq!(workers(&details).is_none(), well, "{running} {busy:?}");
        }
    }
}
