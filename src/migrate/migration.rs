//! The migration: scans the source, and tells what became of each record.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{Digest, Now, Progress, Record, Task, Tick, UnixTime};
use pyzord_engines::StoredEntry;

use super::databases::{Databases, is_mark};
use super::error::{DatabaseError, MigrateError, Side};
use super::journal::Journal;
use super::moves::{Move, OnConflict};
use super::options::MigrateOptions;
use super::progress::ProgressDisplay;

/// The most keys that are remembered. A scan can find a key twice; a remembered one is named and counted once.
const MAX_REMEMBERED: usize = 1_000_000;
/// The most records that are named because the destination has another one.
const MAX_NAMED: u64 = 20;
/// The number of refusals of one cause after which nothing else is expected from the destination.
const MAX_REFUSALS: u32 = 20;
/// The number of moves that are left to the next run after which the destination does not work, too.
const MAX_UNRESOLVED: usize = 1000;

/// The numbers of records that were moved, and that were not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) transferred: u64,
    pub(crate) failed: u64,
    /// Records of which the destination had another one.
    pub(crate) conflicts: u64,
}

/// A migration from one database to another.
pub(crate) struct Migration<'a> {
    pub(super) databases: &'a mut Databases,
    pub(super) on_conflict: OnConflict,
    pub(super) dry_run: bool,
    /// Each record is removed from the source once the destination holds it, if there is a journal.
    pub(super) journal: Option<Journal>,
    /// The moves in the journal that may be half done.
    pub(super) at_hand: Vec<Move>,
    /// The moves that the next run is to end. They stay in the journal.
    pub(super) unresolved: Vec<Move>,
    /// Digests that an earlier run has moved: what the source has by now was counted since.
    pub(super) additive: BTreeSet<Digest>,
    display: &'a ProgressDisplay,
    pub(super) totals: Totals,
    /// Keys of records that were named.
    named: BTreeSet<String>,
    /// The last cause of a refusal, and how often it came in a row.
    refused: (String, u32),
}

impl<'a> Migration<'a> {
    pub(crate) fn new(
        databases: &'a mut Databases,
        options: &MigrateOptions,
        journal: Option<Journal>,
        display: &'a ProgressDisplay,
    ) -> Self {
        Self {
            databases,
            on_conflict: options.on_conflict,
            dry_run: options.dry_run,
            journal,
            at_hand: Vec::new(),
            unresolved: Vec::new(),
            additive: BTreeSet::new(),
            display,
            totals: Totals::default(),
            named: BTreeSet::new(),
            refused: (String::new(), 0),
        }
    }

    /// Moves all records; first ends the moves that an earlier run has left half done.
    pub(crate) fn run(&mut self, interrupted: &[Move]) -> Result<(), MigrateError> {
        let result = self.recover(interrupted).and_then(|()| self.move_all());
        let done = self.at_hand.is_empty() && self.unresolved.is_empty();
        if let Some(journal) = self.journal.take_if(|_| done) {
            journal.remove()?;
        }
        result
    }

    fn move_all(&mut self) -> Result<(), MigrateError> {
        let mut found = Vec::new();
        loop {
            found.clear();
            let scanned = self.databases.source.scan(&mut found);
            let progress = scanned.map_err(|failure| Side::Source.failed(failure))?;
            let before = self.totals.transferred;
            let records = self.readable(&found);
            self.databases.check_different(&records)?;
            self.move_items(records)?;
            let Totals { transferred, failed, conflicts } = self.totals;
            self.display.advance(before, transferred, transferred + failed + conflicts);
            if progress == Progress::Done {
                return Ok(self.sync(Side::Destination)?);
            }
        }
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Returns the records that can be moved, each once, and names those that cannot be read.
    fn readable(&mut self, found: &[StoredEntry]) -> Vec<(Digest, Record)> {
        let mut records = BTreeMap::new();
        for entry in found {
            match &entry.record {
                Ok((digest, _)) if is_mark(*digest) || self.is_unresolved(*digest) => (),
                Ok((digest, record)) => drop(records.insert(*digest, *record)),
                Err(cause) => self.fail(&entry.key, &cause.to_string()),
            }
        }
        records.into_iter().collect()
    }

    fn is_unresolved(&self, digest: Digest) -> bool {
        self.unresolved.iter().any(|unresolved| unresolved.digest == digest)
    }

    /// Remembers a key; returns whether it is new.
    fn remember(&mut self, key: &str) -> bool {
        if self.named.contains(key) {
            return false;
        }
        if self.named.len() < MAX_REMEMBERED {
            self.named.insert(key.to_owned());
        }
        true
    }

    pub(super) fn fail(&mut self, key: &str, cause: &str) {
        if self.remember(key) {
            self.totals.failed += 1;
            self.say(format_args!("Record {} failed: {cause}", key.escape_debug()));
        }
    }

    /// Counts a record of which the destination has another one.
    pub(super) fn conflict(&mut self, digest: Digest, source: &Record, destination: &Record) {
        if !self.remember(&digest.to_string()) {
            return;
        }
        self.totals.conflicts += 1;
        let named = self.totals.conflicts;
        if named > MAX_NAMED || !self.dry_run && self.on_conflict != OnConflict::Keep {
            return;
        }
        let counts = |record: &Record| {
            format!("{} reports and {} whitelistings", record.reports.count, record.whitelists.count)
        };
        let would = if self.dry_run { " would be" } else { "" };
        self.say(format_args!(
            "Record {digest}{would} {}: the destination has {}, the source {}",
            self.on_conflict.done(),
            counts(destination),
            counts(source)
        ));
        if named == MAX_NAMED {
            self.say(format_args!("More such records are not named"));
        }
    }

    /// Counts a refusal of the destination. Fails if it is one of many.
    pub(super) fn refuse(&mut self, step: Move, cause: &str) -> Result<(), MigrateError> {
        self.leave(step, cause);
        if self.refused.0 != cause {
            self.refused = (cause.to_owned(), 0);
        }
        self.refused.1 += 1;
        if self.refused.1 < MAX_REFUSALS && self.unresolved.len() < MAX_UNRESOLVED {
            return Ok(());
        }
        let (cause, count) = std::mem::take(&mut self.refused);
        Err(MigrateError::Refused { count, cause })
    }

    /// Remembers that the destination has stored a record.
    pub(super) fn accept(&mut self) {
        self.refused.1 = 0;
    }

    pub(super) fn say(&self, line: std::fmt::Arguments<'_>) {
        self.display.print(line);
    }

    pub(super) fn sync(&mut self, side: Side) -> Result<(), DatabaseError> {
        let Some(database) = self.databases.side(side).filter(|_| !self.dry_run) else {
            return Ok(());
        };
        // A sync does not use the time.
        let now = Now { wall: UnixTime::from_seconds(0), tick: Tick::default() };
        database.upkeep(now, Task::Sync).map(drop).map_err(|failure| side.failed(failure))
    }
}
