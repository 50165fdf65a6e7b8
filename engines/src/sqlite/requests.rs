//! Executes the calls of requests.

use pyzord_core::{Digest, Now, Record, StoreAnswer, StoreError, StoreOp};
use rusqlite::Connection;

use super::connection::in_one_state;
use super::database::{ReaderSlot, Shared, lock};
use super::durability::Covered;
use super::error::DatabaseError;
use super::table::{self, Change, Select, Stored};
use crate::merge::MergedCall;

/// How long an answer waits for a sync.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(400);

impl Shared {
    /// Appends the answers to calls that only read.
    pub(super) fn read_all(
        &self,
        slot: &ReaderSlot,
        now: Now,
        calls: &[MergedCall],
        answers: &mut Vec<StoreAnswer>,
    ) {
        let start = answers.len();
        let mut read = |connection: &Connection| {
            let mut select = Select::new(connection)?;
            answers.extend(calls.iter().map(|call| self.record(now, &call.digest, select.get(&call.digest))));
            Ok(())
        };
        let done = self.read(slot, |connection| {
            // One statement is one state.
            Ok(if calls.len() == 1 { read(connection) } else { in_one_state(connection, &mut read) }?)
        });
        if let Err(error) = done {
            let refused = self.refuse(now, &error);
            answers.truncate(start);
            answers.resize(start + calls.len(), Err(refused));
        }
    }

    /// Appends the answers to calls of which some count. Returns the number of their last commit.
    pub(super) fn commit_all(
        &self,
        slot: &ReaderSlot,
        now: Now,
        calls: &[MergedCall],
        answers: &mut Vec<StoreAnswer>,
    ) -> Option<u64> {
        let start = answers.len();
        let written = self
            .check_counts(now)
            .and_then(|()| self.write(|writer| self.count(writer, now, calls, answers)));
        match written {
            Ok(((), commit)) => Some(commit),
            // One digest may be on a page that contradicts others.
            Err(error) if error.is_damage() && calls.len() > 1 => {
                answers.truncate(start);
                let alone = |call| self.commit_all(slot, now, std::slice::from_ref(call), answers);
                calls.iter().filter_map(alone).last()
            }
            Err(error) => {
                let refused = self.refuse(now, &error);
                answers.truncate(start);
                // Reads need no writer. Nothing was counted, so that they are right.
                self.read_all(slot, now, calls, answers);
                let answers = calls.iter().zip(answers.iter_mut().skip(start));
                answers
                    .filter(|(call, _)| call.op != StoreOp::Read)
                    .for_each(|(_, answer)| *answer = Err(refused));
                None
            }
        }
    }

    /// Fails if a count would be lost, or not be as durable as promised.
    pub(super) fn check_counts(&self, now: Now) -> Result<(), DatabaseError> {
        self.commits.check(now.tick)?;
        self.check_presence(now.tick)
    }

    /// Executes calls in the order in which they are.
    fn count(
        &self,
        writer: &Connection,
        now: Now,
        calls: &[MergedCall],
        answers: &mut Vec<StoreAnswer>,
    ) -> Result<(), DatabaseError> {
        let (mut select, mut change, mut added) = (Select::new(writer)?, Change::new(writer)?, 0);
        for call in calls {
            let stored = select.get(&call.digest);
            let is_new = matches!(stored, Ok(None));
            let mut answer = self.record(now, &call.digest, stored);
            if let (Ok(record), StoreOp::Report | StoreOp::Whitelist) = (&mut answer, call.op) {
                (0..call.times).for_each(|_| call.op.apply(record, now.wall));
                change.store(&call.digest, record)?;
                added += i64::from(is_new);
            }
            answers.push(answer);
        }
        Ok(table::add_records(writer, added)?)
    }

    /// Waits until a commit is on the disk. Returns whether it is.
    pub(super) fn is_durable(&self, now: Now, commit: u64) -> bool {
        let covered = self.commits.settle(commit, PATIENCE, || self.sync_log());
        // A sync that fails has a log line of its own.
        if covered == Covered::NotYet
            && let Some(more) = lock(&self.limiters).late.due(now.tick)
        {
            log::error!(
                "{}: reports were counted and are not yet on the disk after 0.4 seconds; they get 500: a faster disk, or `Durability = deferred`{more}",
                self.name()
            );
        }
        covered == Covered::Yes
    }

    /// Returns what was read as an answer.
    fn record(&self, now: Now, digest: &Digest, stored: rusqlite::Result<Stored>) -> StoreAnswer {
        match stored {
            Ok(None) => Ok(Record::default()),
            Ok(Some(Ok(record))) => Ok(record),
            Ok(Some(Err(why))) => {
                if let Some(more) = lock(&self.limiters).unreadable.due(now.tick) {
                    log::warn!(
                        "{}: the record of {digest} is left as it is, unreadable: {why}{more}",
                        self.name()
                    );
                }
                Err(StoreError::Unreadable)
            }
            Err(error) => Err(self.refuse(now, &error.into())),
        }
    }

    /// Logs why a call is not executed.
    fn refuse(&self, now: Now, error: &DatabaseError) -> StoreError {
        let mut limiters = lock(&self.limiters);
        let limiter = limiters.failing.get_mut(error.index());
        if let Some(more) = limiter.and_then(|limiter| limiter.due(now.tick)) {
            log::error!("{}: {error}{more}", self.name());
        }
        StoreError::Unavailable
    }
}
