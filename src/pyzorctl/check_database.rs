//! `check-database`: says what the server would find in the database when it starts.

use std::io::Write;

use pyzord_core::StoreFailure;
use pyzord_engines::RecordStore;
use pyzord_engines::registry::{self, Access};
use serde::Serialize;

use super::context::Context;
use super::database::{OpenError, for_each_entry};
use super::error::{CommandError, Outcome, exit_code};
use super::json;
use super::options::CheckDatabase;
use crate::output::complain;
use crate::write_access;

/// How often a database is read through a server that ends meanwhile.
const ATTEMPTS: u32 = 5;
/// The most unreadable entries that are named.
const MAX_NAMED: u64 = 20;
/// The most contradictions that are named behind the first.
#[cfg(feature = "sqlite")]
const MOST_CONTRADICTIONS: usize = 20;

/// The state of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Sound,
    Served,
    Absent,
    NeedsRecovery,
    /// Its pages contradict each other, and no start mends it.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "a start recovers a gdbm file"))]
    Damaged,
    Unusable,
    InUse,
    /// A server has it and cannot read it.
    Failing,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Served => "served",
            Self::Absent => "absent",
            Self::NeedsRecovery => "needs recovery",
            Self::Damaged => "damaged",
            Self::Unusable => "unusable",
            Self::InUse => "in use",
            Self::Failing => "failing",
        }
    }

    /// Returns whether a server serves the database, or would if it was started.
    const fn is_good(self) -> bool {
        matches!(self, Self::Sound | Self::Served | Self::Absent)
    }
}

/// The number of entries, and of those that cannot be read.
#[derive(Clone, Copy)]
struct Entries {
    all: u64,
    unreadable: u64,
}

struct Finding {
    state: State,
    /// Why the database cannot be served or checked.
    cause: Option<String>,
    entries: Option<Entries>,
}

/// A finding as JSON.
#[derive(Serialize)]
struct JsonFinding<'a> {
    database: &'a str,
    state: &'static str,
    cause: Option<&'a str>,
    entries: Option<u64>,
    unreadable: Option<u64>,
}

/// Reads the whole database and changes nothing.
pub(crate) fn run(context: &Context, options: &CheckDatabase, out: &mut dyn Write) -> Outcome {
    let Finding { state, cause, entries } = find(context, options)?;
    let name = context.database_name();
    if options.json {
        let finding = JsonFinding {
            database: &name,
            state: state.name(),
            cause: cause.as_deref(),
            entries: entries.map(|entries| entries.all),
            unreadable: entries.map(|entries| entries.unreadable),
        };
        json::write_line(out, &finding)?;
    } else {
        writeln!(out, "database {name}: {}", state.name())?;
        if let Some(Entries { all, unreadable }) = entries {
            writeln!(out, "{all} entries, {unreadable} of them unreadable")?;
        }
        if let Some(cause) = &cause {
            complain!("pyzorctl: {cause}");
        }
    }
    let is_readable = entries.is_none_or(|entries| entries.unreadable == 0);
    Ok(exit_code(state.is_good() && is_readable && cause.is_none()))
}

fn find(context: &Context, options: &CheckDatabase) -> Result<Finding, CommandError> {
    let failed = |state, cause| Ok(Finding { state, cause: Some(cause), entries: None });
    for attempt in 1..=ATTEMPTS {
        let Some(mut database) = context.open_through_server() else { break };
        match count_entries(&mut database) {
            Ok(entries) => return Ok(Finding { state: State::Served, cause: None, entries: Some(entries) }),
            // A stop or a restart has cut the connection, which says nothing about the database.
            Err(_) if database.is_lost() && attempt < ATTEMPTS => (),
            Err(failure) if database.is_lost() => return failed(State::InUse, failure.to_string()),
            Err(failure) => return failed(State::Failing, failure.to_string()),
        }
    }
    let is_file = registry::is_file(&context.settings.engine);
    if let Err(error) = registry::check(&context.settings.engine, &context.settings.dsn) {
        return failed(State::Unusable, error.to_string());
    }
    #[cfg(feature = "sqlite")]
    if context.settings.engine == "sqlite"
        && let Err(error) = pyzord_engines::sqlite::check_absent(&context.settings.database)
    {
        return failed(State::Unusable, error.to_string());
    }
    if is_file && write_access::is_absent(&context.settings.database) {
        return match context.check_writable() {
            Ok(()) => Ok(Finding { state: State::Absent, cause: None, entries: None }),
            Err(error) => failed(State::Unusable, format!("a server cannot create it: {error}")),
        };
    }
    #[cfg(feature = "sqlite")]
    if context.settings.engine == "sqlite" {
        return find_in_sqlite(context);
    }
    match context.open_within(Access::Read, options.waiting.wait) {
        Ok(mut database) => {
            let entries = Some(count_entries(&mut *database)?);
            if is_file && let Err(error) = context.check_writable() {
                let cause = Some(format!("a server cannot write it: {error}"));
                return Ok(Finding { state: State::Unusable, cause, entries });
            }
            Ok(Finding { state: State::Sound, cause: None, entries })
        }
        Err(error) => {
            let state = match error {
                OpenError::InUse { .. } => State::InUse,
                OpenError::Damaged(_) => State::NeedsRecovery,
                OpenError::Unusable(_) => State::Unusable,
            };
            failed(state, error.to_string())
        }
    }
}

/// Checks the pages of a SQLite database, its records, and the number of them. A server goes on meanwhile.
#[cfg(feature = "sqlite")]
fn find_in_sqlite(context: &Context) -> Result<Finding, CommandError> {
    let mut database = match context.open_sqlite(Access::Read) {
        Ok(database) => database,
        Err(error) => {
            let state = if matches!(error, OpenError::Damaged(_)) { State::Damaged } else { State::Unusable };
            return Ok(Finding { state, cause: Some(error.to_string()), entries: None });
        }
    };
    let mut found = database.check()?;
    let entries = match count_entries(&mut database) {
        Ok(entries) => Some(entries),
        Err(failure) if found.is_empty() => return Err(failure.into()),
        Err(_) => None,
    };
    // An unreadable row breaks a rule of its table, which says no more than that it is unreadable.
    if entries.is_some_and(|entries| entries.unreadable > 0) {
        found.retain(|line| !line.starts_with("CHECK constraint failed"));
    }
    if let Some((first, others)) = found.split_first() {
        others.iter().take(MOST_CONTRADICTIONS).for_each(|line| complain!("pyzorctl: {line}"));
        let cause =
            format!("{first}: stop the server, keep a copy of the files, and put a backup in their place");
        return Ok(Finding { state: State::Damaged, cause: Some(cause), entries });
    }
    if let Err(error) = context.check_writable() {
        let cause = Some(format!("a server cannot write it: {error}"));
        return Ok(Finding { state: State::Unusable, cause, entries });
    }
    let (kept, counted) = database.record_figures()?;
    let cause = (kept != Some(counted)).then(|| {
        let kept = kept.map_or_else(|| "nothing".to_owned(), |kept| kept.to_string());
        format!(
            "the number of records is kept as {kept}, and there are {counted}; correct it in pyzord_meta, or move the \
             records to a new file with pyzor-migrate"
        )
    });
    Ok(Finding { state: State::Sound, cause, entries })
}

/// Reads all entries and names the first that cannot be read.
fn count_entries(database: &mut dyn RecordStore) -> Result<Entries, StoreFailure> {
    let mut entries = Entries { all: 0, unreadable: 0 };
    for_each_entry(database, |entry| {
        entries.all += 1;
        if let Err(cause) = entry.record {
            entries.unreadable += 1;
            if entries.unreadable <= MAX_NAMED {
                complain!("pyzorctl: {}: {cause}", entry.key.escape_debug());
            }
        }
        Ok::<(), StoreFailure>(())
    })?;
    if entries.unreadable > MAX_NAMED {
        complain!("pyzorctl: {} more are unreadable", entries.unreadable - MAX_NAMED);
    }
    Ok(entries)
}
