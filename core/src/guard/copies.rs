//! Signed counts that were seen before: a captured one must not count again, and a failed one may be repeated.

use core::time::Duration;

use super::places::Places;
use super::table::Table;
use crate::protocol::digest::Digest;
use crate::store::{Mark, StoreAnswer, StoreError};
use crate::time::Tick;

/// How long a signed count is in flight at most. After this its batch is lost, by a panic say, and may have been counted.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    /// It is new: it is in flight from now on.
    Never,
    /// It failed in part: it is in flight from now on, and its digests at these places are not to be counted again.
    Failed(Places),
    /// The store has not answered yet. The answer to the first copy answers this one, too.
    InFlight,
    /// All of it was counted.
    Counted,
    /// None of it may be counted again, and some of it may not have been counted.
    Unknown,
}

/// A signed count. All places that may have been counted are done.
#[derive(Clone, Copy, Debug)]
struct SignedCount {
    forget_at: Tick,
    /// When the store was last asked, in seconds; `None` after it has answered.
    asked: Option<u32>,
    done: Places,
    /// How many of the places that are done may not have been counted.
    unknown: u8,
    /// The number of its digests.
    digests: u8,
}

/// Remembers valid signatures. A signature stands for its whole request: it covers each header, and only the owner of
/// a key can make one.
#[derive(Clone, Debug)]
pub(super) struct Copies(Table<Digest, SignedCount>);

impl Copies {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Table::new(capacity))
    }

    /// Returns what is known of a signature whose request has so many digests, and remembers it if it is new.
    pub(super) fn look(&mut self, signature: Digest, digests: u8, now: Tick) -> Seen {
        let hash = hash(signature);
        let asked = Some(seconds(now));
        match self.0.get(hash, signature) {
            Some(known) if known.forget_at > now => {
                let seen = known.seen(now);
                if matches!(seen, Seen::Failed(_)) {
                    known.asked = asked;
                }
                return seen;
            }
            Some(_) => self.0.remove(hash, signature),
            None => (),
        }
        let forget_at = now.after(Mark::LIFE);
        let new = SignedCount { forget_at, asked, done: Places::default(), unknown: 0, digests };
        self.0.insert(hash, signature, new, |known| known.forget_at);
        Seen::Never
    }

    /// Records the store's answers to the counts of a request, each with the place of its digest. Returns whether it is
    /// certain that all of its digests are counted.
    pub(super) fn settle(
        &mut self,
        signature: Digest,
        answers: impl Iterator<Item = (u8, StoreAnswer)>,
    ) -> bool {
        let Some(known) = self.0.get(hash(signature), signature) else {
            return answers.into_iter().all(|(_, answer)| is_counted(answer));
        };
        known.asked = None;
        answers.for_each(|(place, answer)| known.answered(place, answer));
        known.is_counted()
    }

    /// Records what became of a count that was [`Unknown`](StoreError::Unknown).
    pub(super) fn settle_late(&mut self, mark: Mark, answer: StoreAnswer) {
        let Some(known) = self.0.get(hash(mark.signature), mark.signature) else { return };
        if answer == Err(StoreError::Unknown) || !known.done.contains(mark.place) {
            return;
        }
        known.unknown = known.unknown.saturating_sub(1);
        known.done.remove(mark.place);
        known.answered(mark.place, answer);
    }
}

impl SignedCount {
    fn seen(&self, now: Tick) -> Seen {
        match self.asked {
            Some(asked) if u64::from(seconds(now).saturating_sub(asked)) < LOST_AFTER.as_secs() => {
                Seen::InFlight
            }
            Some(_) => Seen::Unknown,
            None if self.is_counted() => Seen::Counted,
            None if self.done.len() >= self.digests => Seen::Unknown,
            None => Seen::Failed(self.done),
        }
    }

    const fn is_counted(&self) -> bool {
        self.unknown == 0 && self.done.len() >= self.digests
    }

    fn answered(&mut self, place: u8, answer: StoreAnswer) {
        if is_counted(answer) {
            self.done.insert(place);
        } else if answer == Err(StoreError::Unknown) {
            self.done.insert(place);
            self.unknown = self.unknown.saturating_add(1);
        }
    }
}

const fn is_counted(answer: StoreAnswer) -> bool {
    matches!(answer, Ok(_) | Err(StoreError::AlreadyCounted))
}

fn seconds(tick: Tick) -> u32 {
    u32::try_from(tick.since(Tick::default()).as_secs()).unwrap_or(u32::MAX)
}

fn hash(signature: Digest) -> u64 {
    signature.as_bytes().first_chunk().copied().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    const OK: StoreAnswer = Ok(Record::EMPTY);
    const AWAY: StoreAnswer = Err(StoreError::Unavailable);
    const UNKNOWN: StoreAnswer = Err(StoreError::Unknown);

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    fn signature(byte: u8) -> Digest {
        Digest::new([byte; 20])
    }

    fn places(of: &[u8]) -> Places {
        let mut places = Places::default();
        of.iter().for_each(|place| places.insert(*place));
        places
    }

    /// Settles the places from 0 on.
    fn settle(copies: &mut Copies, byte: u8, answers: &[StoreAnswer]) -> bool {
        copies.settle(signature(byte), (0..).zip(answers.iter().copied()))
    }

    #[test]
    fn a_copy_is_known_until_its_time_is_over_and_counted_anew_when_it_failed() {
        let (one, two) = (signature(1), signature(2));
        let mut copies = Copies::new(100);
        assert_eq!(copies.look(one, 1, at(0)), Seen::Never);
        assert_eq!(copies.look(one, 1, at(1)), Seen::InFlight);
        assert_eq!(copies.look(two, 1, at(1)), Seen::Never);
        assert!(settle(&mut copies, 1, &[OK]));
        assert!(!settle(&mut copies, 2, &[AWAY]));
        assert_eq!(copies.look(one, 1, at(2)), Seen::Counted);
        assert_eq!(copies.look(two, 1, at(2)), Seen::Failed(Places::default()), "the first copy failed");
        assert_eq!(copies.look(two, 1, at(2)), Seen::InFlight);
        assert_eq!(copies.look(one, 1, at(600)), Seen::Counted);
        assert_eq!(copies.look(one, 1, at(601)), Seen::Never, "the signature has expired");
    }

    /// A failed count was forgotten as a whole, so its repeat counted again what was counted.
    #[test]
    fn what_was_counted_and_what_may_have_been_is_not_counted_again() {
        let mut copies = Copies::new(100);
        assert_eq!(copies.look(signature(1), 4, at(0)), Seen::Never);
        assert!(!settle(&mut copies, 1, &[OK, AWAY, Err(StoreError::Unsettled), UNKNOWN]));
        assert_eq!(copies.look(signature(1), 4, at(1)), Seen::Failed(places(&[0, 3])));
        assert!(!copies.settle(signature(1), [(1, OK), (2, Err(StoreError::AlreadyCounted))].into_iter()));
        assert_eq!(copies.look(signature(1), 4, at(2)), Seen::Unknown);
        copies.settle_late(Mark { signature: signature(1), place: 3 }, OK);
        assert_eq!(copies.look(signature(1), 4, at(3)), Seen::Counted);
    }

    #[test]
    fn a_late_answer_settles_what_was_unknown() {
        let mark = Mark { signature: signature(1), place: 0 };
        for (answer, expected) in
            [(OK, Seen::Counted), (AWAY, Seen::Failed(Places::default())), (UNKNOWN, Seen::Unknown)]
        {
            let mut copies = Copies::new(100);
            assert_eq!(copies.look(signature(1), 1, at(0)), Seen::Never);
            assert!(!settle(&mut copies, 1, &[UNKNOWN]));
            assert_eq!(copies.look(signature(1), 1, at(1)), Seen::Unknown);
            copies.settle_late(mark, answer);
            assert_eq!(copies.look(signature(1), 1, at(2)), expected, "{answer:?}");
        }
        Copies::new(100).settle_late(mark, OK);
    }

    /// A batch that panicked kept its signatures in flight for as long as they were valid: without any answer.
    #[test]
    fn what_is_in_flight_for_too_long_may_have_been_counted() {
        let mut copies = Copies::new(100);
        assert_eq!(copies.look(signature(1), 1, at(5)), Seen::Never);
        assert_eq!(copies.look(signature(1), 1, at(34)), Seen::InFlight);
        assert_eq!(copies.look(signature(1), 1, at(35)), Seen::Unknown);
        assert!(settle(&mut copies, 1, &[OK]), "the answer came late");
        assert_eq!(copies.look(signature(1), 1, at(36)), Seen::Counted);
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
        let mut look = |number| copies.look(signature(number), 1, Tick::default());
        assert!((0..10_000).all(|number| look(number) == Seen::Never));
        assert!((0..10_000).all(|number| look(number) == Seen::InFlight));
    }
}
