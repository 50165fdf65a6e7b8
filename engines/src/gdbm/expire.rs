//! A round of expiry: every key once, a slice at a time.
//!
//! Removing a key moves others within its bucket, and a walk that goes on after it would miss some. So a round
//! first walks and notes the expired keys, then removes them; they are judged again then, as they may have been
//! reported meanwhile.

use pyzord_core::UnixTime;

use super::Engine;
use super::ffi::{Bytes, Fault};
use crate::codec;

/// How many keys one slice looks at; a request waits for no more than that, less than a millisecond.
const SLICE: usize = 128;
/// How many keys one slice removes, in about the same time.
const REMOVED: usize = 64;
/// How many expired keys are noted before they are removed, about 4 MB.
const NOTED: usize = 1 << 16;
/// Below this many freed records a file is not worth rewriting.
const WORTH: u64 = 1000;

/// How far the round has come.
#[derive(Debug, Default)]
pub(super) struct Round {
    walk: Walk,
    /// Expired keys, to be removed when the walk pauses.
    noted: Vec<Bytes>,
    /// Whether noted keys are being removed.
    removing: bool,
    /// Whether the walk has begun anew.
    again: bool,
    seen: u64,
    expired: u64,
}

impl Round {
    /// Whether the next slice removes keys.
    pub(super) fn is_removing(&self) -> bool {
        self.removing
    }
}

/// Where the walk is.
#[derive(Debug, Default)]
enum Walk {
    #[default]
    Start,
    At(Bytes),
    End,
}

/// What one slice left to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slice {
    More,
    Last { worth_reorganizing: bool },
}

impl Engine {
    /// Looks at one slice of keys and notes or removes those that expired before `limit`. Values that nobody can
    /// read stay, as do records without a date.
    pub(super) fn expire_slice(&mut self, limit: UnixTime) -> Result<Slice, Fault> {
        if self.round.removing {
            self.remove_noted(limit)?;
        } else {
            self.note_expired(limit)?;
        }
        let (ended, left) = (matches!(self.round.walk, Walk::End), self.round.noted.len());
        self.round.removing = left >= NOTED || left > 0 && (ended || self.round.removing);
        Ok(if ended && left == 0 { self.end_round() } else { Slice::More })
    }

    /// Walks one slice on. A key that an operator has removed since the walk came to it has it begin again, but only once:
    /// in a damaged file a key may be one that cannot be found.
    fn note_expired(&mut self, limit: UnixTime) -> Result<(), Fault> {
        let mut key = match std::mem::replace(&mut self.round.walk, Walk::End) {
            Walk::Start => self.database.first_key()?,
            Walk::At(key) => Some(key),
            Walk::End => None,
        };
        for _ in 0..SLICE {
            let Some(current) = key else { return Ok(()) };
            let Some(expired) = self.has_expired(&current, limit)? else {
                if !std::mem::replace(&mut self.round.again, true) {
                    self.round.walk = Walk::Start;
                }
                return Ok(());
            };
            self.round.seen += 1;
            key = self.database.next_key(&current)?;
            if expired {
                self.round.noted.push(current);
            }
        }
        self.round.walk = key.map_or(Walk::End, Walk::At);
        Ok(())
    }

    fn remove_noted(&mut self, limit: UnixTime) -> Result<(), Fault> {
        for _ in 0..REMOVED {
            let Some(key) = self.round.noted.pop() else { break };
            if self.has_expired(&key, limit)? == Some(true) && self.remove(&key)? {
                self.round.expired += 1;
            }
        }
        Ok(())
    }

    /// Whether a key's record has expired; `None` when there is no such key.
    fn has_expired(&mut self, key: &[u8], limit: UnixTime) -> Result<Option<bool>, Fault> {
        let value = self.database.fetch(key)?;
        let decoded = value.map(|value| codec::gdbm::decode(&value, &self.zone));
        Ok(decoded.map(|decoded| decoded.is_ok_and(|record| record.expired(limit))))
    }

    fn end_round(&mut self) -> Slice {
        let Round { seen, expired, .. } = std::mem::take(&mut self.round);
        if expired > 0 {
            log::info!("database {}: {expired} of {seen} records have expired and were removed", self.name());
        }
        // libgdbm uses freed space again, so a file that will grow back is left alone.
        Slice::Last { worth_reorganizing: expired >= WORTH && expired > seen / 2 }
    }
}
