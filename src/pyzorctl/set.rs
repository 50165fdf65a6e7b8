//! `set`: changes the counts and dates of a record.

use std::io::Write;

use pyzord_core::{Record, Tally, UnixTime};
use pyzord_engines::registry::Access;

use super::context::Context;
use super::error::{CommandError, Outcome, exit_code};
use super::options::{CHANGE_ADVICE, Set};
use super::report;
use crate::bulk;

/// Changes what the options give, and keeps the rest.
pub(crate) fn run(context: &Context, options: &Set, out: &mut dyn Write) -> Outcome {
    let now = context.clock.now().wall;
    let digest = options.digest;
    let mut database = context
        .open_within(Access::Change, options.waiting.wait)
        .map_err(|error| CommandError::open(error, CHANGE_ADVICE))?;
    let old = bulk::fetch_one(&mut *database, digest)
        .map_err(|failure| CommandError::Record { digest, failure })?;
    let new = Record {
        reports: changed(old.reports, options.reports, options.reported, now),
        whitelists: changed(old.whitelists, options.whitelists, options.whitelisted, now),
    };
    if new.reports.count > Tally::MAX || new.whitelists.count > Tally::MAX {
        return Err(CommandError::CountTooLarge);
    }
    bulk::put_one(&mut *database, digest, &new)?;
    context.sync(&mut *database)?;
    report::write_record(out, digest, &database.rounded(&new))?;
    Ok(exit_code(true))
}

/// Returns a tally with another count or last date. A count of 0 has no dates, any other count has both.
fn changed(old: Tally, count: Option<u64>, last: Option<UnixTime>, now: UnixTime) -> Tally {
    let count = count.unwrap_or(old.count);
    if count == old.count && last.is_none() {
        return old;
    }
    if count == 0 {
        return Tally::default();
    }
    let updated = last.or(old.updated).unwrap_or(now);
    Tally {
        count,
        entered: Some(old.entered.map_or(updated, |entered| entered.min(updated))),
        updated: Some(updated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_dates_and_no_count_has_none() {
        let at = |seconds| Some(UnixTime::from_seconds(seconds));
        let tally = |count, entered, updated| Tally { count, entered, updated };
        let old = tally(5, at(10), at(20));
        for (old, count, last, new) in [
            (old, None, None, old),
            (old, Some(7), None, tally(7, at(10), at(20))),
            (old, Some(0), None, Tally::default()),
            (old, Some(0), at(30), Tally::default()),
            (old, None, at(30), tally(5, at(10), at(30))),
            (old, None, at(5), tally(5, at(5), at(5))),
            (Tally::default(), Some(3), None, tally(3, at(99), at(99))),
            (Tally::default(), Some(3), at(30), tally(3, at(30), at(30))),
            (Tally::default(), None, at(30), Tally::default()),
        ] {
            assert_eq!(
                changed(old, count, last, UnixTime::from_seconds(99)),
                new,
                "{old:?} {count:?} {last:?}"
            );
        }
    }
}
