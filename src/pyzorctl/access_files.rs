//! The accounts file and the access file, to say which line decides.

use std::borrow::Cow;

use pyzord_core::{Decision, Rulebook};

use crate::rules::{self, RulesError};
use crate::settings::Settings;

/// Both files: the rules, and the text of the access file.
pub(crate) struct AccessFiles {
    pub(crate) rules: Rulebook,
    /// `None` if there is no access file.
    access_text: Option<Vec<u8>>,
}

impl AccessFiles {
    pub(crate) fn read(settings: &Settings) -> Result<Self, RulesError> {
        let (accounts, access_text) = rules::read_files(settings)?;
        let rules = Rulebook::parse(accounts.as_deref(), access_text.as_deref());
        Ok(Self { rules, access_text })
    }

    /// Returns the reason for a decision: the deciding line, or that there is none.
    pub(crate) fn reason(&self, decision: Decision) -> String {
        match (decision.line, &self.access_text) {
            (Some(number), Some(text)) => {
                let line = nth_line(text, number).unwrap_or_else(|| {
                    // The decision is made from this text.
                    debug_assert!(false, "line {number} decides and is not in the access file");
                    log::error!("internal error: line {number} decides and is not in the access file");
                    b""
                });
                format!("by line {number}: {}", String::from_utf8_lossy(line).trim().escape_debug())
            }
            (None, Some(_)) => "as no line matches".to_owned(),
            (_, None) => "by default, as there is no access file".to_owned(),
        }
    }
}

/// Returns the line of this number, from 1. A line ends with LF, CR LF or CR, as in the parser of the file.
fn nth_line(text: &[u8], number: usize) -> Option<&[u8]> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.flat_map(|line| line.split(|byte| *byte == b'\r')).nth(number.checked_sub(1)?)
}

/// Returns the word for a decision.
pub(crate) const fn verdict(decision: Decision) -> &'static str {
    if decision.allowed { "allowed" } else { "denied" }
}

/// Returns a user's name without control characters.
pub(crate) fn printable_name(user: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(user) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        _ => Cow::Owned(user.escape_ascii().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::{AccessOrder, Operation};

    use super::*;

    /// Lines were counted at every LF only, so a file with bare CRs had the wrong line shown.
    #[test]
    fn the_deciding_line_is_found_with_every_line_end() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["# comment", "", "report : anonymous : deny", "all : anonymous : allow"].join(end);
            let rules = Rulebook::parse(None, Some(text.as_bytes()));
            let decision = rules.decide(AccessOrder::FirstMatch, b"anonymous", Operation::Check);
            let files = AccessFiles { rules, access_text: Some(text.into_bytes()) };
            assert_eq!(files.reason(decision), "by line 4: all : anonymous : allow", "{end:?}");
        }
    }
}
