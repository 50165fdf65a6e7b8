//! Which calls have to wait for others, so that the requests of one digest keep their order.
//!
//! Reads pass each other, and counts do: neither changes what the other one leaves. A read waits for the counts that came
//! before it, and a count for the reads.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pyzord_core::{Digest, StoreCall, StoreOp};

/// The calls that are at a store, and those that wait for them. Clients choose digests; the map's hasher has a secret.
#[derive(Debug, Default)]
pub(crate) struct DigestOrder {
    uses: HashMap<Digest, Uses>,
}

/// The calls of one digest.
#[derive(Clone, Copy, Default, Debug)]
struct Uses {
    at_store: Tally,
    deferred: Tally,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Tally {
    reads: u32,
    counts: u32,
}

/// The calls of a batch that is at a store. They end when it is given back to its queue.
#[derive(Debug, Default)]
#[must_use = "requests of these digests wait until the ticket is given back"]
pub struct Ticket {
    calls: Vec<(Digest, Kind)>,
    /// The batch has a large request.
    pub(crate) is_large: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Read,
    Count,
}

impl Ticket {
    /// Returns the digests that are counted, each as often as it is.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &Digest> {
        self.calls.iter().filter(|(_, kind)| *kind == Kind::Count).map(|(digest, _)| digest)
    }
}

impl DigestOrder {
    /// Whether no call is at a store.
    pub(crate) fn is_idle(&self) -> bool {
        self.uses.is_empty()
    }

    /// Whether one of these calls has to wait: for one at a store, or for one that waits itself.
    pub(crate) fn waits(&self, calls: &[StoreCall]) -> bool {
        let waits = |call: &StoreCall| {
            let others = self.uses.get(&call.digest).copied().unwrap_or_default();
            match Kind::of(call) {
                Kind::Read => others.at_store.counts > 0 || others.deferred.counts > 0,
                Kind::Count => others.at_store.reads > 0 || others.deferred.reads > 0,
            }
        };
        calls.iter().any(waits)
    }

    /// Records that these calls go to a store.
    pub(crate) fn begin(&mut self, calls: &[StoreCall], ticket: &mut Ticket) {
        for call in calls {
            let kind = Kind::of(call);
            *self.uses.entry(call.digest).or_default().at_store.of(kind) += 1;
            ticket.calls.push((call.digest, kind));
        }
    }

    /// Records that the store has answered, and empties the ticket. Returns whether others have waited for these calls.
    pub(crate) fn end(&mut self, ticket: &mut Ticket) -> bool {
        let mut awaited = false;
        for (digest, kind) in ticket.calls.drain(..) {
            awaited |= self
                .remove(digest, |uses| uses.at_store.of(kind))
                .is_some_and(|left| !left.deferred.is_empty());
        }
        awaited
    }

    /// Records that these calls wait.
    pub(crate) fn defer(&mut self, calls: &[StoreCall]) {
        for call in calls {
            *self.uses.entry(call.digest).or_default().deferred.of(Kind::of(call)) += 1;
        }
    }

    /// Records that these calls go on.
    pub(crate) fn resume(&mut self, calls: &[StoreCall]) {
        for call in calls {
            self.remove(call.digest, |uses| uses.deferred.of(Kind::of(call)));
        }
    }

    /// Takes one call out. Returns what is left of its digest.
    fn remove(&mut self, digest: Digest, which: impl FnOnce(&mut Uses) -> &mut u32) -> Option<Uses> {
        let Entry::Occupied(mut entry) = self.uses.entry(digest) else {
            debug_assert!(false, "a call of {digest} ends that has not begun");
            return None;
        };
        let count = which(entry.get_mut());
        debug_assert!(*count > 0, "a call of {digest} ends that has not begun");
        *count = count.saturating_sub(1);
        let left = *entry.get();
        if left.at_store.is_empty() && left.deferred.is_empty() {
            entry.remove();
        }
        Some(left)
    }
}

impl Tally {
    const fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Read => &mut self.reads,
            Kind::Count => &mut self.counts,
        }
    }

    const fn is_empty(self) -> bool {
        self.reads == 0 && self.counts == 0
    }
}

impl Kind {
    const fn of(call: &StoreCall) -> Self {
        match call.op {
            StoreOp::Read => Self::Read,
            StoreOp::Report | StoreOp::Whitelist => Self::Count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(n: u8, op: StoreOp) -> StoreCall {
        StoreCall::new(Digest::new([n; 20]), op)
    }

    #[test]
    fn reads_pass_reads_and_counts_pass_counts_and_none_the_other() {
        use StoreOp::{Read, Report, Whitelist};
        for (first, second, waits) in [
            (Read, Read, false),
            (Read, Report, true),
            (Report, Read, true),
            (Report, Report, false),
            (Report, Whitelist, false),
            (Whitelist, Read, true),
        ] {
            let mut order = DigestOrder::default();
            let mut ticket = Ticket::default();
            order.begin(&[call(1, first)], &mut ticket);
            assert_eq!(order.waits(&[call(2, second), call(1, second)]), waits, "{first:?} {second:?}");
            assert!(!order.waits(&[call(2, second)]));
            assert!(!order.end(&mut ticket), "none has waited");
            order.defer(&[call(1, first)]);
            assert_eq!(order.waits(&[call(1, second)]), waits, "one that waits is not passed either");
            order.resume(&[call(1, first)]);
            assert!(order.is_idle());
        }
    }

    #[test]
    fn the_last_of_several_calls_ends_the_wait() {
        let mut order = DigestOrder::default();
        let [mut first, mut second] = [Ticket::default(), Ticket::default()];
        let reports = [call(1, StoreOp::Report); 3];
        order.begin(&reports, &mut first);
        order.begin(&reports[..1], &mut second);
        let check = [call(1, StoreOp::Read)];
        order.defer(&check);
        assert!(order.end(&mut first));
        order.resume(&check);
        assert!(order.waits(&check));
        order.defer(&check);
        assert!(order.end(&mut second));
        order.resume(&check);
        assert!(!order.waits(&check) && order.is_idle());
    }
}
