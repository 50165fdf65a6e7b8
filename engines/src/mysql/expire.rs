//! A round of expiry: every key once, a slice of them at a time.
//!
//! A slice is a range of keys. The table has no index on dates, so looking for old ones would read all of it; a
//! range of the primary key is read in milliseconds, however large the table is.

use mysql::Value;
use pyzord_core::UnixTime;

use super::fault::Fault;
use super::row;
use super::session::Session;

/// How many keys one slice looks at.
const SLICE: usize = 1000;
/// How many rows one slice removes. Until they are gone, reports of them wait, and behind those the rest of their batches.
const REMOVED: u64 = 50;

/// How far the round has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The last key of the slice before.
    after: Vec<u8>,
    /// How many rows were removed.
    pub(super) removed: u64,
}

impl Round {
    /// Removes what has expired in the next slice, and says whether it was the last.
    pub(super) fn slice(&mut self, session: &mut Session, limit: UnixTime) -> Result<bool, Fault> {
        let bound = session.sql.bound(SLICE);
        let found = session.run(&bound, || vec![Value::Bytes(self.after.clone())])?;
        let last_key = found.first().and_then(|row| row.as_ref(0)).cloned();
        let text = session.sql.expire(last_key.is_some(), REMOVED);
        let mut values = vec![Value::Bytes(self.after.clone())];
        values.extend(last_key.clone());
        values.push(session.codec.date(limit));
        session.run(&text, || values.clone())?;
        let removed = session.changed();
        self.removed += removed;
        if removed == REMOVED {
            // There may be more of them among the same keys.
            return Ok(false);
        }
        self.after = last_key.as_ref().map(row::text).unwrap_or_default().to_vec();
        Ok(last_key.is_none())
    }
}
