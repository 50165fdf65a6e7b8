//! `delete`: removes records.

use std::io::{self, IsTerminal as _, Write};

use pyzord_core::{Digest, Record};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::Access;

use super::context::Context;
use super::digests;
use super::error::{CommandError, Outcome, exit_code};
use super::operator::Changes;
use super::options::{CHANGE_ADVICE, Delete};
use super::report;
use crate::bulk;
use crate::output::write_error;

/// The most records that are removed without a question.
const MAX_UNASKED: usize = 10;

/// Removes the record of each digest, readable or not.
pub(crate) fn run(context: &Context, options: &Delete, out: &mut dyn Write) -> Outcome {
    let digests = digests::read(&options.digests.digests)?;
    confirm(digests.len(), options.yes, "Delete the records of")?;
    let mut database = context
        .open_within(Access::Change, options.waiting.wait)
        .map_err(|error| CommandError::open(error, CHANGE_ADVICE))?;
    let mut changes = Changes::new();
    let removed = remove(&mut *database, &digests, &mut changes, out);
    let removed = removed.and_then(|()| Ok(context.sync(&mut *database)?));
    changes.tell(context);
    removed.map(|()| exit_code(true))
}

fn remove(
    database: &mut dyn RecordStore,
    digests: &[Digest],
    changes: &mut Changes,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    for batch in digests.chunks(digests::BATCH) {
        let found = bulk::fetch(database, batch)?;
        database.remove(batch)?;
        for (digest, found) in batch.iter().zip(found) {
            match found {
                Ok(record) if record == Record::default() => writeln!(out, "{digest}: no record")?,
                Ok(record) => {
                    let counts = report::counts(&record);
                    writeln!(out, "{digest}: deleted ({counts})")?;
                    changes.add(*digest, &format!("deleted the record ({counts}) of"));
                }
                Err(cause) => {
                    writeln!(out, "{digest}: deleted ({cause})")?;
                    changes.add(*digest, "deleted the unreadable record of");
                }
            }
        }
    }
    Ok(())
}

/// Fails unless the operator confirms what is done to many digests.
pub(super) fn confirm(count: usize, yes: bool, what: &str) -> Result<(), CommandError> {
    if count > MAX_UNASKED && !yes && !is_confirmed(count, what)? {
        return Err(CommandError::NotConfirmed);
    }
    Ok(())
}

/// Asks on a terminal. A script cannot answer, and means the digests that it gives.
fn is_confirmed(count: usize, what: &str) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    write_error(format_args!("{what} {count} digests? [y/N] "));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(CommandError::Input)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
