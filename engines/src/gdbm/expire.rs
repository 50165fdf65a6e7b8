//! A round of expiry: looks at every key once, a slice at a time.
//!
//! Removing a key moves others within its bucket, and a walk that goes on after it misses some. So a round
//! first walks and collects the expired keys, then removes them. Each is judged again before it is removed,
//! as it may have been reported meanwhile.

use pyzord_core::UnixTime;

use super::ffi::{Bytes, GdbmError};
use super::record_file::RecordFile;

/// How many keys one slice looks at. A request waits for one slice, less than a millisecond.
const SLICE: usize = 128;
/// How many keys one slice removes, in about the same time.
const REMOVED: usize = 64;
/// How many expired keys are collected before they are removed, about 4 MB.
const COLLECTED: usize = 1 << 16;
/// The least number of removed records for which a file is reorganized.
const WORTH: u64 = 1000;

/// The state of a round.
#[derive(Debug, Default)]
pub(super) struct ExpiryRound {
    walk: Walk,
    /// Expired keys, to be removed when the walk pauses.
    collected: Vec<Bytes>,
    /// Whether collected keys are being removed.
    removing: bool,
    /// Whether the walk was restarted.
    restarted: bool,
    seen: u64,
    expired: u64,
}

/// Where the walk is.
#[derive(Debug, Default)]
enum Walk {
    #[default]
    Start,
    At(Bytes),
    End,
}

/// What is left to do after a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slice {
    More,
    Last { worth_reorganizing: bool },
}

impl ExpiryRound {
    /// Returns whether the next slice removes keys.
    pub(super) fn is_removing(&self) -> bool {
        self.removing
    }

    /// Looks at one slice of keys, and collects or removes those that expired before `limit`. Keeps values
    /// that cannot be read and records without a date. Adds the removed records to `expired`.
    pub(super) fn slice(
        &mut self,
        file: &mut RecordFile,
        limit: UnixTime,
        expired: &mut u64,
    ) -> Result<Slice, GdbmError> {
        if self.removing {
            self.remove(file, limit, expired)?;
        } else {
            self.collect(file, limit)?;
        }
        let (ended, left) = (matches!(self.walk, Walk::End), self.collected.len());
        self.removing = left >= COLLECTED || left > 0 && (ended || self.removing);
        Ok(if ended && left == 0 { self.end(file) } else { Slice::More })
    }

    /// Walks on by one slice. If an operator has removed the key at which the walk stands, the walk starts
    /// again, but only once: in a damaged file a key may be one that cannot be found.
    fn collect(&mut self, file: &mut RecordFile, limit: UnixTime) -> Result<(), GdbmError> {
        let mut key = match std::mem::replace(&mut self.walk, Walk::End) {
            Walk::Start => file.database.first_key()?,
            Walk::At(key) => Some(key),
            Walk::End => None,
        };
        for _ in 0..SLICE {
            let Some(current) = key else { return Ok(()) };
            let Some(expired) = has_expired(file, &current, limit)? else {
                if !std::mem::replace(&mut self.restarted, true) {
                    self.walk = Walk::Start;
                }
                return Ok(());
            };
            self.seen += 1;
            key = file.database.next_key(&current)?;
            if expired {
                self.collected.push(current);
            }
        }
        self.walk = key.map_or(Walk::End, Walk::At);
        Ok(())
    }

    fn remove(&mut self, file: &mut RecordFile, limit: UnixTime, expired: &mut u64) -> Result<(), GdbmError> {
        for _ in 0..REMOVED {
            let Some(key) = self.collected.pop() else { break };
            if has_expired(file, &key, limit)? == Some(true) && file.remove(&key)? {
                self.expired += 1;
                *expired += 1;
            }
        }
        Ok(())
    }

    fn end(&mut self, file: &RecordFile) -> Slice {
        let Self { seen, expired, .. } = std::mem::take(self);
        if expired > 0 {
            log::info!("database {}: {expired} of {seen} records have expired and were removed", file.name());
        }
        // libgdbm uses freed space again, so a file that will grow back is left alone.
        Slice::Last { worth_reorganizing: expired >= WORTH && expired > seen / 2 }
    }
}

/// Returns whether a key's record has expired; `None` if there is no such key.
fn has_expired(file: &mut RecordFile, key: &[u8], limit: UnixTime) -> Result<Option<bool>, GdbmError> {
    let Some(value) = file.fetch(key)? else { return Ok(None) };
    Ok(Some(file.decode(&value).is_ok_and(|record| record.expired(limit))))
}
