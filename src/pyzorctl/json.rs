//! JSON output: one value a line.

use std::io::{self, Write};

use pyzord_core::UnixTime;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use crate::times::Seconds;

/// Writes a value and the end of the line.
pub(crate) fn write_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, PrintableFormatter))?;
    out.write_all(b"\n")
}

/// Serializes a date as a number of Unix seconds with all its digits, or as `null`.
pub(crate) fn seconds<S: Serializer>(date: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    date.map(|date| number(&Seconds(date).to_string()))
        .transpose()
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

/// Makes the digits of a number a JSON number that is written as it is.
pub(crate) fn number(digits: &str) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(digits.to_owned())
}

/// Escapes all control characters, not only those that JSON forbids: a terminal must not execute them.
struct PrintableFormatter;

impl Formatter for PrintableFormatter {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            if c.is_control() {
                write!(out, "\\u{:04x}", u32::from(c))?;
            } else {
                write!(out, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_no_control_characters() {
        let mut out = Vec::new();
        write_line(&mut out, &"a\"\\\n\u{1}é\u{9b}\u{7f}").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"\\\\\\n\\u0001é\\u009b\\u007f\"\n");
    }
}
