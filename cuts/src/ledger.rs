//! What clients were told, and what may be counted.

use std::collections::{BTreeMap, HashMap};

use crate::step::{Effect, FileId, Step, Sync};

/// The counts of a digest that a database may have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bounds {
    /// The acknowledged reports that the promise covers.
    pub promised: u64,
    /// All acknowledged reports.
    pub acknowledged: u64,
    /// The reports that were received.
    pub most: u64,
}

/// The bounds of each digest.
pub type Ledger = BTreeMap<String, Bounds>;

/// What a reply to a report promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// The report is on the disk.
    Strict,
    /// The report is on the disk as soon as a sync has ended that began after the reply.
    Deferred,
    /// The same for a digest that nothing was received for since. Any other may have any count.
    Settled,
}

/// A file whose sync keeps reports, from this moment on.
pub(crate) type Log = (FileId, usize);

/// Adds what a process received and replied up to a moment.
pub(crate) fn add(ledger: &mut Ledger, steps: &[Step], moment: usize, promise: Promise, logs: &[Log]) {
    let synced = match promise {
        Promise::Strict => moment,
        Promise::Deferred | Promise::Settled => last_sync(steps, moment, logs),
    };
    let mut open = HashMap::<(String, String), Vec<&str>>::new();
    for step in steps {
        match &step.effect {
            Effect::Received(request) if step.has_ended(moment) => {
                if request.values("Op").next() != Some("report") {
                    continue;
                }
                let digests: Vec<&str> = request.values("Op-Digest").collect();
                for digest in &digests {
                    let bounds = ledger.entry((*digest).to_owned()).or_default();
                    bounds.most = bounds.most.saturating_add(1);
                }
                open.insert(request.identity(), digests);
            }
            // A reply that is being sent may have left.
            Effect::Sent(reply) if step.began < moment => {
                let digests = open.remove(&reply.identity()).unwrap_or_default();
                let is_success = reply.values("Code").next() == Some("200");
                for digest in digests.into_iter().filter(|_| is_success) {
                    let bounds = ledger.entry(digest.to_owned()).or_default();
                    bounds.acknowledged += 1;
                    bounds.promised += u64::from(step.began < synced);
                }
            }
            _ => {}
        }
    }
    if promise == Promise::Settled {
        for bounds in ledger.values_mut().filter(|bounds| bounds.promised < bounds.most) {
            (bounds.promised, bounds.most) = (0, u64::MAX);
        }
    }
}

/// Returns when the last sync of the reports began that had ended before a moment.
fn last_sync(steps: &[Step], moment: usize, logs: &[Log]) -> usize {
    let is_sync = |step: &&Step| {
        let keeps = match &step.effect {
            Effect::Sync(Sync::File { file, .. }) => {
                logs.iter().any(|(log, since)| log == file && *since < step.began)
            }
            Effect::Sync(Sync::All) => true,
            _ => false,
        };
        keeps && step.has_ended(moment)
    };
    steps.iter().filter(is_sync).map(|step| step.began).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Datagram;

    fn step(began: usize, ended: usize, effect: Effect) -> Step {
        Step { began, ended, effect }
    }

    fn datagram(content: &str) -> Datagram {
        Datagram { peer: "p".to_owned(), content: content.replace(' ', "\n").replace('=', ": ") }
    }

    #[test]
    fn bounds_at_each_moment() {
        let file = FileId(0);
        let sync = || Effect::Sync(Sync::File { file, data_only: true, ignored: false });
        let steps = [
            step(0, 1, Effect::Received(datagram("Op=report Op-Digest=a Op-Digest=a Thread=1"))),
            step(2, 3, Effect::Received(datagram("Op=report Op-Digest=b Thread=2"))),
            step(4, 5, Effect::Received(datagram("Op=check Op-Digest=b Thread=3"))),
            step(6, 7, Effect::Sent(datagram("Code=200 Thread=1"))),
            step(8, 20, sync()),
            step(9, 10, Effect::Sent(datagram("Code=500 Thread=2"))),
            step(11, 12, Effect::Sent(datagram("Code=200 Thread=3"))),
            step(13, 14, Effect::Sync(Sync::File { file: FileId(1), data_only: false, ignored: false })),
        ];
        for (moment, promise, a, b) in [
            (1, Promise::Strict, None, None),
            (2, Promise::Strict, Some([0, 0, 2]), None),
            (7, Promise::Strict, Some([2, 2, 2]), Some([0, 0, 1])),
            (30, Promise::Strict, Some([2, 2, 2]), Some([0, 0, 1])),
            (20, Promise::Deferred, Some([0, 2, 2]), Some([0, 0, 1])),
            (21, Promise::Deferred, Some([2, 2, 2]), Some([0, 0, 1])),
            (20, Promise::Settled, Some([0, 2, u64::MAX]), Some([0, 0, u64::MAX])),
            (21, Promise::Settled, Some([2, 2, 2]), Some([0, 0, u64::MAX])),
        ] {
            let mut ledger = Ledger::new();
            add(&mut ledger, &steps, moment, promise, &[(file, 0)]);
            let bounds = |digest: &str| {
                ledger.get(digest).map(|bounds| [bounds.promised, bounds.acknowledged, bounds.most])
            };
            assert_eq!([bounds("a"), bounds("b")], [a, b], "{moment} {promise:?}");
        }
    }
}
