//! The values of arguments: parsed by clap, or from the lines of standard input.

use log::LevelFilter;
use pyzord_core::{Digest, Operation};
use thiserror::Error;

use crate::settings;

/// A text is not a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a digest is 40 hex digits")]
pub(crate) struct NotADigest;

pub(crate) fn parse_digest(text: &str) -> Result<Digest, NotADigest> {
    Digest::parse(text.as_bytes()).ok_or(NotADigest)
}

/// A text is not an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the operations are {}", Operation::ALL.map(Operation::name).join(", "))]
pub(crate) struct NotAnOperation;

/// Parses an operation in upper or lower case.
pub(crate) fn parse_operation(text: &str) -> Result<Operation, NotAnOperation> {
    Operation::parse(text.to_ascii_lowercase().as_bytes()).ok_or(NotAnOperation)
}

/// A text is not the level of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the levels are debug, info, warning and error")]
pub(crate) struct NotALevel;

/// Parses the level of a log.
pub(crate) fn parse_level(text: &str) -> Result<LevelFilter, NotALevel> {
    settings::log_level(text).ok_or(NotALevel)
}

/// Why a name cannot be that of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum AccountNameError {
    #[error("a name is not empty, has no colon and no white space, and does not begin with `#`")]
    Characters,
    #[error("`anonymous` and `all` are keywords of access files")]
    Keyword,
}

/// Parses a name that the accounts file and the access file can hold.
pub(crate) fn parse_account_name(text: &str) -> Result<String, AccountNameError> {
    let is_separator = |c: char| c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.starts_with('#') || text.contains(is_separator) {
        return Err(AccountNameError::Characters);
    }
    if ["anonymous", "all"].iter().any(|keyword| text.eq_ignore_ascii_case(keyword)) {
        return Err(AccountNameError::Keyword);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_name_that_both_files_can_hold() {
        for (name, good) in [
            ("alice", true),
            ("Alice.Smith@example.org", true),
            ("zoë", true),
            ("", false),
            ("#alice", false),
            ("a:b", false),
            ("a b", false),
            ("a\nb", false),
            ("Anonymous", false),
            ("all", false),
        ] {
            assert_eq!(parse_account_name(name).is_ok(), good, "{name:?}");
        }
    }
}
