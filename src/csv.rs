//! A record as one line: every field as it is stored, dates in Unix seconds.
//!
//! ```text
//! da39a3ee5e6b4b0d3255bfef95601890afd80709,5,1700000000.25,1700000060,0,,
//! ```

use std::fmt;

use pyzord_core::{Digest, Record, Tally};

use crate::times::Seconds;

/// The fields by name: those of Python's server.
pub(crate) const FIELDS: [&str; 7] =
    ["digest", "r_count", "r_entered", "r_updated", "wl_count", "wl_entered", "wl_updated"];

/// A digest and its record, shown as a line without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a>(pub(crate) Digest, pub(crate) &'a Record);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(digest, record) = self;
        write!(f, "{digest}")?;
        for Tally { count, entered, updated } in [record.reports, record.whitelists] {
            write!(f, ",{count}")?;
            for date in [entered, updated] {
                f.write_str(",")?;
                date.map_or(Ok(()), |date| Seconds(date).fmt(f))?;
            }
        }
        Ok(())
    }
}

/// Reads a line.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn parse(line: &str) -> Result<(Digest, Record), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let count = |fields: Vec<&str>| format!("there are {} fields in place of {}", fields.len(), FIELDS.len());
    record(fields.try_into().map_err(count)?)
}

/// Reads the values of [`FIELDS`].
///
/// # Errors
/// Says what is wrong with one of them.
pub(crate) fn record(fields: [&str; 7]) -> Result<(Digest, Record), String> {
    let [digest, r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = fields;
    let digest = Digest::parse(digest.as_bytes()).ok_or("the digest is not 40 hex digits")?;
    let reports = tally([r_count, r_entered, r_updated])?;
    Ok((digest, Record { reports, whitelists: tally([wl_count, wl_entered, wl_updated])? }))
}

fn tally([count, entered, updated]: [&str; 3]) -> Result<Tally, String> {
    let number = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok()).flatten();
    let number = number.filter(|number| *number <= Tally::MAX);
    let date = |text: &str| match text {
        "" => Ok(None),
        _ => Seconds::parse(text).map(Some).ok_or(format!("`{}` are no Unix seconds", text.escape_debug())),
    };
    Ok(Tally {
        count: number.ok_or(format!("`{}` is no count from 0 to {}", count.escape_debug(), Tally::MAX))?,
        entered: date(entered)?,
        updated: date(updated)?,
    })
}
