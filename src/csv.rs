//! A record as a line of comma-separated values: every field as the database stores it, dates in Unix seconds.
//!
//! ```text
//! da39a3ee5e6b4b0d3255bfef95601890afd80709,5,1700000000.25,1700000060,0,,
//! ```
//!
//! No field can hold a comma, a quote or a line feed, so splitting the line at its commas is the whole format. A parser
//! of quoted fields, such as the crate `csv`, would take one stray quote for the start of a field that spans lines, and
//! lose the records on them.

use std::fmt;

use pyzord_core::{Digest, Record, Tally, UnixTime};
use thiserror::Error;

use crate::times::Seconds;

/// The names of the fields, as Python's server has them.
pub(crate) const FIELDS: [&str; 7] =
    ["digest", "r_count", "r_entered", "r_updated", "wl_count", "wl_entered", "wl_updated"];

/// A digest and its record. It is displayed as a line without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordLine<'a>(pub(crate) Digest, pub(crate) &'a Record);

impl fmt::Display for RecordLine<'_> {
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

/// Why a line is not a record.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum RecordError {
    /// The line has this number of fields.
    #[error("there are {found} fields in place of {}", FIELDS.len(), found = .0)]
    FieldCount(usize),
    /// The first field is not a digest.
    #[error("the digest is not 40 hex digits")]
    Digest,
    /// This is not a count, or one that no record can have.
    #[error("`{}` is not a count from 0 to {}", .0.escape_debug(), Tally::MAX)]
    Count(String),
    /// This is not a date.
    #[error("`{}` is not a time in Unix seconds", .0.escape_debug())]
    Date(String),
}

/// Where the fields of a record are in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Columns([usize; FIELDS.len()]);

/// Why a line of names is not the head of records.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum HeadError {
    #[error("the head has no column {0}")]
    Missing(&'static str),
    #[error("the head has the column {0} twice")]
    Twice(&'static str),
    #[error("the head has the unknown column `{}`", .0.escape_debug())]
    Unknown(String),
}

impl Columns {
    /// The order of [`FIELDS`].
    pub(crate) const DEFAULT: Self = Self([0, 1, 2, 3, 4, 5, 6]);

    /// Reads a line of names, in any order; `None` if it has none of them.
    pub(crate) fn of_head(line: &str) -> Option<Result<Self, HeadError>> {
        let unquoted = |name: &str| name.trim().trim_matches('"').to_ascii_lowercase();
        let names: Vec<String> = line.split(',').map(unquoted).collect();
        let is_known = |name: &String| FIELDS.contains(&name.as_str());
        names.iter().any(is_known).then(|| {
            if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
                return Err(HeadError::Unknown(unknown.clone()));
            }
            let mut columns = [0; FIELDS.len()];
            for (column, field) in columns.iter_mut().zip(FIELDS) {
                let mut places = (0..).zip(&names).filter(|(_, name)| *name == field).map(|(place, _)| place);
                *column = places.next().ok_or(HeadError::Missing(field))?;
                if places.next().is_some() {
                    return Err(HeadError::Twice(field));
                }
            }
            Ok(Self(columns))
        })
    }

    /// Parses a line without its end.
    pub(crate) fn parse(&self, line: &str) -> Result<(Digest, Record), RecordError> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let wrong = RecordError::FieldCount(fields.len());
        let fields = <[&str; FIELDS.len()]>::try_from(fields).map_err(|_| wrong)?;
        // Each place is one of the seven.
        parse_fields(self.0.map(|place| fields.get(place).copied().unwrap_or_default()))
    }
}

/// Parses a line without its end.
pub(crate) fn parse(line: &str) -> Result<(Digest, Record), RecordError> {
    Columns::DEFAULT.parse(line)
}

/// Parses the values of [`FIELDS`].
pub(crate) fn parse_fields(fields: [&str; 7]) -> Result<(Digest, Record), RecordError> {
    let [digest, r_count, r_entered, r_updated, wl_count, wl_entered, wl_updated] = fields;
    let digest = Digest::parse(digest.as_bytes()).ok_or(RecordError::Digest)?;
    let reports = parse_tally([r_count, r_entered, r_updated])?;
    let whitelists = parse_tally([wl_count, wl_entered, wl_updated])?;
    Ok((digest, Record { reports, whitelists }))
}

fn parse_tally([count, entered, updated]: [&str; 3]) -> Result<Tally, RecordError> {
    // `u64::from_str` accepts a sign.
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { count.parse().ok().filter(|number| *number <= Tally::MAX) } else { None };
    Ok(Tally {
        count: number.ok_or_else(|| RecordError::Count(count.to_owned()))?,
        entered: parse_date(entered)?,
        updated: parse_date(updated)?,
    })
}

fn parse_date(text: &str) -> Result<Option<UnixTime>, RecordError> {
    if text.is_empty() {
        return Ok(None);
    }
    Seconds::parse(text).map(Some).ok_or_else(|| RecordError::Date(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns were read by their position whatever the head said: whitelistings became reports.
    #[test]
    fn a_head_says_where_the_fields_are() {
        let digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        let columns = |head: &str| Columns::of_head(head).unwrap();
        let other =
            columns("wl_count, WL_entered,\"wl_updated\",digest,r_count,r_entered,r_updated").unwrap();
        let (_, record) = other.parse(&format!("7,1700000000,1700000001,{digest},0,,")).unwrap();
        assert_eq!((record.reports.count, record.whitelists.count), (0, 7));
        assert_eq!(columns(&FIELDS.join(",")), Ok(Columns::DEFAULT));
        assert_eq!(columns("digest,r_count"), Err(HeadError::Missing("r_entered")));
        assert_eq!(columns("digest,count"), Err(HeadError::Unknown("count".into())));
        assert_eq!(columns(&(FIELDS.join(",") + ",r_count")), Err(HeadError::Twice("r_count")));
        assert_eq!(Columns::of_head(&format!("{digest},7,,,0,,")), None);
        assert_eq!(Columns::of_head(""), None);
    }
}
