//! A round of expiry: looks at every key once, a slice at a time.
//!
//! A slice is a range of keys: a range of the primary key is read in milliseconds, however large the table is, and a
//! search for old dates reads all of it. Where the table has an index in the order of the last reports, a slice is a range of
//! that index, and only old rows are read.

use mysql::Value;
use mysql::prelude::FromValue as _;
use pyzord_core::{Survey, UnixTime};

use super::dated::DatedWalk;
use super::error::StatementError;
use super::estimate;
use super::row;
use super::session::Session;
use super::sql;

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
    /// How far it is in the index on dates, if there is one.
    dated: DatedWalk,
    /// How many rows were removed.
    pub(super) removed: u64,
}

/// The state of a survey.
#[derive(Clone, Debug)]
pub(super) struct SurveyRound {
    pub(super) limit: UnixTime,
    /// The last key of the slice before.
    after: Vec<u8>,
    /// How far it is in the index on dates; `None` if all rows are read.
    dated: Option<DatedWalk>,
    /// The parameters of the server's estimate of the number of rows.
    estimate: Vec<Value>,
    pub(super) found: Survey,
}

/// Rows are counted exactly if more than one in so many may have expired: the server's estimate is too far off to judge a
/// large share by it.
const EXACT_SHARE: u64 = 20;

impl SurveyRound {
    pub(super) fn new(limit: UnixTime, estimate: Vec<Value>) -> Self {
        Self {
            limit,
            after: Vec::new(),
            dated: Some(DatedWalk::default()),
            estimate,
            found: Survey::default(),
        }
    }

    /// Examines the next slice, and returns whether it was the last.
    pub(super) fn slice(&mut self, session: &mut Session) -> Result<bool, StatementError> {
        if let (Some(index), true) = (session.date_index.clone(), self.dated.is_some()) {
            return self.dated_slice(session, &index);
        }
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

    /// Examines the next slice of the index on dates. The number of all rows is the server's estimate, if it will do.
    fn dated_slice(&mut self, session: &mut Session, index: &str) -> Result<bool, StatementError> {
        let Some(mut walk) = self.dated.take() else { return Ok(false) };
        let (rows, ended) = walk.next(session, index, &session.codec.date(self.limit), SLICE)?;
        for row in rows {
            self.found.expired += u64::from(row.has_expired);
            let whitelisted = row.whitelisted.and_then(|date| session.codec.read(&date).ok().flatten());
            self.found.newest = self.found.newest.max(whitelisted);
        }
        self.dated = Some(walk);
        if !ended {
            return Ok(false);
        }
        let latest = session.run(&session.sql.latest_report(), &[])?;
        let latest = latest.first().and_then(|row| session.codec.read(row.as_ref(0)?).ok().flatten());
        self.found.newest = self.found.newest.max(latest);
        self.found.records = estimate::number(&session.run(estimate::ESTIMATE, &self.estimate)?).unwrap_or(0);
        if self.found.expired > self.found.records / EXACT_SHARE {
            (self.dated, self.found) = (None, Survey::default());
            return Ok(false);
        }
        Ok(true)
    }
}

impl ExpiryRound {
    /// Removes the expired rows of the next slice, and returns whether it was the last.
    pub(super) fn slice(&mut self, session: &mut Session, limit: UnixTime) -> Result<bool, StatementError> {
        if let Some(index) = session.date_index.clone() {
            return self.dated_slice(session, &index, limit);
        }
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

    /// Removes the expired rows of the next slice of the index on dates.
    fn dated_slice(
        &mut self,
        session: &mut Session,
        index: &str,
        limit: UnixTime,
    ) -> Result<bool, StatementError> {
        let limit = session.codec.date(limit);
        let mut walk = self.dated.clone();
        let (rows, ended) = walk.next(session, index, &limit, REMOVED)?;
        let expired: Vec<Value> = rows.into_iter().filter(|row| row.has_expired).map(|row| row.key).collect();
        if let Some(last) = expired.last().cloned() {
            let rows = sql::padded(expired.len());
            let keys = expired.into_iter().chain(std::iter::repeat(last)).take(rows);
            let values: Vec<Value> = keys.chain([limit]).collect();
            session.run(&session.sql.expire_some(rows), &values)?;
            self.removed += session.changed();
        }
        self.dated = walk;
        Ok(ended)
    }
}
