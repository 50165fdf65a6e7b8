//! A walk through the rows that may have expired, where the table has an index on `r_updated`.
//!
//! A row has expired only if its last report is before the limit, or if it was never reported: all others are left unread.

use mysql::Value;

use super::error::StatementError;
use super::session::Session;

/// How far a walk is: the rows are in the order of their last report and their key, and those that were never reported
/// come last, in the order of their key.
#[derive(Clone, Debug)]
pub(super) struct DatedWalk {
    /// The last report of the last row; `None` among those that were never reported.
    date: Option<Value>,
    key: Value,
}

/// A row that may have expired.
#[derive(Debug)]
pub(super) struct DatedRow {
    pub(super) key: Value,
    pub(super) has_expired: bool,
    /// The last whitelisting of a row that was never reported.
    pub(super) whitelisted: Option<Value>,
}

impl Default for DatedWalk {
    /// Begins before the zero date, which some servers accept.
    fn default() -> Self {
        Self { date: Some(Value::Bytes(b"0000-00-00".to_vec())), key: Value::Bytes(Vec::new()) }
    }
}

impl DatedWalk {
    /// Returns the next rows, and whether they are the last ones.
    pub(super) fn next(
        &mut self,
        session: &mut Session,
        index: &str,
        limit: &Value,
        rows: usize,
    ) -> Result<(Vec<DatedRow>, bool), StatementError> {
        let reported = self.date.is_some();
        let text = session.sql.dated(index, reported, rows);
        let bounds = match &self.date {
            Some(date) => vec![date.clone(), limit.clone(), date.clone(), self.key.clone()],
            None => vec![self.key.clone()],
        };
        let values = [vec![limit.clone()], bounds].concat();
        let mut found = Vec::new();
        for row in session.run(&text, &values)? {
            let [Some(key), Some(date), Some(expired), Some(whitelisted)] =
                [0, 1, 2, 3].map(|column| row.as_ref(column).cloned())
            else {
                continue;
            };
            (self.date, self.key) = (self.date.as_ref().map(|_| date), key.clone());
            let has_expired = matches!(expired, Value::Int(1) | Value::UInt(1));
            found.push(DatedRow { key, has_expired, whitelisted: Some(whitelisted).filter(|_| !reported) });
        }
        let ended = found.len() < rows;
        if ended && reported {
            *self = Self { date: None, key: Value::Bytes(Vec::new()) };
        }
        Ok((found, ended && !reported))
    }
}
