//! `expiry`: says how many records have expired, and how old the others are.

use std::io::{self, Write};
use std::time::Duration;

use pyzord_core::{CleanupAge, Progress, Record, Survey, Task, UnixTime};
use pyzord_engines::registry::Access;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::context::Context;
use super::database::for_each_entry;
use super::error::{CommandError, Outcome, exit_code};
use super::format::Format;
use super::json;
use super::options::{CHANGE_ADVICE, Expiry, READ_ADVICE};
use crate::times;

const DAY: u64 = 24 * 3600;
/// The ages in days that divide the records into classes.
const CLASSES: [u64; 6] = [1, 7, 30, 60, 90, 120];

/// The numbers of records, by the age of their latest activity.
struct Ages {
    /// `CleanupAge` in seconds; 0 is never.
    cleanup_age: u64,
    expired: u64,
    /// For each of [`CLASSES`], the records that are younger, and not younger than the age before it.
    classes: [u64; CLASSES.len()],
    older: u64,
    /// Records without a date. They have no age and never expire.
    undated: u64,
    unreadable: u64,
    /// Why a server removes no record now.
    waits: Option<String>,
}

/// Reads all records and counts them, lists those that have expired, or removes them.
pub(crate) fn run(context: &Context, options: &Expiry, out: &mut dyn Write) -> Outcome {
    let (access, advice) =
        if options.now { (Access::Change, CHANGE_ADVICE) } else { (Access::Read, READ_ADVICE) };
    let mut database = context
        .open_within(access, options.waiting.wait)
        .map_err(|error| CommandError::open(error, advice))?;
    let now = context.clock.now().wall;
    let limit = context.settings.cleanup.map(|age| age.limit(now));
    let mut ages = Ages::new(context.settings.cleanup.map_or(0, CleanupAge::seconds));
    let mut survey = Survey::default();
    for_each_entry(&mut *database, |entry| {
        let Ok((digest, record)) = entry.record else {
            ages.unreadable += 1;
            return Ok(());
        };
        let expired = limit.is_some_and(|limit| record.expired(limit));
        survey.add(&record, limit.unwrap_or(UnixTime::BUILT));
        ages.add(&record, expired, now);
        // A record without a date does not expire.
        if let Some(latest) = record.latest_activity().filter(|_| options.list && expired) {
            if options.json {
                Format::Jsonl.write(out, digest, &record)?;
            } else {
                writeln!(out, "{digest} {}", times::local(latest))?;
            }
        }
        Ok::<(), CommandError>(())
    })?;
    // Redis expires records itself, each by its own age.
    let by_server = !context.settings.engine.starts_with("redis");
    let judged = context.settings.expiry_guard.judge(now, &survey);
    ages.waits = judged.filter(|_| by_server && limit.is_some() && !options.now).map(|wait| wait.to_string());
    if let Some(limit) = limit.filter(|_| options.now) {
        while database.upkeep(context.clock.now(), Task::Expire(limit))? == Progress::More {}
        context.sync(&mut *database)?;
    }
    match (options.list, options.json) {
        (true, _) => (),
        (false, true) => json::write_line(out, &ages)?,
        (false, false) => ages.write(out)?,
    }
    if by_server && options.now && !options.json {
        writeln!(out, "the expired records were removed")?;
    }
    Ok(exit_code(true))
}

impl Ages {
    const fn new(cleanup_age: u64) -> Self {
        let classes = [0; CLASSES.len()];
        Self { cleanup_age, expired: 0, classes, older: 0, undated: 0, unreadable: 0, waits: None }
    }

    fn add(&mut self, record: &Record, expired: bool, now: UnixTime) {
        self.expired += u64::from(expired);
        let Some(latest) = record.latest_activity() else {
            self.undated += 1;
            return;
        };
        for (days, class) in CLASSES.iter().zip(&mut self.classes) {
            if latest > now.before(Duration::from_secs(days * DAY)) {
                *class += 1;
                return;
            }
        }
        self.older += 1;
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.cleanup_age {
            0 => writeln!(out, "CleanupAge is 0: nothing expires")?,
            seconds => writeln!(out, "CleanupAge is {seconds} seconds, {} days", seconds / DAY)?,
        }
        writeln!(out, "expired: {}", self.expired)?;
        for (days, count) in CLASSES.iter().zip(self.classes) {
            writeln!(out, "younger than {days} days: {count}")?;
        }
        writeln!(out, "older: {}\nwithout a date: {}", self.older, self.undated)?;
        writeln!(out, "unreadable: {}", self.unreadable)?;
        match &self.waits {
            Some(wait) => writeln!(out, "expiry waits: {wait}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Ages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { cleanup_age, expired, classes, older, undated, unreadable, waits } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("cleanup_age", cleanup_age)?;
        map.serialize_entry("expired", expired)?;
        for (days, count) in CLASSES.iter().zip(classes) {
            map.serialize_entry(&format!("younger_than_{days}_days"), count)?;
        }
        map.serialize_entry("older", older)?;
        map.serialize_entry("undated", undated)?;
        map.serialize_entry("unreadable", unreadable)?;
        map.serialize_entry("waits", waits)?;
        map.end()
    }
}
