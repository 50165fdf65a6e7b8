//! The migration itself: scan, put, read back, and only then remove.

use std::collections::BTreeSet;

use pyzord_core::{Digest, Now, Record, StoreFailure, Task, Tick, UnixTime};
use pyzord_engines::{RecordStore, StoredEntry};

use super::progress::Progress;

/// How many failed keys are remembered, so that a scan that finds one again does not count it twice.
const REMEMBERED: usize = 1_000_000;

/// What is to be done.
pub(crate) struct Migration<'a> {
    /// Remove each record from the source once the destination holds it.
    pub(crate) delete: bool,
    /// Only read.
    pub(crate) dry_run: bool,
    pub(crate) progress: &'a Progress,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) transferred: u64,
    pub(crate) failed: u64,
}

/// A migration on its way.
struct Run<'a> {
    migration: &'a Migration<'a>,
    source: &'a mut (dyn RecordStore + 'a),
    destination: Option<&'a mut (dyn RecordStore + 'a)>,
    totals: Totals,
    failed: BTreeSet<String>,
}

impl Migration<'_> {
    /// Moves every record, and says how many, and what ended it early.
    pub(crate) fn run<'a>(
        &'a self,
        source: &'a mut (dyn RecordStore + 'a),
        destination: Option<&'a mut (dyn RecordStore + 'a)>,
    ) -> (Totals, Option<StoreFailure>) {
        let (totals, failed) = (Totals::default(), BTreeSet::new());
        let mut run = Run { migration: self, source, destination, totals, failed };
        let aborted = run.all().err();
        (run.totals, aborted)
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), StoreFailure> {
        let mut found = Vec::new();
        loop {
            found.clear();
            let progress = self.source.scan(&mut found)?;
            let before = self.totals.transferred;
            self.slice(&found)?;
            let seen = self.totals.transferred + self.totals.failed;
            self.migration.progress.advance(before, self.totals.transferred, seen);
            if progress == pyzord_core::Progress::Done {
                return self.sync();
            }
        }
    }

    /// Moves the entries of one slice of the scan.
    fn slice(&mut self, found: &[StoredEntry]) -> Result<(), StoreFailure> {
        let mut records = Vec::new();
        for entry in found {
            match &entry.record {
                Ok(record) => records.push(*record),
                Err(cause) => self.fail(&entry.key, &cause.to_string()),
            }
        }
        let held = self.transfer(&records)?;
        self.totals.transferred += held.len() as u64;
        if self.migration.delete && !held.is_empty() {
            // What is removed must be on the destination's disk, not only in its memory.
            self.sync()?;
            self.source.remove(&held)?;
        }
        Ok(())
    }

    /// Puts records into the destination and reads them back; returns the digests of those that it holds.
    fn transfer(&mut self, records: &[(Digest, Record)]) -> Result<Vec<Digest>, StoreFailure> {
        if self.migration.dry_run || records.is_empty() {
            return Ok(records.iter().map(|(digest, _)| *digest).collect());
        }
        let Some(destination) = self.destination.as_deref_mut() else { return Ok(Vec::new()) };
        let digests: Vec<Digest> = records.iter().map(|(digest, _)| *digest).collect();
        let (mut put, mut fetched) = (Vec::new(), Vec::new());
        destination.put(records, &mut put);
        destination.fetch(&digests, &mut fetched);
        // A destination that answers for no record at all is away: there is no point in naming each of them.
        if let (true, Some(Err(failure))) = (fetched.iter().all(Result::is_err), fetched.first()) {
            return Err(StoreFailure::new(format!("destination: {failure}")));
        }
        let (mut held, mut failures) = (Vec::new(), Vec::new());
        for (index, (digest, record)) in records.iter().enumerate() {
            let rounded = destination.rounded(record);
            if counts(&rounded) != counts(record) {
                let cut = format!("Record {digest}: its counts are cut to what the destination can hold");
                self.migration.progress.say(&cut);
            }
            match verdict(put.get(index), fetched.get(index), &rounded) {
                Ok(()) => held.push(*digest),
                Err(cause) => failures.push((digest.to_string(), cause)),
            }
        }
        failures.iter().for_each(|(key, cause)| self.fail(key, cause));
        Ok(held)
    }

    fn fail(&mut self, key: &str, cause: &str) {
        if self.failed.contains(key) {
            return;
        }
        if self.failed.len() < REMEMBERED {
            self.failed.insert(key.to_owned());
        }
        self.totals.failed += 1;
        self.migration.progress.say(&format!("Record {} failed: {cause}", key.escape_debug()));
    }

    fn sync(&mut self) -> Result<(), StoreFailure> {
        let Some(destination) = self.destination.as_deref_mut() else { return Ok(()) };
        // Nothing here depends on the time.
        let now = Now { wall: UnixTime::from_seconds(0), tick: Tick::default() };
        destination.upkeep(now, Task::Sync).map(drop)
    }
}

fn counts(record: &Record) -> [u64; 2] {
    [record.reports.count, record.whitelists.count]
}

/// Whether the destination holds the record as it was sent.
fn verdict(
    put: Option<&Result<(), StoreFailure>>,
    fetched: Option<&Result<Record, StoreFailure>>,
    expected: &Record,
) -> Result<(), String> {
    match (put, fetched) {
        (Some(Err(failure)), _) | (_, Some(Err(failure))) => Err(failure.to_string()),
        (Some(Ok(())), Some(Ok(record))) if record == expected => Ok(()),
        (Some(Ok(())), Some(Ok(_))) => Err("the destination holds something else than was sent".to_owned()),
        _ => Err("the destination gave no answer".to_owned()),
    }
}
