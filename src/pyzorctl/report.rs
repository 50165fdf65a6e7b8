//! Records as text for the operator.

use std::fmt;
use std::io::{self, Write};

use pyzord_core::{Digest, Record, Tally};

use crate::times;

/// Writes the record of a digest.
pub(crate) fn write_record(out: &mut dyn Write, digest: Digest, record: &Record) -> io::Result<()> {
    writeln!(out, "{digest}")?;
    if *record == Record::default() {
        return writeln!(out, "  no record");
    }
    writeln!(out, "  reports: {}", DatedCount(record.reports))?;
    writeln!(out, "  whitelistings: {}", DatedCount(record.whitelists))
}

/// Returns both counts of a record.
pub(crate) fn counts(record: &Record) -> String {
    format!("{} reports, {} whitelistings", record.reports.count, record.whitelists.count)
}

/// A count with its dates.
struct DatedCount(Tally);

impl fmt::Display for DatedCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { count, entered, updated } = self.0;
        write!(f, "{count}")?;
        for (word, date) in [("first", entered), ("last", updated)] {
            if let Some(date) = date {
                write!(f, ", {word} {}", times::local(date))?;
            }
        }
        Ok(())
    }
}
