//! Changes of records that must be the expected ones.
//!
//! The conditions are in the statements, which are atomic with every storage engine. Their values are those that the
//! server returned, so they are compared as they are stored.

use std::collections::BTreeMap;

use mysql::Value;
use pyzord_core::{Digest, Record};

use super::error::StatementError;
use super::pauses::Pauses;
use super::row;
use super::session::{Kind, Session, keys};
use super::sql;
use crate::record_store::Exchange;

/// Whether each change was made, or why the server refused it.
type Results = Vec<Result<bool, StatementError>>;

/// A change in the form of its statement. Stored rows have their key in front.
enum Step {
    /// The record is not the expected one.
    Refuse,
    /// There is nothing to change.
    Keep,
    Insert([Value; 7]),
    Update {
        stored: Vec<Value>,
        new: [Value; 7],
    },
    Delete(Vec<Value>),
}

impl Session {
    /// Makes at most [`MOST_ROWS`](sql::MOST_ROWS) changes of different digests.
    pub(super) fn exchange(&mut self, changes: &[Exchange]) -> Result<Results, StatementError> {
        let digests: Vec<Digest> = changes.iter().map(|change| change.digest).collect();
        let rows = self.rows(&digests)?;
        let steps: Vec<Step> =
            changes.iter().map(|change| self.step(change, rows.get(&change.digest))).collect();
        // Most changes of a migration are of one kind, and all are made.
        let inserts: Vec<&Step> = steps.iter().filter(|step| matches!(step, Step::Insert(_))).collect();
        let others = |step: &&Step| matches!(step, Step::Update { .. } | Step::Delete(_));
        let others: Vec<&Step> = steps.iter().filter(others).collect();
        let (inserted, changed) = (self.together(&inserts)?, self.together(&others)?);
        let mut results = Vec::new();
        for step in &steps {
            let done = if matches!(step, Step::Insert(_)) { inserted } else { changed };
            results.push(match step {
                Step::Refuse => Ok(false),
                Step::Keep => Ok(true),
                _ if done => Ok(true),
                _ => match self.alone(step) {
                    Err(StatementError::Lost(cause)) => return Err(StatementError::Lost(cause)),
                    result => result,
                },
            });
        }
        Ok(results)
    }

    /// Returns the rows of digests as they are stored, with their keys in front.
    fn rows(&mut self, digests: &[Digest]) -> Result<BTreeMap<Digest, Vec<Value>>, StatementError> {
        let statement = self.prepared(Kind::Read, sql::padded(digests.len()))?;
        let rows = self.execute_statement(&statement, &keys(digests), 1)?;
        let with_key = |row: mysql::Row| {
            let values = row.unwrap();
            let digest = self.codec.digest(row::split(&values).0).ok()?;
            Some((digest, values))
        };
        Ok(rows.into_iter().filter_map(with_key).collect())
    }

    fn step(&self, change: &Exchange, stored: Option<&Vec<Value>>) -> Step {
        let record = stored.map_or(Ok(Record::default()), |stored| self.codec.record(row::split(stored).1));
        if record != Ok(change.expected) {
            return Step::Refuse;
        }
        let new = change.new.map(|new| (new, self.codec.row(change.digest, &new)));
        match (stored.cloned(), new) {
            (None, None) => Step::Keep,
            (None, Some((_, new))) => Step::Insert(new),
            // The server says of an update that changes no value that it changed no row.
            (Some(_), Some((new, _))) if self.codec.rounded(&new) == change.expected => Step::Keep,
            (Some(stored), Some((_, new))) => Step::Update { stored, new },
            (Some(stored), None) => Step::Delete(stored),
        }
    }

    /// Makes several changes in one transaction; returns whether all of them were made. Otherwise none was, unless the
    /// table has no transactions.
    fn together(&mut self, steps: &[&Step]) -> Result<bool, StatementError> {
        if steps.len() < 2 {
            return Ok(false);
        }
        self.query("START TRANSACTION")?;
        let committed = match self.apply(steps) {
            Ok(changed) if changed == steps.len() as u64 => self.query("COMMIT").map(|_| true),
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        match committed {
            Ok(true) => Ok(true),
            Err(StatementError::Lost(cause)) => Err(StatementError::Lost(cause)),
            Ok(false) | Err(_) => self.query("ROLLBACK").map(|_| false),
        }
    }

    /// Makes one change, again if another transaction was in its way.
    fn alone(&mut self, step: &Step) -> Result<bool, StatementError> {
        let mut pauses = Pauses::for_rows(1);
        loop {
            match self.apply(&[step]) {
                Err(StatementError::Contention(_)) if pauses.again(self.deadline()) => (),
                result => return result.map(|changed| changed == 1),
            }
        }
    }

    /// Makes changes, each statement once: a deadlock undoes the whole transaction, and a statement that is repeated
    /// would be outside of it. Returns the number of those that were made.
    fn apply(&mut self, steps: &[&Step]) -> Result<u64, StatementError> {
        let (mut inserted, mut deleted, mut changed) = (Vec::new(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Refuse | Step::Keep => (),
                Step::Insert(new) => inserted.push(&new[..]),
                Step::Delete(stored) => deleted.push(&stored[..]),
                Step::Update { stored, new } => {
                    let values: Vec<Value> = new.iter().skip(1).chain(stored).cloned().collect();
                    let update = self.sql.exchange();
                    self.run_once(&update, &values)?;
                    changed += self.changed();
                }
            }
        }
        for (rows, text) in [
            (&inserted, sql::Sql::insert as fn(&sql::Sql, usize) -> String),
            (&deleted, sql::Sql::delete_rows),
        ] {
            if !rows.is_empty() {
                let text = text(&self.sql, sql::padded(rows.len()));
                let last = rows.last().into_iter().cycle();
                let filled = rows.iter().chain(last).take(sql::padded(rows.len()));
                let values: Vec<Value> = filled.flat_map(|row| row.iter().cloned()).collect();
                self.run_once(&text, &values)?;
                changed += self.changed();
            }
        }
        Ok(changed)
    }
}
