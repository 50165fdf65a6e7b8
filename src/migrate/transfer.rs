//! The way of a slice of records through the stages of their moves.
//!
//! Servers may count in both databases meanwhile. So each change names the record that it expects, and what was counted
//! in the source since a record was read is moved as well.

use pyzord_core::{Digest, Record, StoreFailure};
use pyzord_engines::{Change, Exchange, RecordStore};

use super::error::{DatabaseError, MigrateError, Side};
use super::migration::Migration;
use super::moves::{Move, OnConflict, Stage, is_rest, plain};
use crate::bulk;

/// How often a record is tried that a server changes all the time.
const TRIES: u32 = 8;
/// How many moves are looked at together.
const SLICE: usize = 250;

/// A record on its way.
type Item = (Digest, Record);

/// What is to be done with one record.
enum Plan {
    Store(Move),
    /// The destination has the same record, and a copy is all that is wanted.
    Stored(Move),
    /// The destination has another record, which stays.
    Keep,
}

/// What is to be done with a record, as it is by now.
enum Next {
    /// It becomes this one, or is removed.
    Change(Option<Record>),
    Nothing,
}

/// A move whose stage is done: the change was made, or the record needed none.
type Done = (Move, Option<Record>);

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
            items = self.complete(stored, Vec::new())?;
        }
        for (digest, _) in items {
            self.fail(
                &digest.to_string(),
                "it is counted all the time; its last counts are still in the source",
            );
        }
        Ok(())
    }

    /// Ends the moves of an earlier run that was interrupted, each from its stage on.
    pub(super) fn recover(&mut self, interrupted: &[Move]) -> Result<(), MigrateError> {
        self.unresolved = interrupted.to_vec();
        for moves in interrupted.chunks(SLICE) {
            self.at_hand = self.unresolved.drain(..moves.len()).collect();
            let at =
                |stage| moves.iter().filter(move |step| step.stage == stage).copied().collect::<Vec<_>>();
            // A change that was made is not made again: its mark is there, and not the record that it expects. Such a
            // repetition also decides about a change that is still on its way.
            let (mut stored, _) = self.apply(at(Stage::Store))?;
            self.totals.transferred += stored.len() as u64;
            stored.extend(at(Stage::Remove));
            let rests = self.complete(stored, at(Stage::Finish))?;
            self.move_items(rests)?;
        }
        Ok(())
    }

    /// Takes moves through their last two stages. Returns what was counted in the source meanwhile.
    fn complete(&mut self, stored: Vec<Move>, mut finishing: Vec<Move>) -> Result<Vec<Item>, MigrateError> {
        // A record leaves the source only once the destination has it on its disk.
        self.sync(Side::Destination)?;
        let stored: Vec<Move> = stored.into_iter().map(|step| step.at(Stage::Remove)).collect();
        self.note([&stored[..], &finishing].concat())?;
        finishing.extend(self.remove(stored)?.into_iter().map(|step| step.at(Stage::Finish)));
        self.sync(Side::Source)?;
        self.note(finishing.clone())?;
        let rests = self.finish(finishing)?;
        self.sync(Side::Destination)?;
        self.at_hand.clear();
        Ok(rests)
    }

    /// Writes the moves at hand to the journal.
    fn note(&mut self, moves: Vec<Move>) -> Result<(), MigrateError> {
        if let Some(journal) = &mut self.journal {
            self.at_hand = moves;
            journal.write(&[&self.unresolved[..], &self.at_hand].concat())?;
        }
        Ok(())
    }

    /// Leaves a move to the next run.
    pub(super) fn leave(&mut self, step: Move, cause: &str) {
        if self.journal.is_some() {
            self.unresolved.push(step);
        }
        self.fail(&step.digest.to_string(), cause);
    }

    /// Stores records in the destination. Returns the moves of those that it holds then.
    fn store(&mut self, items: Vec<Item>) -> Result<Vec<Move>, MigrateError> {
        let (mut stored, mut pending) = (Vec::new(), items);
        for _ in 0..TRIES {
            if pending.is_empty() {
                return Ok(stored);
            }
            let moves = self.plan(pending, &mut stored)?;
            if self.dry_run {
                stored.extend(moves);
                return Ok(stored);
            }
            self.note([&stored[..], &moves].concat())?;
            let (done, again) = self.apply(moves)?;
            stored.extend(done);
            pending = again.into_iter().map(|step| (step.digest, step.record)).collect();
        }
        for (digest, _) in pending {
            self.fail(&digest.to_string(), "its record in the destination changes all the time");
        }
        Ok(stored)
    }

    /// Compares the records with those of the destination. Returns the moves of those that are to be stored.
    fn plan(&mut self, items: Vec<Item>, stored: &mut Vec<Move>) -> Result<Vec<Move>, DatabaseError> {
        let Some(destination) = self.databases.destination.as_deref_mut() else {
            return Ok(items.iter().map(|item| onto(item, Record::default(), item.1)).collect());
        };
        let digests: Vec<Digest> = items.iter().map(|(digest, _)| *digest).collect();
        let present = fetch(destination, &digests, Side::Destination)?;
        let mut moves = Vec::new();
        for (item, present) in items.into_iter().zip(present) {
            match present.map(|present| self.plan_one(&item, present)) {
                Ok(Plan::Keep) => (),
                Ok(Plan::Stored(step)) => stored.push(step),
                Ok(Plan::Store(step)) => moves.push(step),
                Err(failure) => self.fail(&item.0.to_string(), &format!("destination: {failure}")),
            }
        }
        Ok(moves)
    }

    fn plan_one(&mut self, item: &Item, present: Record) -> Plan {
        let (digest, record) = (item.0, plain(&item.1));
        let rounded = |record: &Record| {
            self.databases.destination.as_deref().map_or(*record, |destination| destination.rounded(record))
        };
        let (wanted, added) = (rounded(&record), rounded(&Change::Merge(record).apply(&plain(&present))));
        if counts(&wanted) != counts(&record) {
            self.say(format_args!(
                "Record {digest}: the counts are cut to the largest that the destination can hold",
            ));
        }
        if present == Record::default() {
            return Plan::Store(onto(item, present, wanted));
        }
        // It was counted beside the destination's record.
        if is_rest(&item.1) || self.additive.contains(&digest) {
            return Plan::Store(onto(item, present, added));
        }
        let adds = self.on_conflict == OnConflict::Add;
        if present == wanted && !adds {
            let step = onto(item, present, wanted);
            return if self.journal.is_some() { Plan::Store(step) } else { Plan::Stored(step) };
        }
        self.conflict(digest, &record, &present);
        match self.on_conflict {
            OnConflict::Keep => Plan::Keep,
            OnConflict::Replace => Plan::Store(onto(item, present, wanted)),
            OnConflict::Add => Plan::Store(onto(item, present, added)),
        }
    }

    /// Makes the moves in the destination and reads the records back. Returns those that it holds then, and those that are
    /// to be tried again, as the destination's record has changed.
    fn apply(&mut self, moves: Vec<Move>) -> Result<(Vec<Move>, Vec<Move>), MigrateError> {
        let (mut stored, mut again) = (Vec::new(), Vec::new());
        let marked = self.journal.is_some();
        let new = |step: &Move| if marked { step.stored() } else { step.after };
        let Some(destination) = self.databases.destination.as_deref_mut() else {
            return Ok((stored, again));
        };
        let change =
            |step: &Move| Exchange { digest: step.digest, expected: step.before, new: Some(new(step)) };
        let changes: Vec<Exchange> = moves.iter().map(change).collect();
        let changed =
            bulk::exchange(destination, &changes).map_err(|failure| Side::Destination.failed(failure))?;
        let present = fetch(destination, &digests(&moves), Side::Destination)?;
        for ((step, changed), present) in moves.into_iter().zip(changed).zip(present) {
            let is_held = |present: &Record| match changed {
                Ok(true) => is_counted_on(present, &new(&step)),
                // An earlier try has stored it.
                _ => marked && step.is_stored(present),
            };
            match (&changed, present) {
                (_, Ok(present)) if present == new(&step) || is_held(&present) => stored.push(step),
                (Ok(true), Ok(_)) => {
                    self.leave(step, "the destination holds another record than the one that was sent");
                    continue;
                }
                (Ok(false), Ok(_)) => again.push(step),
                // A change that was refused may have been made later than the record was read back.
                (Err(failure), Ok(present)) if present == step.before => {
                    self.refuse(step, &failure.to_string())?;
                    continue;
                }
                // It may be stored or not: the next run looks.
                (Err(failure), Ok(_)) => return Err(Side::Destination.failed(failure.clone()).into()),
                (_, Err(failure)) => return Err(Side::Destination.failed(failure).into()),
            }
            self.accept();
        }
        Ok((stored, again))
    }

    /// Removes records from the source that the destination holds. Returns the moves of those that are not in it now.
    fn remove(&mut self, stored: Vec<Move>) -> Result<Vec<Move>, MigrateError> {
        let pending = stored.into_iter().map(|step| (step, step.record)).collect();
        let done = self.change(Side::Source, pending, |step, source| match step.rest(source) {
            Some(rest) if !step.is_removed(source) => Next::Change(Some(rest)),
            _ => Next::Nothing,
        })?;
        for (Move { digest, .. }, source) in done.iter().filter(|(step, source)| !is_gone(step, source)) {
            let counts = source.map(|source| counts(&source)).unwrap_or_default();
            self.fail(
                &digest.to_string(),
                &format!("another record with {} reports took its place in the source meanwhile", counts[0]),
            );
        }
        Ok(done.into_iter().map(|(step, _)| step).collect())
    }

    /// Takes the marks away. Returns what was counted in the source since its records were moved.
    fn finish(&mut self, moves: Vec<Move>) -> Result<Vec<Item>, MigrateError> {
        let pending = moves.into_iter().map(|step| (step, step.stored())).collect();
        let done = self.change(Side::Destination, pending, |step, destination| {
            let new = || Next::Change(Some(step.finished(destination)));
            if step.is_stored(destination) { new() } else { Next::Nothing }
        })?;
        let expected = |step: Move| (step, step.rest(&step.record).unwrap_or_default());
        let pending = done.into_iter().map(|(step, _)| expected(step)).collect();
        let done = self.change(Side::Source, pending, |step, source| {
            let is_empty = step.is_removed(source) && counts(source) == [0; 2];
            if is_empty { Next::Change(None) } else { Next::Nothing }
        })?;
        let mut rests = Vec::new();
        for (Move { digest, .. }, source) in done {
            match source {
                Some(source) if is_rest(&source) => rests.push((digest, source)),
                // It was counted after an earlier run had removed the old one.
                Some(source) if source != Record::default() => drop(self.additive.insert(digest)),
                _ => (),
            }
        }
        Ok(rests)
    }

    /// Changes records of one database until nothing is left to do, and returns what they were then. Each move comes with
    /// the record that is expected.
    fn change(
        &mut self,
        side: Side,
        mut pending: Vec<(Move, Record)>,
        next: impl Fn(&Move, &Record) -> Next,
    ) -> Result<Vec<Done>, MigrateError> {
        let mut done = Vec::new();
        for _ in 0..TRIES {
            let (mut moves, mut changes) = (Vec::new(), Vec::new());
            for (step, expected) in std::mem::take(&mut pending) {
                match next(&step, &expected) {
                    Next::Change(new) => {
                        moves.push(step);
                        changes.push(Exchange { digest: step.digest, expected, new });
                    }
                    Next::Nothing => done.push((step, Some(expected))),
                }
            }
            let Some(database) = self.databases.side(side).filter(|_| !moves.is_empty()) else {
                return Ok(done);
            };
            let results = bulk::exchange(database, &changes)
                .and_then(|results| results.into_iter().collect::<Result<Vec<bool>, StoreFailure>>())
                .map_err(|failure| side.failed(failure))?;
            let (changed, left): (Vec<_>, Vec<_>) =
                moves.into_iter().zip(results).partition(|(_, changed)| *changed);
            done.extend(changed.into_iter().map(|(step, _)| (step, None)));
            let left: Vec<Move> = left.into_iter().map(|(step, _)| step).collect();
            if left.is_empty() {
                return Ok(done);
            }
            for (step, present) in left.iter().zip(fetch(database, &digests(&left), side)?) {
                match present {
                    Ok(present) => pending.push((*step, present)),
                    Err(failure) => self.leave(*step, &format!("{side}: {failure}")),
                }
            }
        }
        for (step, _) in pending {
            self.leave(step, &format!("its record in the {side} changes all the time; the next run goes on"));
        }
        Ok(done)
    }
}

fn onto((digest, record): &Item, before: Record, after: Record) -> Move {
    Move { stage: Stage::Store, digest: *digest, record: *record, before, after }
}

/// Returns whether the source's record has lost what was moved: by a change, or as it is gone as a whole.
fn is_gone(step: &Move, source: &Option<Record>) -> bool {
    source.is_none_or(|source| source == Record::default() || step.is_removed(&source))
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
