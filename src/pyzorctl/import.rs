//! `import`: stores the records of an export.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::Path;

use pyzord_core::{Digest, Record, StoreFailure};
use pyzord_engines::registry::Access;
use pyzord_engines::{Change, ChangeError, RecordStore};
use thiserror::Error;

use super::context::Context;
use super::digests::BATCH;
use super::error::{CommandError, Outcome, exit_code};
use super::format::FormatError;
use super::merge::{Interrupted, MergeProgress};
use super::options::{Import, READ_ADVICE};
use crate::bulk;
use crate::csv::Columns;
use crate::output::complain;

/// The most bytes of a line that are kept. No record has a longer line.
const MAX_LINE: u64 = 1024;

/// Stores the records of the lines. Lines that are not records, and records that cannot be stored, are named by number.
pub(crate) fn run(context: &Context, options: &Import, out: &mut dyn Write) -> Outcome {
    let input = Input::new(options.file.as_deref());
    let mut lines = input.open()?;
    let progress = MergeProgress::new(options.skip);
    if options.merge {
        progress.end_on_signals().map_err(CommandError::Signals)?;
    }
    let database = context
        .open_within(Access::Create, options.waiting.wait)
        .map_err(|error| CommandError::open(error, READ_ADVICE))?;
    let mut loader = Loader {
        options,
        input: input.name(),
        database,
        progress,
        batch: Vec::new(),
        digests: BTreeSet::new(),
        imported: 0,
        failed: 0,
        columns: Columns::DEFAULT,
    };
    let (mut number, mut line) = (0, Vec::new());
    loop {
        match read_line(&mut *lines, &mut line) {
            Ok(true) => number += 1,
            Ok(false) => break,
            Err(error) => return loader.end_early(input.failed(error)),
        }
        if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        loader.add_line(number, &line)?;
    }
    loader.store_batch()?;
    if let Err(failure) = context.sync(&mut *loader.database) {
        return loader.end_early(failure.into());
    }
    writeln!(out, "{} records imported, {} lines failed", loader.imported, loader.failed)?;
    Ok(exit_code(loader.failed == 0))
}

/// The mark that some editors write before the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file, or standard input.
struct Input<'a>(Option<&'a Path>);

impl<'a> Input<'a> {
    const fn new(path: Option<&'a Path>) -> Self {
        Self(path)
    }

    fn open(&self) -> Result<Box<dyn BufRead>, CommandError> {
        Ok(match self.0 {
            Some(path) => Box::new(BufReader::new(File::open(path).map_err(|error| self.failed(error))?)),
            None => Box::new(io::stdin().lock()),
        })
    }

    fn name(&self) -> String {
        self.0.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
    }

    fn failed(&self, error: io::Error) -> CommandError {
        match self.0 {
            Some(path) => CommandError::ImportFile { path: path.to_owned(), error },
            None => CommandError::Input(error),
        }
    }
}

/// Reads a line, of which at most [`MAX_LINE`] bytes are kept. Returns `false` at the end of the input.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if input.take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    let mut rest = Vec::new();
    while line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") && !rest.ends_with(b"\n") {
        rest.clear();
        if input.take(MAX_LINE).read_until(b'\n', &mut rest)? == 0 {
            break;
        }
    }
    Ok(true)
}

/// Why a line is not imported. The import goes on with the next line.
#[derive(Debug, Error)]
enum LineError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{0}: it has another record already; see --merge and --replace")]
    Exists(Digest),
    #[error("{0}: {1}")]
    Database(Digest, StoreFailure),
}

/// Stores records in batches.
struct Loader<'a> {
    options: &'a Import,
    /// The name of the input, for messages.
    input: String,
    database: Box<dyn RecordStore>,
    progress: MergeProgress,
    /// Records to store, with the numbers of their lines. No digest is in it twice.
    batch: Vec<(u64, Digest, Record)>,
    digests: BTreeSet<Digest>,
    imported: u64,
    failed: u64,
    /// Where the fields are in a line.
    columns: Columns,
}

impl Loader<'_> {
    fn add_line(&mut self, number: u64, line: &[u8]) -> Result<(), CommandError> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if let Some(columns) = self.options.format.head(text) {
            let failed = |cause| CommandError::ImportHead { input: self.input.clone(), line: number, cause };
            self.columns = columns.map_err(failed)?;
            return Ok(());
        }
        if text.is_empty() || number <= self.options.skip {
            return Ok(());
        }
        let (digest, record) = match self.options.format.parse(self.columns, text) {
            Ok(entry) => entry,
            Err(error) => {
                self.fail(number, &error.into());
                return Ok(());
            }
        };
        // The record of an earlier line must be stored before this one is compared with it.
        if self.batch.len() == BATCH || self.digests.contains(&digest) {
            self.store_batch()?;
        }
        self.digests.insert(digest);
        self.batch.push((number, digest, record));
        Ok(())
    }

    fn store_batch(&mut self) -> Result<(), CommandError> {
        self.digests.clear();
        let batch = std::mem::take(&mut self.batch);
        if self.options.merge {
            return self.merge_batch(&batch);
        }
        let (mut numbers, mut records) = (Vec::new(), Vec::new());
        for ((number, digest, record), old) in batch.iter().zip(self.stored(&batch)?) {
            match self.new_record(*digest, record, old) {
                Ok(new) => {
                    numbers.push(*number);
                    records.push((*digest, new));
                }
                Err(error) => self.fail(*number, &error),
            }
        }
        let results = bulk::put(&mut *self.database, &records)?;
        check_available(&results)?;
        for ((number, (digest, record)), result) in numbers.into_iter().zip(&records).zip(results) {
            self.warn_of_cut_counts(number, *digest, record);
            match result {
                Ok(()) => self.imported += 1,
                Err(failure) => self.fail(number, &LineError::Database(*digest, failure)),
            }
        }
        Ok(())
    }

    /// Adds the records of a batch to those that there are, each in one step.
    fn merge_batch(&mut self, batch: &[(u64, Digest, Record)]) -> Result<(), CommandError> {
        let progress = self.progress.clone();
        // Until the batch is done, no signal ends the process.
        let mut done = progress.lock();
        let changes: Vec<(Digest, Change)> =
            batch.iter().map(|(_, digest, record)| (*digest, Change::Merge(*record))).collect();
        let results = bulk::change(&mut *self.database, &changes)?;
        if let [Err(ChangeError::Refused(failure)), _, ..] = results.as_slice()
            && results.iter().all(|result| matches!(result, Err(ChangeError::Refused(_))))
        {
            return Err(Interrupted { cause: failure.clone().into(), done: *done, in_doubt: None }.into());
        }
        let in_doubt = lines_in_doubt(batch, &results);
        for ((number, digest, record), result) in batch.iter().zip(results) {
            match result {
                Ok(()) => {
                    self.warn_of_cut_counts(*number, *digest, record);
                    self.imported += 1;
                }
                Err(ChangeError::Refused(failure)) => {
                    self.fail(*number, &LineError::Database(*digest, failure));
                }
                Err(ChangeError::Away(cause) | ChangeError::InDoubt(cause)) => {
                    return Err(Interrupted { cause: cause.into(), done: *done, in_doubt }.into());
                }
            }
            (done.line, done.digest) = (*number, Some(*digest));
        }
        Ok(())
    }

    /// Ends an import that cannot go on. A merge stores what it has, and says how far it came.
    fn end_early(&mut self, cause: CommandError) -> Outcome {
        if !self.options.merge {
            return Err(cause);
        }
        self.store_batch()?;
        let done = *self.progress.lock();
        Err(Interrupted { cause: cause.into(), done, in_doubt: None }.into())
    }

    /// Returns the present record of each digest; with `--replace` they are not read, as none of them matters.
    fn stored(
        &mut self,
        batch: &[(u64, Digest, Record)],
    ) -> Result<Vec<Result<Record, StoreFailure>>, CommandError> {
        if self.options.replace {
            return Ok(batch.iter().map(|_| Ok(Record::default())).collect());
        }
        let digests: Vec<Digest> = batch.iter().map(|(_, digest, _)| *digest).collect();
        let stored = bulk::fetch(&mut *self.database, &digests)?;
        check_available(&stored)?;
        Ok(stored)
    }

    /// Returns the record to store in place of the old one.
    fn new_record(
        &self,
        digest: Digest,
        record: &Record,
        old: Result<Record, StoreFailure>,
    ) -> Result<Record, LineError> {
        let old = old.map_err(|failure| LineError::Database(digest, failure))?;
        if old == Record::default() || old == self.database.rounded(record) {
            Ok(*record)
        } else {
            Err(LineError::Exists(digest))
        }
    }

    fn warn_of_cut_counts(&self, number: u64, digest: Digest, record: &Record) {
        let counts = |record: &Record| [record.reports.count, record.whitelists.count];
        if counts(&self.database.rounded(record)) != counts(record) {
            complain!(
                "pyzorctl: {}, line {number}: {digest}: the counts are cut to the largest that the database can hold",
                self.input
            );
        }
    }
    fn fail(&mut self, number: u64, error: &LineError) {
        self.failed += 1;
        complain!("pyzorctl: {}, line {number}: {error}", self.input);
    }
}

/// Returns the first line that a merge cannot pass, and the last one behind it that is or may be merged, if there is one.
fn lines_in_doubt(
    batch: &[(u64, Digest, Record)],
    results: &[Result<(), ChangeError>],
) -> Option<(u64, u64)> {
    let stop = |result: &Result<(), ChangeError>| {
        matches!(result, Err(ChangeError::Away(_) | ChangeError::InDoubt(_)))
    };
    let merged = |result: &Result<(), ChangeError>| matches!(result, Ok(()) | Err(ChangeError::InDoubt(_)));
    let first = results.iter().position(stop)?;
    let last = results.iter().rposition(merged).filter(|last| *last >= first)?;
    Some((batch.get(first)?.0, batch.get(last)?.0))
}

/// Ends the import if the database fails for every record of a batch: it is not available. The failure of a single
/// record can be that record's.
fn check_available<T>(results: &[Result<T, StoreFailure>]) -> Result<(), CommandError> {
    match results {
        [Err(failure), _, ..] if results.iter().all(Result::is_err) => Err(failure.clone().into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_take_no_memory_and_spoil_no_other_line() {
        let long = "x".repeat(5000);
        let exact = "y".repeat(usize::try_from(MAX_LINE).unwrap() - 1);
        let text = format!("one\n{long}\n{exact}\n\nlast");
        let (mut input, mut line, mut lines) = (text.as_bytes(), Vec::new(), Vec::new());
        while read_line(&mut input, &mut line).unwrap() {
            lines.push(String::from_utf8(line.clone()).unwrap());
        }
        assert_eq!(lines, ["one\n", &long[..1024], &format!("{exact}\n"), "\n", "last"]);
    }
}
