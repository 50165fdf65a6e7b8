//! Signed counts that were seen before: a captured one must not count again.

use core::time::Duration;

use super::table::Table;
use crate::protocol::digest::Digest;
use crate::protocol::signature::MAX_CLOCK_DIFFERENCE;
use crate::time::Tick;

/// The validity of a signature: from the earliest to the latest moment that fits its `Time`, both included.
const VALID: Duration = MAX_CLOCK_DIFFERENCE.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    /// It is new, or failed before: it is remembered from now on.
    Never,
    /// The store has not answered yet. The answer to the first copy answers this one, too.
    InFlight,
    /// It was counted.
    Counted,
}

#[derive(Clone, Copy, Debug)]
struct SignedCount {
    counted: bool,
    forget_at: Tick,
}

/// Remembers valid signatures. A signature stands for its whole request: it covers each header, and only the owner of
/// a key can make one.
#[derive(Clone, Debug)]
pub(super) struct Copies(Table<Digest, SignedCount>);

impl Copies {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Table::new(capacity))
    }

    /// Returns what is known of a signature, and remembers it if it is new.
    pub(super) fn look(&mut self, signature: Digest, now: Tick) -> Seen {
        let hash = hash(signature);
        match self.0.get(hash, signature) {
            Some(known) if known.forget_at > now => {
                return if known.counted { Seen::Counted } else { Seen::InFlight };
            }
            Some(_) => self.0.remove(hash, signature),
            None => (),
        }
        let new = SignedCount { counted: false, forget_at: now.after(VALID) };
        self.0.insert(hash, signature, new, |known| known.forget_at);
        Seen::Never
    }

    /// Records whether a signed count was counted; one that failed is forgotten, so that it may be repeated.
    pub(super) fn settle(&mut self, signature: Digest, counted: bool) {
        let hash = hash(signature);
        if !counted {
            self.0.remove(hash, signature);
        } else if let Some(known) = self.0.get(hash, signature) {
            known.counted = true;
        }
    }
}

fn hash(signature: Digest) -> u64 {
    signature.as_bytes().first_chunk().copied().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_until_its_time_is_over_and_counted_anew_when_it_failed() {
        let (one, two) = (Digest::new([1; 20]), Digest::new([2; 20]));
        let at = |seconds| Tick::new(Duration::from_secs(seconds));
        let mut copies = Copies::new(100);
        assert_eq!(copies.look(one, at(0)), Seen::Never);
        assert_eq!(copies.look(one, at(1)), Seen::InFlight);
        assert_eq!(copies.look(two, at(1)), Seen::Never);
        copies.settle(one, true);
        copies.settle(two, false);
        assert_eq!(copies.look(one, at(2)), Seen::Counted);
        assert_eq!(copies.look(two, at(2)), Seen::Never, "the first copy failed");
        assert_eq!(copies.look(one, at(600)), Seen::Counted);
        assert_eq!(copies.look(one, at(601)), Seen::Never, "the signature has expired");
    }

    /// With all of them in one place, eight would drive out the others.
    #[test]
    fn as_many_are_known_as_there_is_room_for() {
        let mut copies = Copies::new(65_536);
        let signature = |number: u64| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            Digest::new(bytes)
        };
        assert!((0..10_000).all(|number| copies.look(signature(number), Tick::default()) == Seen::Never));
        assert!((0..10_000).all(|number| copies.look(signature(number), Tick::default()) == Seen::InFlight));
    }
}
