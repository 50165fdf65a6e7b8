//! `delete`: removes records.

use std::io::{self, IsTerminal as _, Write};

use pyzord_core::Record;
use pyzord_engines::registry::Access;

use super::context::Context;
use super::digests;
use super::error::{CommandError, Outcome, exit_code};
use super::options::{CHANGE_ADVICE, Delete};
use super::report;
use crate::bulk;
use crate::output::write_error;

/// The most records that are removed without a question.
const MAX_UNASKED: usize = 10;

/// Removes the record of each digest, readable or not.
pub(crate) fn run(context: &Context, options: &Delete, out: &mut dyn Write) -> Outcome {
    let digests = digests::read(&options.digests.digests)?;
    if digests.len() > MAX_UNASKED && !options.yes && !is_confirmed(digests.len())? {
        return Err(CommandError::NotConfirmed);
    }
    let mut database = context
        .open_within(Access::Change, options.waiting.wait)
        .map_err(|error| CommandError::open(error, CHANGE_ADVICE))?;
    for batch in digests.chunks(digests::BATCH) {
        let found = bulk::fetch(&mut *database, batch)?;
        database.remove(batch)?;
        for (digest, found) in batch.iter().zip(found) {
            match found {
                Ok(record) if record == Record::default() => writeln!(out, "{digest}: no record")?,
                Ok(record) => writeln!(out, "{digest}: deleted ({})", report::counts(&record))?,
                Err(cause) => writeln!(out, "{digest}: deleted ({cause})")?,
            }
        }
    }
    context.sync(&mut *database)?;
    Ok(exit_code(true))
}

/// Asks on a terminal. A script cannot answer, and means the digests that it gives.
fn is_confirmed(count: usize) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    write_error(format_args!("Delete the records of {count} digests? [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(CommandError::Input)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
