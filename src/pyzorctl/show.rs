//! Records as people and as machines read them.

use std::fmt;
use std::io::{self, Write};

use crate::times;
use pyzord_core::{Digest, Record, Tally};

/// Writes what is stored for a digest, for people.
pub(crate) fn record(out: &mut dyn Write, digest: Digest, record: &Record) -> io::Result<()> {
    writeln!(out, "{digest}")?;
    if *record == Record::default() {
        return writeln!(out, "  no record");
    }
    writeln!(out, "  reports: {}", Counted(record.reports))?;
    writeln!(out, "  whitelistings: {}", Counted(record.whitelists))
}

/// Both counts in a few words.
pub(crate) fn counts(record: &Record) -> String {
    format!("{} reports, {} whitelistings", record.reports.count, record.whitelists.count)
}

/// A count with its dates.
struct Counted(Tally);

impl fmt::Display for Counted {
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

/// A JSON string.
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// A JSON value that may be absent.
pub(crate) struct OrNull<T>(pub(crate) Option<T>);

impl<T: fmt::Display> fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_json() {
        assert_eq!(Json("a\"\\\n\u{1}é").to_string(), r#""a\"\\\u000a\u0001é""#);
    }
}
