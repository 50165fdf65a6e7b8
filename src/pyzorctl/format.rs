//! The lines of an export: every field as it is stored, dates in Unix seconds.
//!
//! ```text
//! da39a3ee5e6b4b0d3255bfef95601890afd80709,5,1700000000.25,1700000060,0,,
//! {"digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709","r_count":5,"r_entered":1700000000.25,...}
//! ```

use std::io::{self, Write};

use crate::csv::{self, FIELDS, Line};
use crate::times::Seconds;
use pyzord_core::{Digest, Record, Tally};

use super::options::Format;
use super::show::OrNull;

impl Format {
    /// Writes what stands above the records.
    pub(crate) fn write_head(self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Csv => writeln!(out, "{}", FIELDS.join(",")),
            Self::Jsonl => Ok(()),
        }
    }

    /// Whether a line is what stands above the records.
    pub(crate) fn is_head(self, line: &str) -> bool {
        self == Self::Csv && line.split(',').eq(FIELDS)
    }

    /// Writes one record.
    pub(crate) fn write(self, out: &mut dyn Write, digest: Digest, record: &Record) -> io::Result<()> {
        match self {
            Self::Csv => writeln!(out, "{}", Line(digest, record)),
            Self::Jsonl => {
                write!(out, "{{\"digest\":\"{digest}\"")?;
                for (name, tally) in [("r", record.reports), ("wl", record.whitelists)] {
                    let Tally { count, entered, updated } = tally;
                    let [entered, updated] = [entered, updated].map(|date| OrNull(date.map(Seconds)));
                    write!(
                        out,
                        ",\"{name}_count\":{count},\"{name}_entered\":{entered},\"{name}_updated\":{updated}"
                    )?;
                }
                writeln!(out, "}}")
            }
        }
    }

    /// Reads a line; an error says what is wrong with it.
    pub(crate) fn parse(self, line: &str) -> Result<(Digest, Record), String> {
        match self {
            Self::Csv => csv::parse(line),
            Self::Jsonl => csv::record(object(line)?),
        }
    }
}

/// The values of an object in the order of [`FIELDS`], in which they need not stand. No value that is valid here has a
/// comma, a colon or an escape in it.
fn object(line: &str) -> Result<[&str; 7], String> {
    let none = || "this is no object with the fields of a record".to_owned();
    let inner = line.strip_prefix('{').and_then(|line| line.strip_suffix('}')).ok_or_else(none)?;
    let mut values = [None; 7];
    for member in inner.split(',') {
        let (name, value) = member.split_once(':').ok_or_else(none)?;
        let name = unquoted(name.trim()).ok_or_else(none)?;
        let index = FIELDS.iter().position(|field| *field == name);
        let index = index.ok_or_else(|| format!("there is no field `{}`", name.escape_debug()))?;
        let value = match (index, value.trim()) {
            (0, value) => unquoted(value).ok_or_else(none)?,
            (2 | 3 | 5 | 6, "null") => "",
            (_, "") => return Err(none()),
            (_, value) => value,
        };
        if values.get_mut(index).and_then(|slot| slot.replace(value)).is_some() {
            return Err(format!("`{name}` stands twice"));
        }
    }
    let missing = |index: usize| format!("there is no `{}`", FIELDS.get(index).unwrap_or(&""));
    match values.iter().position(Option::is_none) {
        Some(index) => Err(missing(index)),
        None => Ok(values.map(Option::unwrap_or_default)),
    }
}

fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pyzord_core::UnixTime;

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
        assert!(Format::Jsonl.parse(&good).is_ok());
        for (format, text, cause) in [
            (Format::Csv, "", "1 fields"),
            (Format::Csv, "da39,5,,,0,,", "40 hex digits"),
            (Format::Csv, &format!("{DIGEST},5,,,0,,,"), "8 fields"),
            (Format::Csv, &format!("{DIGEST},-5,,,0,,"), "`-5` is no count"),
            (Format::Csv, &format!("{DIGEST},,,,0,,"), "`` is no count"),
            (Format::Csv, &format!("{DIGEST},9223372036854775808,,,0,,"), "is no count"),
            (Format::Csv, &format!("{DIGEST},5,yesterday,,0,,"), "`yesterday` are no Unix seconds"),
            (Format::Jsonl, "[]", "no object"),
            (Format::Jsonl, &format!("{{\"digest\":\"{DIGEST}\"}}"), "there is no `r_count`"),
            (Format::Jsonl, &json("\"r_count\": 5, \"r_count\": 5"), "`r_count` stands twice"),
            (Format::Jsonl, &json("\"count\": 5"), "no field `count`"),
            (Format::Jsonl, &json("\"r_count\": null, \"r_entered\": 1"), "`null` is no count"),
            (Format::Jsonl, &json("\"r_count\": \"5\", \"r_entered\": 1"), "is no count"),
            (Format::Jsonl, &json("\"r_count\": 5, \"r_entered\": "), "no object"),
        ] {
            let error = format.parse(text).unwrap_err();
            assert!(error.contains(cause), "{text}: {error}");
        }
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
                prop_assert_eq!(format.parse(text.trim_end()), Ok((digest, record)));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (Format::Csv.parse(&text), Format::Jsonl.parse(&text));
        }
    }
}
