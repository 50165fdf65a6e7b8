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
/// How many rows one slice removes at most. Until they are gone, reports of them wait, and behind those the rest of their
/// batches.
const REMOVED: usize = 20;

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
        let mut last_key = found.first().and_then(|row| row.as_ref(0)).cloned();
        let values = |after: &[u8], last_key: &Option<Value>, limit: Value| {
            [Some(Value::Bytes(after.to_vec())), last_key.clone(), Some(limit)]
                .into_iter()
                .flatten()
                .collect()
        };
        let (text, limit) = (session.sql.expired(last_key.is_some(), REMOVED), session.codec.date(limit));
        let many = session.run(&text, || values(&self.after, &last_key, limit.clone()))?;
        // With so many of them the slice ends earlier; the next one begins behind them, not among what was removed.
        last_key = many.first().and_then(|row| row.as_ref(0)).cloned().or(last_key);
        let text = session.sql.expire(last_key.is_some());
        session.run(&text, || values(&self.after, &last_key, limit.clone()))?;
        self.after = last_key.as_ref().map(row::text).unwrap_or_default().to_vec();
        self.removed += session.changed();
        Ok(last_key.is_none())
    }
}
