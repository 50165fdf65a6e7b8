//! A round of expiry: looks at every key once, a slice at a time.
//!
//! A slice is a range of keys. The table has no index on dates, so a search for old ones reads all of it; a
//! range of the primary key is read in milliseconds, however large the table is.

use mysql::Value;
use mysql::prelude::FromValue as _;
use pyzord_core::{Survey, UnixTime};

use super::error::StatementError;
use super::row;
use super::session::Session;

/// How many keys one slice looks at.
const SLICE: usize = 1000;
/// How many rows one slice removes at most. Reports of these digests wait until they are removed, and so do
/// the batches of those reports.
const REMOVED: usize = 20;

/// The state of a round.
#[derive(Clone, Debug, Default)]
pub(super) struct ExpiryRound {
    /// The last key of the slice before.
    after: Vec<u8>,
    /// How many rows were removed.
    pub(super) removed: u64,
}

/// The state of a survey.
#[derive(Clone, Debug)]
pub(super) struct SurveyRound {
    pub(super) limit: UnixTime,
    /// The last key of the slice before.
    after: Vec<u8>,
    pub(super) found: Survey,
}

impl SurveyRound {
    pub(super) fn new(limit: UnixTime) -> Self {
        Self { limit, after: Vec::new(), found: Survey::default() }
    }

    /// Examines the next slice, and returns whether it was the last.
    pub(super) fn slice(&mut self, session: &mut Session) -> Result<bool, StatementError> {
        let bound = session.sql.bound(SLICE);
        let found = session.run(&bound, &[Value::Bytes(self.after.clone())])?;
        let last_key = found.first().and_then(|row| row.as_ref(0)).cloned();
        let (text, limit) = (session.sql.survey(last_key.is_some()), session.codec.date(self.limit));
        let after = Value::Bytes(self.after.clone());
        let values: Vec<Value> = [Some(limit), Some(after), last_key.clone()].into_iter().flatten().collect();
        let rows = session.run(&text, &values)?;
        let number =
            |column| rows.first().and_then(|row| u64::from_value_opt(row.as_ref(column)?.clone()).ok());
        // A date that is not in the calendar is none.
        let newest = rows.first().and_then(|row| session.codec.read(row.as_ref(2)?).ok().flatten());
        self.found.records += number(0).unwrap_or(0);
        self.found.expired += number(1).unwrap_or(0);
        self.found.newest = self.found.newest.max(newest);
        self.after = last_key.as_ref().map_or_else(Vec::new, |key| row::text(key).to_vec());
        Ok(last_key.is_none())
    }
}

impl ExpiryRound {
    /// Removes the expired rows of the next slice, and returns whether it was the last.
    pub(super) fn slice(&mut self, session: &mut Session, limit: UnixTime) -> Result<bool, StatementError> {
        let bound = session.sql.bound(SLICE);
        let found = session.run(&bound, &[Value::Bytes(self.after.clone())])?;
        let mut last_key = found.first().and_then(|row| row.as_ref(0)).cloned();
        let values = |after: &[u8], last_key: &Option<Value>, limit: Value| {
            [Some(Value::Bytes(after.to_vec())), last_key.clone(), Some(limit)]
                .into_iter()
                .flatten()
                .collect::<Vec<Value>>()
        };
        let (text, limit) = (session.sql.expired(last_key.is_some(), REMOVED), session.codec.date(limit));
        let many = session.run(&text, &values(&self.after, &last_key, limit.clone()))?;
        // With so many expired rows the slice ends at the last of them, where the next one begins.
        last_key = many.first().and_then(|row| row.as_ref(0)).cloned().or(last_key);
        let text = session.sql.expire(last_key.is_some());
        session.run(&text, &values(&self.after, &last_key, limit.clone()))?;
        self.after = last_key.as_ref().map_or_else(Vec::new, |key| row::text(key).to_vec());
        self.removed += session.changed();
        Ok(last_key.is_none())
    }
}
