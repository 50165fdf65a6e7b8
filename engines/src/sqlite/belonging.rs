//! Whether a log belongs to its database.
//!
//! SQLite applies any sound log of the right name. If a database was replaced by a backup and the log of a killed server was
//! left, the pages of both are mixed. So each log begins with a commit that numbers it: the database itself, without its
//! log, has the same number or that of the log before. Unless a kill or a loss of power cut a move of pages short: then it
//! may be unreadable without its log.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result};

use super::mending::{MendError, check_pages};
use super::open::OpenCause;
use super::presence::log_path;
use super::schema::{self, Content};
use super::{connection, table};

/// The first number of a log, with checksums in either byte order.
const LOG: [u32; 2] = [0x377f_0682, 0x377f_0683];
/// How often it is looked: another process may begin a log between two reads.
const LOOKS: u32 = 5;

/// What identifies a state of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    id: Option<i64>,
    generation: i64,
    has_records: bool,
}

impl State {
    fn of(connection: &Connection) -> Result<Self> {
        Ok(Self {
            id: table::figure(connection, "id")?,
            generation: table::figure(connection, "generation")?.unwrap_or_default(),
            has_records: table::records(connection)? != Some(0),
        })
    }

    /// Whether this state, with its log, can be that of a database which is in the other one without its log.
    fn follows(self, alone: Self) -> bool {
        let is_next = (0..=1).contains(&self.generation.saturating_sub(alone.generation));
        // A creation that was cut short and begun again leaves two names. Its tables are in the same pages, and its first
        // log has all that is in them.
        let is_new = alone.generation == 0 && !alone.has_records;
        is_next && (self.id == alone.id || is_new)
    }
}

/// Whether there is a log with commits.
pub(super) fn has_log(path: &Path) -> bool {
    fs::metadata(log_path(path)).is_ok_and(|log| log.len() > 0)
}

/// Whether there is a log with records, unlike that of a creation that was cut short: its first page is the first of the
/// database, which no commit after the creation changes.
pub(super) fn has_records_in_log(path: &Path) -> bool {
    // The head of the log, and the number of the page that follows.
    let mut start = [0; 36];
    let read = File::open(log_path(path)).and_then(|mut log| log.read_exact(&mut start));
    let is_log = start.first_chunk().is_some_and(|magic| LOG.contains(&u32::from_be_bytes(*magic)));
    read.is_ok() && is_log && start.last_chunk() != Some(&1_u32.to_be_bytes())
}

/// Whether the log belongs to the database. `connection` reads both.
pub(super) fn is_own_log(path: &Path, connection: &Connection) -> Result<bool> {
    for _ in 0..LOOKS {
        let both = State::of(connection)?;
        match state_alone(path) {
            Ok(alone) if both.follows(alone) => return Ok(true),
            Ok(State { id: Some(_), .. }) => (),
            // A part of it is missing.
            Ok(State { id: None, .. }) | Err(_) => break,
        }
    }
    // The creation of the database, or the move of the log's pages, was cut short, and the log completes them. A backup is
    // whole without a log.
    Ok(is_usable(path, false).is_err())
}

/// Returns the state of the database without its log.
fn state_alone(path: &Path) -> Result<State> {
    let alone = without_log(path)?;
    // Without this, a file that is shorter than its head says is not read: its end may be in the log.
    alone.pragma_update(None, "writable_schema", true)?;
    State::of(&alone)
}

/// Opens the database alone, as it is on the disk, without a lock.
pub(super) fn without_log(path: &Path) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(connection::uri(path, "immutable=1"), flags)
}

/// Fails if the database alone is none of ours or, unless it has a log of its own, not sound.
pub(super) fn is_usable(path: &Path, has_log: bool) -> Result<(), MendError> {
    let alone = without_log(path)?;
    if schema::check(&alone)? == Content::Nothing {
        return Err(OpenCause::Empty.into());
    }
    if has_log { Ok(()) } else { check_pages(&alone) }
}
