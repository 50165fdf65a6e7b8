//! `check-database`: says what the server would find in the database when it starts.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

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

/// The state of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Sound,
    Served,
    Absent,
    NeedsRecovery,
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
        if let Some(cause) = cause {
            complain!("pyzorctl: {cause}");
        }
    }
    Ok(exit_code(state.is_good() && entries.is_none_or(|entries| entries.unreadable == 0)))
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
    let path = &context.settings.database;
    let is_file = registry::is_file(&context.settings.engine);
    if is_file && is_absent(path) {
        return match write_access::check(path, context.home.path()) {
            Ok(()) => Ok(Finding { state: State::Absent, cause: None, entries: None }),
            Err(error) => failed(State::Unusable, format!("a server cannot create it: {error}")),
        };
    }
    match context.open_within(Access::Read, options.waiting.wait) {
        Ok(mut database) => {
            let entries = Some(count_entries(&mut *database)?);
            if is_file && let Err(error) = write_access::check(path, context.home.path()) {
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

/// Returns whether a start creates the file. A start treats an empty file as none.
fn is_absent(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(file) => file.is_file() && file.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
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
