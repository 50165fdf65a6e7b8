//! What became of one signed count, digest for digest.

use core::time::Duration;

use super::places::Places;
use crate::store::{StoreAnswer, StoreError};
use crate::time::Tick;

/// How long a signed count is in flight at most. After this its batch is lost, by a panic say, and may have been counted.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    /// It is new, or nothing of it was counted before: it is in flight from now on.
    Never,
    /// It failed in part: it is in flight from now on, and its digests at these places are not to be counted again.
    Failed(Places),
    /// The store has not answered yet. The answer to the first copy answers this one, too.
    InFlight,
    /// All of it was counted.
    Counted,
    /// None of it may be counted again, and some of it may not have been counted.
    Unknown,
    /// It is new, and all room is taken by counts in flight.
    NoRoom,
}

/// A signed count. All places that may have been counted are done.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedCount {
    /// When the store was last asked, in seconds; `None` after it has answered.
    asked: Option<u32>,
    done: Places,
    /// How many of the places that are done may not have been counted.
    unknown: u8,
    /// The number of its digests.
    digests: u8,
    /// Whether a place that is not done may have been counted: then the store has a mark of it.
    unsettled: bool,
}

impl SignedCount {
    /// Returns a count of so many digests that is in flight from now on.
    pub(super) fn new(digests: u8, now: Tick) -> Self {
        let asked = Some(seconds(now));
        Self { asked, done: Places::default(), unknown: 0, digests, unsettled: false }
    }

    pub(super) fn seen(&self, now: Tick) -> Seen {
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

    /// Whether it is certain that all of its digests are counted.
    pub(super) const fn is_counted(&self) -> bool {
        self.unknown == 0 && self.done.len() >= self.digests
    }

    /// Whether it is certain that none of its digests is counted, now or later.
    pub(super) const fn is_uncounted(&self) -> bool {
        self.asked.is_none() && self.done.len() == 0 && !self.unsettled
    }

    /// The store is asked again.
    pub(super) fn ask(&mut self, now: Tick) {
        self.asked = Some(seconds(now));
    }

    /// Records the store's answers, each with the place of its digest.
    pub(super) fn settle(&mut self, answers: impl Iterator<Item = (u8, StoreAnswer)>) {
        self.asked = None;
        answers.for_each(|(place, answer)| self.answered(place, answer));
    }

    /// Records what became of a place that was [`Unknown`](StoreError::Unknown).
    pub(super) fn settle_late(&mut self, place: u8, answer: StoreAnswer) {
        if answer == Err(StoreError::Unknown) || !self.done.contains(place) {
            return;
        }
        self.unknown = self.unknown.saturating_sub(1);
        self.done.remove(place);
        self.answered(place, answer);
    }

    fn answered(&mut self, place: u8, answer: StoreAnswer) {
        match answer {
            _ if is_counted(answer) => self.done.insert(place),
            Err(StoreError::Unknown) => {
                self.done.insert(place);
                self.unknown = self.unknown.saturating_add(1);
            }
            Err(StoreError::Unsettled) => self.unsettled = true,
            _ => (),
        }
    }
}

pub(super) const fn is_counted(answer: StoreAnswer) -> bool {
    matches!(answer, Ok(_) | Err(StoreError::AlreadyCounted))
}

fn seconds(tick: Tick) -> u32 {
    u32::try_from(tick.since(Tick::default()).as_secs()).unwrap_or(u32::MAX)
}
