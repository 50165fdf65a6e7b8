//! The digests that a command is for: arguments, and lines of standard input.

use std::io::{self, BufRead as _};

use pyzord_core::Digest;

use super::arguments::parse_digest;
use super::error::CommandError;

/// The most records that are read or changed in one call of the database.
pub(crate) const BATCH: usize = 250;

/// Parses the arguments; `-` stands for the digests of standard input, the first word of each line.
pub(crate) fn read(arguments: &[String]) -> Result<Vec<Digest>, CommandError> {
    let mut digests = Vec::new();
    for argument in arguments {
        if argument == "-" {
            read_input(&mut digests)?;
        } else {
            let digest = parse_digest(argument);
            let failed = |cause| CommandError::DigestArgument { argument: argument.clone(), cause };
            digests.push(digest.map_err(failed)?);
        }
    }
    Ok(digests)
}

fn read_input(digests: &mut Vec<Digest>) -> Result<(), CommandError> {
    for (number, line) in (1..).zip(io::stdin().lock().lines()) {
        let line = line.map_err(CommandError::Input)?;
        // Some editors write a byte order mark before the text.
        if let Some(word) = line.trim_start_matches('\u{feff}').split_whitespace().next() {
            let digest = parse_digest(word);
            digests.push(digest.map_err(|cause| CommandError::InputLine { line: number, cause })?);
        }
    }
    Ok(())
}
