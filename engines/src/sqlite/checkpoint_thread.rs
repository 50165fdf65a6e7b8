//! The thread that moves pages from the log into the database.
//!
//! Most are moved while others write. The log can begin anew only when all are moved and no reader needs it: that last part
//! takes the writers' turn. Without it, a log that is written all the time grows for ever.

use std::time::Duration;

use rusqlite::ffi::SQLITE_IOERR_FSYNC;
use rusqlite::{Connection, Result};

use super::database::{ReaderSlot, Shared};
use super::error::DatabaseError;
use super::options::LITTLE_CACHE;
use super::{connection, ffi, table};

/// The pages in the log at which they are moved: 32 MB, which a start after a kill reads in some 50 ms. The more there are,
/// the more of them are versions of one page, of which one is moved.
const ENOUGH: i64 = 16_384;
/// The most pages that are left for the writers' turn, in the usual case.
const FEW: i64 = 256;
/// The most attempts to have few pages left.
const ATTEMPTS: u32 = 4;
/// How long the writers' turn waits for readers of other processes.
const PATIENCE: Duration = Duration::from_millis(20);
/// A log of so many pages is worth a warning: 1 GB.
const LONG: i64 = 1 << 19;

/// The log of a database, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Log {
    /// A lock of another process was in the way.
    is_busy: bool,
    length: i64,
    moved: i64,
}

/// Moves pages until the end.
pub(super) fn run(shared: &Shared) {
    let slot = shared.reader_slot(LITTLE_CACHE);
    let mut told = String::new();
    while shared.commits.wait_for_growth() {
        if shared.commits.failure().is_some() {
            continue;
        }
        let trouble = match shorten(shared, &slot) {
            Ok(length) if length > LONG => "its log has 1 GB and more, as another process reads from one state of it for long; it begins anew when \
                 that ends".to_owned(),
            Ok(_) => String::new(),
            Err(error) => {
                let trouble = format!("its log cannot be moved into it: {error}");
                // What cannot be written stays in the log; what a sync has not written may be nowhere.
                if matches!(error, DatabaseError::Io(_, SQLITE_IOERR_FSYNC)) {
                    shared.commits.fail(error.to_string());
                }
                trouble
            }
        };
        // Once, however often it is tried.
        if !trouble.is_empty() && told != trouble {
            log::error!("{}: {trouble}", shared.name());
        }
        told = trouble;
    }
}

/// Moves pages if there are enough, and returns the length of the log.
fn shorten(shared: &Shared, slot: &ReaderSlot) -> Result<i64, DatabaseError> {
    let log = shared.read(slot, |connection| {
        // A move returns the length of the log at its start, and others write meanwhile.
        let mut log = checkpoint(connection, "NOOP")?;
        for _ in 0..ATTEMPTS {
            if log.length < ENOUGH || log.length - log.moved < FEW {
                break;
            }
            let before = log.moved;
            checkpoint(connection, "PASSIVE")?;
            // The sync within the writers' turn is short if the pages that were moved before it are on the disk.
            ffi::sync_database(connection)?;
            log = checkpoint(connection, "NOOP")?;
            // A reader of another process needs the rest of the log.
            if log.moved == before {
                break;
            }
        }
        Ok(log)
    })?;
    if log.length < ENOUGH {
        return Ok(log.length);
    }
    let writer = shared.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(log.length) };
    writer.busy_timeout(PATIENCE)?;
    let restarted = checkpoint(writer, "RESTART");
    writer.busy_timeout(shared.patience)?;
    let log = restarted?;
    if log.is_busy {
        return Ok(log.length);
    }
    // The first commit of a log waits for a sync of its head. This one does, so that no request has to.
    connection::in_one_step(writer, table::begin_log)?;
    shared.commits.add();
    Ok(0)
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Log> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.prepare_cached(&sql)?.query_row([], |row| {
        Ok(Log { is_busy: row.get::<_, i64>(0)? != 0, length: row.get(1)?, moved: row.get(2)? })
    })
}
