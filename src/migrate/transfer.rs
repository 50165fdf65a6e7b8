//! The way of a slice of records: plan, journal, store, read back, and only then remove.
//!
//! Servers may count in both databases meanwhile. So each change names the record that it expects, and what was counted
//! in the source since a record was read is moved as well.

use pyzord_core::{Digest, Record, StoreFailure};
use pyzord_engines::{Exchange, RecordStore};

use super::error::{DatabaseError, MigrateError, Side};
use super::migration::{Item, Migration};
use super::moves::{Move, OnConflict, Progress, contains, rest, sum};
use crate::bulk;

/// How often a record is tried that a server changes all the time.
const TRIES: u32 = 8;
/// How many moves are looked at together.
const SLICE: usize = 250;

/// What is to be done with one record.
enum Plan {
    Store(Move),
    /// The destination has the same record.
    Stored(Move),
    /// The destination has another record, which stays.
    Keep,
}

impl Migration<'_> {
    /// Moves records of different digests.
    pub(super) fn move_items(&mut self, mut items: Vec<Item>) -> Result<(), MigrateError> {
        for pass in 0..TRIES {
            if items.is_empty() {
                return Ok(());
            }
            let stored = self.store(items)?;
            if pass == 0 {
                self.totals.transferred += stored.len() as u64;
            }
            if self.journal.is_none() {
                return Ok(());
            }
            // A record leaves the source only once the destination has it on its disk.
            self.sync()?;
            items = self.remove(stored)?;
            self.at_hand.clear();
        }
        for Item { digest, .. } in items {
            self.fail(
                &digest.to_string(),
                "it is counted all the time; its last counts are still in the source",
            );
        }
        Ok(())
    }

    /// Ends the moves of an earlier run that was interrupted.
    pub(super) fn recover(&mut self, interrupted: Vec<Move>) -> Result<(), MigrateError> {
        let mut stored = Vec::new();
        for moves in interrupted.chunks(SLICE) {
            let digests = digests(moves);
            let sources = fetch(&mut *self.databases.source, &digests, Side::Source)?;
            let Some(destination) = self.databases.destination.as_deref_mut() else { return Ok(()) };
            let destinations = fetch(destination, &digests, Side::Destination)?;
            for ((step, source), destination) in moves.iter().zip(sources).zip(destinations) {
                let progress = match (source, destination) {
                    (Ok(source), Ok(destination)) => step.progress(&source, &destination),
                    _ => Progress::Unknown,
                };
                match progress {
                    Progress::Removed => drop(self.additive.insert(step.digest)),
                    Progress::Stored => stored.push(*step),
                    Progress::NotBegun => (),
                    Progress::Unknown => self.leave(step),
                }
            }
        }
        self.totals.transferred += stored.len() as u64;
        self.at_hand = interrupted;
        self.sync()?;
        let rests = self.remove(stored)?;
        self.at_hand.clear();
        self.move_items(rests)
    }

    /// Leaves a move to the operator.
    fn leave(&mut self, step: &Move) {
        let path = self.journal.as_ref().map(|journal| journal.path().display().to_string());
        self.unresolved.push(*step);
        let cause = format!(
            "an earlier run was interrupted while it moved these {} reports and {} whitelistings, and the destination may \
             have them or not; compare both records, and remove it from the source or from {}",
            step.record.reports.count,
            step.record.whitelists.count,
            path.unwrap_or_default()
        );
        self.fail(&step.digest.to_string(), &cause);
    }

    /// Stores records in the destination. Returns the moves of those that it holds then.
    fn store(&mut self, items: Vec<Item>) -> Result<Vec<Move>, MigrateError> {
        let (mut stored, mut pending) = (Vec::new(), items);
        for _ in 0..TRIES {
            if pending.is_empty() {
                return Ok(stored);
            }
            let (items, moves) = self.plan(pending, &mut stored)?;
            if self.dry_run {
                stored.extend(moves);
                return Ok(stored);
            }
            if let Some(journal) = &mut self.journal {
                self.at_hand = [&stored[..], &moves].concat();
                journal.write(&[&self.unresolved[..], &self.at_hand].concat())?;
            }
            pending = self.apply(items, moves, &mut stored)?;
        }
        for Item { digest, .. } in pending {
            self.fail(&digest.to_string(), "its record in the destination changes all the time");
        }
        Ok(stored)
    }

    /// Compares the records with those of the destination. Returns those that are to be stored, with their moves.
    fn plan(
        &mut self,
        items: Vec<Item>,
        stored: &mut Vec<Move>,
    ) -> Result<(Vec<Item>, Vec<Move>), DatabaseError> {
        let (mut left, mut moves) = (Vec::new(), Vec::new());
        let Some(destination) = self.databases.destination.as_deref_mut() else {
            moves.extend(items.iter().map(|item| item.onto(Record::default(), item.record)));
            return Ok((items, moves));
        };
        let digests: Vec<Digest> = items.iter().map(|item| item.digest).collect();
        let present = fetch(destination, &digests, Side::Destination)?;
        for (item, present) in items.into_iter().zip(present) {
            let present = match present {
                Ok(present) => present,
                Err(failure) => {
                    self.fail(&item.digest.to_string(), &format!("destination: {failure}"));
                    continue;
                }
            };
            match self.plan_one(&item, present) {
                Plan::Keep => (),
                Plan::Stored(step) => stored.push(step),
                Plan::Store(step) => {
                    left.push(item);
                    moves.push(step);
                }
            }
        }
        Ok((left, moves))
    }

    fn plan_one(&mut self, item: &Item, present: Record) -> Plan {
        let rounded = |record: &Record| {
            self.databases.destination.as_deref().map_or(*record, |destination| destination.rounded(record))
        };
        let (wanted, added) = (rounded(&item.record), rounded(&sum(&present, &item.record)));
        if counts(&wanted) != counts(&item.record) {
            self.say(format_args!(
                "Record {}: the counts are cut to the largest that the destination can hold",
                item.digest
            ));
        }
        if present == Record::default() {
            return Plan::Store(item.onto(present, wanted));
        }
        if item.additive {
            return Plan::Store(item.onto(present, added));
        }
        if present == wanted {
            // What stood there before the run that stored it does not matter.
            return Plan::Stored(item.onto(Record::default(), wanted));
        }
        self.conflict(item.digest, &item.record, &present);
        match self.on_conflict {
            OnConflict::Keep => Plan::Keep,
            OnConflict::Replace => Plan::Store(item.onto(present, wanted)),
            OnConflict::Add => Plan::Store(item.onto(present, added)),
        }
    }

    /// Makes the moves in the destination and reads the records back. Returns those that are to be tried again, as the
    /// destination's record has changed.
    fn apply(
        &mut self,
        items: Vec<Item>,
        moves: Vec<Move>,
        stored: &mut Vec<Move>,
    ) -> Result<Vec<Item>, MigrateError> {
        let Some(destination) = self.databases.destination.as_deref_mut() else { return Ok(Vec::new()) };
        let change = |Move { digest, before, after, .. }: &Move| Exchange {
            digest: *digest,
            expected: *before,
            new: Some(*after),
        };
        let changes: Vec<Exchange> = moves.iter().map(change).collect();
        let changed =
            bulk::exchange(destination, &changes).map_err(|failure| Side::Destination.failed(failure))?;
        let present = fetch(destination, &digests(&moves), Side::Destination)?;
        let mut again = Vec::new();
        for (((item, step), changed), present) in items.into_iter().zip(moves).zip(changed).zip(present) {
            let name = item.digest.to_string();
            match (changed, present) {
                (_, Ok(present)) if present == step.after => stored.push(step),
                (Ok(true), Ok(present)) if is_counted_on(&present, &step.after) => stored.push(step),
                (Ok(true), Ok(_)) => {
                    self.fail(&name, "the destination holds another record than the one that was sent");
                    continue;
                }
                (Ok(false), Ok(_)) => again.push(item),
                (Err(failure), Ok(present)) if present == step.before => {
                    self.refuse(item.digest, &failure.to_string())?;
                    continue;
                }
                // It may be stored or not: the next run looks.
                (Err(failure), _) | (_, Err(failure)) => {
                    return Err(Side::Destination.failed(failure).into());
                }
            }
            self.accept();
        }
        Ok(again)
    }

    /// Removes records from the source that the destination holds. Returns what was counted in it meanwhile.
    fn remove(&mut self, stored: Vec<Move>) -> Result<Vec<Item>, MigrateError> {
        let mut rests = Vec::new();
        let whole = |step: &Move| Exchange { digest: step.digest, expected: step.record, new: None };
        let mut pending: Vec<(Move, Exchange)> =
            stored.into_iter().map(|step| (step, whole(&step))).collect();
        for _ in 0..TRIES {
            if pending.is_empty() {
                return Ok(rests);
            }
            let changes: Vec<Exchange> = pending.iter().map(|(_, change)| *change).collect();
            let source = &mut *self.databases.source;
            let results = bulk::exchange(source, &changes)
                .and_then(|results| results.into_iter().collect::<Result<Vec<bool>, StoreFailure>>());
            let results = results.map_err(|failure| Side::Source.failed(failure))?;
            let (done, left): (Vec<_>, Vec<_>) =
                pending.into_iter().zip(results).partition(|(_, done)| *done);
            rests.extend(done.into_iter().filter_map(|((_, Exchange { digest, new, .. }), _)| {
                new.map(|record| Item { digest, record, additive: true })
            }));
            pending = self.changed_meanwhile(left.into_iter().map(|((step, _), _)| step).collect())?;
        }
        for (step, _) in pending {
            // The next run finds in the journal that the destination has it.
            self.unresolved.push(step);
            self.fail(
                &step.digest.to_string(),
                "its record in the source changes all the time, and is still there",
            );
        }
        Ok(rests)
    }

    /// Returns the changes that take these records out of what the source has of them by now.
    fn changed_meanwhile(&mut self, moves: Vec<Move>) -> Result<Vec<(Move, Exchange)>, DatabaseError> {
        let mut changes = Vec::new();
        if moves.is_empty() {
            return Ok(changes);
        }
        let present = fetch(&mut *self.databases.source, &digests(&moves), Side::Source)?;
        for (step, present) in moves.into_iter().zip(present) {
            let (digest, record) = (step.digest, step.record);
            match present {
                Ok(expected) if expected == Record::default() => (),
                Ok(expected) if expected == record => {
                    changes.push((step, Exchange { digest, expected, new: None }));
                }
                Ok(expected) if contains(&expected, &record) => {
                    let new = Some(rest(&expected, &record)).filter(|rest| *rest != Record::default());
                    changes.push((step, Exchange { digest, expected, new }));
                }
                Ok(_) => {
                    self.fail(&digest.to_string(), "another record took its place in the source meanwhile");
                }
                Err(failure) => self.fail(&digest.to_string(), &format!("source: {failure}")),
            }
        }
        Ok(changes)
    }
}

impl Item {
    fn onto(&self, before: Record, after: Record) -> Move {
        Move { digest: self.digest, record: self.record, before, after }
    }
}

type Results<T> = Vec<Result<T, StoreFailure>>;

/// Reads records. A database that fails for all of them is not available: that is one error, not one for each record.
fn fetch(
    database: &mut dyn RecordStore,
    digests: &[Digest],
    side: Side,
) -> Result<Results<Record>, DatabaseError> {
    let fetched = bulk::fetch(database, digests).map_err(|failure| side.failed(failure))?;
    match fetched.first() {
        Some(Err(failure)) if fetched.len() > 1 && fetched.iter().all(Result::is_err) => {
            Err(side.failed(failure.clone()))
        }
        _ => Ok(fetched),
    }
}

fn digests(moves: &[Move]) -> Vec<Digest> {
    moves.iter().map(|step| step.digest).collect()
}

fn counts(record: &Record) -> [u64; 2] {
    [record.reports.count, record.whitelists.count]
}

/// Returns whether a server has counted on from this record.
fn is_counted_on(present: &Record, from: &Record) -> bool {
    let grown = counts(present).into_iter().zip(counts(from)).all(|(present, from)| present >= from);
    grown && counts(present) != counts(from)
}
