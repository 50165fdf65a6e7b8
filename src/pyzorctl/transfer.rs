//! All records out to text, and back in.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};

use pyzord_core::{Digest, Record, StoreFailure, Tally};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::Access;

use super::failure::{Failure, Outcome, status};
use super::options::{Export, Import};
use super::site::{STOP, Site, each};

/// How many records are stored at once.
const SLICE: usize = 250;
/// A line with more bytes is no record.
const LONGEST: u64 = 1024;

/// Writes all records; those that nobody can read are named.
pub(crate) fn export(site: &Site, options: &Export, out: &mut dyn Write) -> Outcome {
    let mut database = site.wait(Access::Read, &options.waiting).map_err(|shut| shut.or(STOP))?;
    let mut unreadable = 0_u64;
    options.format.write_head(out)?;
    each(&mut *database, |entry| {
        match entry.record {
            Ok((digest, record)) => options.format.write(out, digest, &record)?,
            Err(cause) => {
                unreadable += 1;
                eprintln!("pyzorctl: {}: {cause}", entry.key.escape_debug());
            }
        }
        Ok(())
    })?;
    Ok(status(unreadable == 0))
}

/// Stores what an export has; lines that are none and records that cannot be stored are named by number.
pub(crate) fn import(site: &Site, options: &Import, out: &mut dyn Write) -> Outcome {
    let file = options.file.as_deref();
    let name = file.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let failed = |error: io::Error| format!("{name}: {error}");
    let mut input: Box<dyn BufRead> = match file {
        Some(path) => Box::new(BufReader::new(File::open(path).map_err(failed)?)),
        None => Box::new(io::stdin().lock()),
    };
    let database = site.wait(Access::Create, &options.waiting).map_err(|shut| shut.or(STOP))?;
    let mut load = Load {
        options,
        name: &name,
        database,
        batch: Vec::new(),
        digests: BTreeSet::new(),
        done: 0,
        failed: 0,
    };
    let mut line = Vec::new();
    let mut number = 0;
    while read_line(&mut *input, &mut line).map_err(failed)? {
        number += 1;
        load.line(number, &line)?;
    }
    load.flush()?;
    site.sync(&mut *load.database)?;
    writeln!(out, "{} records imported, {} lines failed", load.done, load.failed)?;
    Ok(status(load.failed == 0))
}

/// Reads a line without its end, of which no more than [`LONGEST`] bytes are kept; false at the end of the input.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.take(LONGEST).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    let mut rest = Vec::new();
    while line.len() as u64 == LONGEST && !line.ends_with(b"\n") && !rest.ends_with(b"\n") {
        rest.clear();
        if input.take(LONGEST).read_until(b'\n', &mut rest)? == 0 {
            break;
        }
    }
    Ok(true)
}

/// An import on its way.
struct Load<'a> {
    options: &'a Import,
    name: &'a str,
    database: Box<dyn RecordStore>,
    /// Records that are read and not yet stored, with their lines' numbers. No digest is in it twice.
    batch: Vec<(u64, Digest, Record)>,
    digests: BTreeSet<Digest>,
    done: u64,
    failed: u64,
}

impl Load<'_> {
    fn line(&mut self, number: u64, line: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() || number == 1 && self.options.format.is_head(text) {
            return Ok(());
        }
        let (digest, record) = match self.options.format.parse(text) {
            Ok(entry) => entry,
            Err(cause) => {
                self.fail(number, &cause);
                return Ok(());
            }
        };
        // What the line before stored must be seen by this one.
        if self.batch.len() == SLICE || self.digests.contains(&digest) {
            self.flush()?;
        }
        self.digests.insert(digest);
        self.batch.push((number, digest, record));
        Ok(())
    }

    /// Stores the batch.
    fn flush(&mut self) -> Result<(), Failure> {
        self.digests.clear();
        let batch = std::mem::take(&mut self.batch);
        let (mut lines, mut records) = (Vec::new(), Vec::new());
        for ((number, digest, record), old) in batch.iter().zip(self.stored(&batch)?) {
            match self.wanted(record, old) {
                Ok(new) => {
                    lines.push(*number);
                    records.push((*digest, new));
                }
                Err(cause) => self.fail(*number, &format!("{digest}: {cause}")),
            }
        }
        let mut results = Vec::new();
        self.database.put(&records, &mut results);
        away(&results)?;
        for ((number, (digest, record)), result) in lines.into_iter().zip(&records).zip(results) {
            let rounded = self.database.rounded(record);
            if [rounded.reports.count, rounded.whitelists.count]
                != [record.reports.count, record.whitelists.count]
            {
                let cut = "its counts are cut to what the database can hold";
                eprintln!("pyzorctl: {}, line {number}: {digest}: {cut}", self.name);
            }
            match result {
                Ok(()) => self.done += 1,
                Err(failure) => self.fail(number, &format!("{digest}: {failure}")),
            }
        }
        Ok(())
    }

    /// What the digests of a batch have, where it matters.
    fn stored(
        &mut self,
        batch: &[(u64, Digest, Record)],
    ) -> Result<Vec<Result<Record, StoreFailure>>, Failure> {
        if self.options.replace {
            return Ok(batch.iter().map(|_| Ok(Record::default())).collect());
        }
        let digests: Vec<Digest> = batch.iter().map(|(_, digest, _)| *digest).collect();
        let mut old = Vec::new();
        self.database.fetch(&digests, &mut old);
        away(&old)?;
        Ok(old)
    }

    /// The record to store, or why there is none.
    fn wanted(&self, record: &Record, old: Result<Record, StoreFailure>) -> Result<Record, String> {
        let old = old.map_err(|failure| failure.to_string())?;
        if self.options.merge {
            Ok(merged(&old, record))
        } else if old == Record::default() || old == self.database.rounded(record) {
            Ok(*record)
        } else {
            Err("it has another record already; see --merge and --replace".to_owned())
        }
    }

    fn fail(&mut self, number: u64, cause: &str) {
        self.failed += 1;
        eprintln!("pyzorctl: {}, line {number}: {cause}", self.name);
    }
}

/// A database that answers for no record at all is away: there is no point in naming each line. One alone may be
/// unreadable.
fn away<T>(results: &[Result<T, StoreFailure>]) -> Result<(), Failure> {
    match results {
        [Err(failure), _, ..] if results.iter().all(Result::is_err) => Err(failure.clone().into()),
        _ => Ok(()),
    }
}

/// Both together.
fn merged(one: &Record, other: &Record) -> Record {
    let tally = |one: Tally, other: Tally| Tally {
        count: one.count.saturating_add(other.count).min(Tally::MAX),
        entered: [one.entered, other.entered].into_iter().flatten().min(),
        updated: one.updated.max(other.updated),
    };
    Record { reports: tally(one.reports, other.reports), whitelists: tally(one.whitelists, other.whitelists) }
}

#[cfg(test)]
mod tests {
    use pyzord_core::UnixTime;

    use super::*;

    #[test]
    fn merging_adds_counts_and_keeps_the_outermost_dates() {
        let at = |seconds| Some(UnixTime::from_seconds(seconds));
        let record = |count, entered, updated| Record {
            reports: Tally { count, entered, updated },
            whitelists: Tally::default(),
        };
        let (old, new) = (record(5, at(10), at(20)), record(2, at(15), at(30)));
        assert_eq!(merged(&old, &new), record(7, at(10), at(30)));
        assert_eq!(merged(&new, &old), merged(&old, &new));
        assert_eq!(merged(&Record::default(), &old), old);
        assert_eq!(merged(&record(Tally::MAX, None, None), &old).reports.count, Tally::MAX);
    }

    #[test]
    fn long_lines_take_no_memory_and_spoil_no_other_line() {
        let long = "x".repeat(5000);
        let exact = "y".repeat(usize::try_from(LONGEST).unwrap() - 1);
        let text = format!("one\n{long}\n{exact}\n\nlast");
        let (mut input, mut line, mut lines) = (text.as_bytes(), Vec::new(), Vec::new());
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["one\n", &long[..1024], &format!("{exact}\n"), "\n", "last"]);
    }
}
