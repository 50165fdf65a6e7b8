//! `set`: changes the counts and dates of a record.

use std::io::Write;

use pyzord_core::Tally;
use pyzord_engines::registry::Access;
use pyzord_engines::{Change, RecordEdit, TallyEdit};

use super::context::Context;
use super::error::{CommandError, Outcome, exit_code};
use super::operator::Changes;
use super::options::{CHANGE_ADVICE, Set};
use super::report;
use crate::bulk;

/// Changes what the options give in one step, and keeps the rest.
pub(crate) fn run(context: &Context, options: &Set, out: &mut dyn Write) -> Outcome {
    let digest = options.digest;
    if [options.reports, options.whitelists].into_iter().flatten().any(|count| count > Tally::MAX) {
        return Err(CommandError::CountTooLarge);
    }
    let edit = RecordEdit {
        reports: TallyEdit { count: options.reports, last: options.reported },
        whitelists: TallyEdit { count: options.whitelists, last: options.whitelisted },
        now: context.clock.now().wall,
    };
    let mut database = context
        .open_within(Access::Change, options.waiting.wait)
        .map_err(|error| CommandError::open(error, CHANGE_ADVICE))?;
    bulk::change_one(&mut *database, digest, Change::Set(edit))
        .map_err(|error| CommandError::Change { digest, error })?;
    context.sync(&mut *database)?;
    let mut changes = Changes::new();
    changes.add(digest, "set the record of");
    changes.tell(context);
    let record = bulk::fetch_one(&mut *database, digest)
        .map_err(|failure| CommandError::Record { digest, failure })?;
    report::write_record(out, digest, &record)?;
    Ok(exit_code(true))
}
