//! Which records have expired, and how old the others are.

use std::io::Write;
use std::time::Duration;

use crate::times;
use pyzord_core::{CleanupAge, Record, UnixTime};
use pyzord_engines::registry::Access;

use super::failure::{Outcome, status};
use super::options::{Expiry, Format};
use super::site::{STOP, Site, each};

const DAY: u64 = 24 * 3600;
/// The ages in days at which the classes end; the last one has no end.
const CLASSES: [u64; 6] = [1, 7, 30, 60, 90, 120];

/// How many records there are, by the age of their latest activity.
#[derive(Default)]
struct Ages {
    expired: u64,
    /// Those younger than each of [`CLASSES`] and not than the one before.
    classes: [u64; CLASSES.len()],
    older: u64,
    /// Records without any date: they have no age and never expire.
    undated: u64,
    unreadable: u64,
}

/// Reads all records and counts them, or lists those that a round of expiry would remove now.
pub(crate) fn run(site: &Site, options: &Expiry, out: &mut dyn Write) -> Outcome {
    let mut database = site.wait(Access::Read, &options.waiting).map_err(|shut| shut.or(STOP))?;
    let now = site.clock.now().wall;
    let limit = site.settings.cleanup.map(|age| age.limit(now));
    let mut ages = Ages::default();
    each(&mut *database, |entry| {
        let Ok((digest, record)) = entry.record else {
            ages.unreadable += 1;
            return Ok(());
        };
        let expired = limit.is_some_and(|limit| record.expired(limit));
        ages.count(&record, expired, now);
        match record.latest_activity() {
            Some(latest) if options.list && expired && !options.json => {
                writeln!(out, "{digest} {}", times::local(latest))?;
            }
            Some(_) if options.list && expired => Format::Jsonl.write(out, digest, &record)?,
            _ => (),
        }
        Ok(())
    })?;
    match (options.list, options.json) {
        (true, _) => (),
        (false, true) => ages.write_json(site.settings.cleanup.map_or(0, CleanupAge::seconds), out)?,
        (false, false) => ages.write(site.settings.cleanup.map_or(0, CleanupAge::seconds), out)?,
    }
    Ok(status(true))
}

impl Ages {
    fn count(&mut self, record: &Record, expired: bool, now: UnixTime) {
        self.expired += u64::from(expired);
        let Some(latest) = record.latest_activity() else {
            self.undated += 1;
            return;
        };
        let younger = |days: &u64| latest > now.before(Duration::from_secs(days * DAY));
        let class = CLASSES.iter().position(younger).and_then(|index| self.classes.get_mut(index));
        *class.unwrap_or(&mut self.older) += 1;
    }

    fn write(&self, cleanup: u64, out: &mut dyn Write) -> std::io::Result<()> {
        let rule = match cleanup {
            0 => "CleanupAge is 0: nothing expires".to_owned(),
            seconds => format!("CleanupAge is {seconds} seconds, {} days", seconds / DAY),
        };
        writeln!(out, "{rule}\nexpired: {}", self.expired)?;
        for (days, count) in CLASSES.iter().zip(self.classes) {
            writeln!(out, "younger than {days} days: {count}")?;
        }
        writeln!(out, "older: {}\nwithout a date: {}", self.older, self.undated)?;
        writeln!(out, "unreadable: {}", self.unreadable)
    }

    fn write_json(&self, cleanup: u64, out: &mut dyn Write) -> std::io::Result<()> {
        let Self { expired, classes, older, undated, unreadable } = self;
        write!(out, "{{\"cleanup_age\":{cleanup},\"expired\":{expired}")?;
        for (days, count) in CLASSES.iter().zip(classes) {
            write!(out, ",\"younger_than_{days}_days\":{count}")?;
        }
        writeln!(out, ",\"older\":{older},\"undated\":{undated},\"unreadable\":{unreadable}}}")
    }
}
