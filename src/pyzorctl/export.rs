//! `export`: writes all records as text.

use std::io::Write;

use pyzord_engines::registry::Access;

use super::context::Context;
use super::database::for_each_entry;
use super::error::{CommandError, Outcome, exit_code};
use super::options::{Export, READ_ADVICE};
use crate::output::complain;

/// Writes all records, and names those that cannot be read.
pub(crate) fn run(context: &Context, options: &Export, out: &mut dyn Write) -> Outcome {
    let mut database = context
        .open_within(Access::Read, options.waiting.wait)
        .map_err(|error| CommandError::open(error, READ_ADVICE))?;
    let mut complete = true;
    options.format.write_head(out)?;
    for_each_entry(&mut *database, |entry| {
        match entry.record {
            Ok((digest, record)) => options.format.write(out, digest, &record)?,
            Err(cause) => {
                complete = false;
                complain!("pyzorctl: {}: {cause}", entry.key.escape_debug());
            }
        }
        Ok::<(), CommandError>(())
    })?;
    Ok(exit_code(complete))
}
