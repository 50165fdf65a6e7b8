//! The formats of an export: a line for each record, every field as it is stored, dates in Unix seconds.
//!
//! ```text
//! da39a3ee5e6b4b0d3255bfef95601890afd80709,5,1700000000.25,1700000060,0,,
//! {"digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709","r_count":5,"r_entered":1700000000.25,...}
//! ```

use std::borrow::Cow;
use std::io::{self, Write};

use clap::ValueEnum;
use pyzord_core::{Digest, Record, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::json;
use crate::csv::{self, Columns, FIELDS, HeadError, RecordError, RecordLine};

/// The format of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// Fields with commas between them, below a line of their names
    Csv,
    /// A JSON object
    Jsonl,
}

/// Why a line of an import is not a record.
#[derive(Debug, Error)]
pub(crate) enum FormatError {
    #[error(transparent)]
    Record(#[from] RecordError),
    // Its message can quote the line, control characters and all.
    #[error("this is not a JSON object with the fields of a record: {}", .0.to_string().escape_debug())]
    Json(#[from] serde_json::Error),
}

impl Format {
    /// Writes the line above the records, if the format has one.
    pub(crate) fn write_head(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Csv => writeln!(out, "{}", FIELDS.join(",")),
            Self::Jsonl => Ok(()),
        }
    }

    /// Reads the line above the records; `None` if it is another one.
    pub(crate) fn head(self, line: &str) -> Option<Result<Columns, HeadError>> {
        if self == Self::Csv { Columns::of_head(line) } else { None }
    }

    /// Writes the line of one record.
    pub(crate) fn write(self, out: &mut dyn Write, digest: Digest, record: &Record) -> io::Result<()> {
        match self {
            Self::Csv => writeln!(out, "{}", RecordLine(digest, record)),
            Self::Jsonl => json::write_line(out, &JsonRecord::new(digest, record)),
        }
    }

    /// Parses the line of one record.
    pub(crate) fn parse(self, columns: Columns, line: &str) -> Result<(Digest, Record), FormatError> {
        match self {
            Self::Csv => Ok(columns.parse(line)?),
            Self::Jsonl => Ok(csv::parse_fields(serde_json::from_str::<JsonFields<'_>>(line)?.values())?),
        }
    }
}

/// A record as it is written. The names are [`FIELDS`].
#[derive(Serialize)]
struct JsonRecord {
    digest: String,
    r_count: u64,
    #[serde(serialize_with = "json::seconds")]
    r_entered: Option<UnixTime>,
    #[serde(serialize_with = "json::seconds")]
    r_updated: Option<UnixTime>,
    wl_count: u64,
    #[serde(serialize_with = "json::seconds")]
    wl_entered: Option<UnixTime>,
    #[serde(serialize_with = "json::seconds")]
    wl_updated: Option<UnixTime>,
}

impl JsonRecord {
    fn new(digest: Digest, record: &Record) -> Self {
        Self {
            digest: digest.to_string(),
            r_count: record.reports.count,
            r_entered: record.reports.entered,
            r_updated: record.reports.updated,
            wl_count: record.whitelists.count,
            wl_entered: record.whitelists.entered,
            wl_updated: record.whitelists.updated,
        }
    }
}

/// A record as it is read, in any order. Numbers are kept as text: dates have more digits than a float keeps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonFields<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(borrow)]
    r_count: &'a RawValue,
    #[serde(borrow)]
    r_entered: &'a RawValue,
    #[serde(borrow)]
    r_updated: &'a RawValue,
    #[serde(borrow)]
    wl_count: &'a RawValue,
    #[serde(borrow)]
    wl_entered: &'a RawValue,
    #[serde(borrow)]
    wl_updated: &'a RawValue,
}

impl JsonFields<'_> {
    /// Returns the values in the order of [`FIELDS`].
    fn values(&self) -> [&str; 7] {
        fn date(value: &RawValue) -> &str {
            if value.get() == "null" { "" } else { value.get() }
        }
        [
            &self.digest,
            self.r_count.get(),
            date(self.r_entered),
            date(self.r_updated),
            self.wl_count.get(),
            date(self.wl_entered),
            date(self.wl_updated),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pyzord_core::Tally;

    use super::*;

    const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn line(format: Format, digest: Digest, record: &Record) -> String {
        let mut out = Vec::new();
        format.write(&mut out, digest, record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_lines_are_those_that_the_guide_shows() {
        let time = |micros| Some(UnixTime::from_micros(micros));
        let reports =
            Tally { count: 5, entered: time(1_700_000_000_250_000), updated: time(1_700_000_060_000_000) };
        let record = Record { reports, ..Record::default() };
        let digest = Digest::parse(DIGEST.as_bytes()).unwrap();
        assert_eq!(line(Format::Csv, digest, &record), format!("{DIGEST},5,1700000000.25,1700000060,0,,\n"));
        assert_eq!(
            line(Format::Jsonl, digest, &record),
            format!(
                "{{\"digest\":\"{DIGEST}\",\"r_count\":5,\"r_entered\":1700000000.25,\"r_updated\":1700000060,\
                 \"wl_count\":0,\"wl_entered\":null,\"wl_updated\":null}}\n"
            )
        );
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        let json = |member: &str| {
            format!(
                "{{\"digest\": \"{DIGEST}\", {member}, \"r_updated\": 2, \"wl_count\": 0, \"wl_entered\": null, \
                 \"wl_updated\": null}}"
            )
        };
        let good = json("\"r_entered\": 1.5, \"r_count\": 5");
        assert!(Format::Jsonl.parse(Columns::DEFAULT, &good).is_ok());
        for (format, text, cause) in [
            (Format::Csv, "", "1 fields"),
            (Format::Csv, "da39,5,,,0,,", "40 hex digits"),
            (Format::Csv, &format!("{DIGEST},5,,,0,,,"), "8 fields"),
            (Format::Csv, &format!("{DIGEST},-5,,,0,,"), "`-5` is not a count"),
            (Format::Csv, &format!("{DIGEST},,,,0,,"), "`` is not a count"),
            (Format::Csv, &format!("{DIGEST},9223372036854775808,,,0,,"), "is not a count"),
            (Format::Csv, &format!("{DIGEST},5,yesterday,,0,,"), "`yesterday` is not a time"),
            (Format::Jsonl, "[]", "not a JSON object"),
            (Format::Jsonl, &format!("{{\"digest\":\"{DIGEST}\"}}"), "missing field `r_count`"),
            (Format::Jsonl, &json("\"r_count\": 5, \"r_count\": 5"), "duplicate field `r_count`"),
            (Format::Jsonl, &json("\"count\": 5"), "unknown field `count`"),
            (Format::Jsonl, &json("\"r_count\": null, \"r_entered\": 1"), "`null` is not a count"),
            (Format::Jsonl, &json("\"r_count\": \"5\", \"r_entered\": 1"), "is not a count"),
            (Format::Jsonl, &json("\"r_count\": 5, \"r_entered\": "), "not a JSON object"),
        ] {
            let error = format.parse(Columns::DEFAULT, text).unwrap_err().to_string();
            assert!(error.contains(cause), "{text}: {error}");
        }
        let error = Format::Jsonl.parse(Columns::DEFAULT, "{\"\u{9b}31m\": 0}").unwrap_err().to_string();
        assert!(!error.contains('\u{9b}'), "{error:?}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            digest: [u8; 20],
            counts in prop::array::uniform2(0..=Tally::MAX),
            dates: [Option<i64>; 4],
        ) {
            let [entered, updated, first, last] = dates.map(|date| date.map(UnixTime::from_micros));
            let reports = Tally { count: counts[0], entered, updated };
            let whitelists = Tally { count: counts[1], entered: first, updated: last };
            let (digest, record) = (Digest::new(digest), Record { reports, whitelists });
            for format in [Format::Csv, Format::Jsonl] {
                let text = line(format, digest, &record);
                prop_assert_eq!(format.parse(Columns::DEFAULT, text.trim_end()).unwrap(), (digest, record));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = [Format::Csv, Format::Jsonl].map(|format| format.parse(Columns::DEFAULT, &text).is_ok());
        }
    }
}
