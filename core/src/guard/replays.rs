//! Signed counts that were seen before: whoever overhears one must not be able to count it again.

use core::time::Duration;

use super::table::Table;
use crate::digest::Digest;
use crate::signature::MAX_CLOCK_DIFFERENCE;
use crate::time::Tick;

/// A signature is valid for no longer: from the earliest to the latest moment that its `Time` fits, both of which belong
/// to it, hence a second more.
const VALID: Duration = MAX_CLOCK_DIFFERENCE.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// It is new, or failed the last time: it is counted, and remembered from now on.
    Never,
    /// The store has not answered yet. The answer to the first copy is the answer to this one, too.
    InFlight,
    /// It was counted.
    Counted,
}

#[derive(Clone, Copy, Debug)]
struct Memory {
    counted: bool,
    forget_at: Tick,
}

/// Remembers signatures that were valid. A signature stands for its whole request: it covers each header, and nobody
/// but the owner of a key can make one. It is a hash, so it needs no other.
#[derive(Clone, Debug)]
pub(super) struct Replays(Table<Digest, Memory>);

impl Replays {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Table::new(capacity))
    }

    pub(super) fn look(&mut self, signature: Digest, now: Tick) -> Seen {
        let hash = hash(signature);
        match self.0.get(hash, signature) {
            Some(memory) if memory.forget_at > now => {
                return if memory.counted { Seen::Counted } else { Seen::InFlight };
            }
            Some(_) => self.0.remove(hash, signature),
            None => (),
        }
        let memory = Memory { counted: false, forget_at: now.after(VALID) };
        self.0.insert(hash, signature, memory, |memory| memory.forget_at);
        Seen::Never
    }

    pub(super) fn settle(&mut self, signature: Digest, counted: bool) {
        let hash = hash(signature);
        if !counted {
            self.0.remove(hash, signature);
        } else if let Some(memory) = self.0.get(hash, signature) {
            memory.counted = true;
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
        let mut replays = Replays::new(100);
        assert_eq!(replays.look(one, at(0)), Seen::Never);
        assert_eq!(replays.look(one, at(1)), Seen::InFlight);
        assert_eq!(replays.look(two, at(1)), Seen::Never);
        replays.settle(one, true);
        replays.settle(two, false);
        assert_eq!(replays.look(one, at(2)), Seen::Counted);
        assert_eq!(replays.look(two, at(2)), Seen::Never, "the first copy failed");
        assert_eq!(replays.look(one, at(600)), Seen::Counted);
        assert_eq!(replays.look(one, at(601)), Seen::Never, "no request is valid for so long");
    }

    /// With all of them in one place, eight would drive out the others.
    #[test]
    fn as_many_are_known_as_there_is_room_for() {
        let mut replays = Replays::new(65_536);
        let signature = |number: u64| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            Digest::new(bytes)
        };
        assert!((0..10_000).all(|number| replays.look(signature(number), Tick::default()) == Seen::Never));
        assert!((0..10_000).all(|number| replays.look(signature(number), Tick::default()) == Seen::InFlight));
    }
}
