//! The thread that moves pages from the log into the database.
//!
//! Most are moved while others write. The log can begin anew only when all are moved and no reader needs it: that last part
//! takes the writers' turn. Without it, a log that is written all the time grows for ever.

use std::time::Duration;

use rusqlite::{Connection, Result};

use super::connection;
use super::database::Shared;
use super::error::DatabaseError;

/// The pages in the log at which they are moved: 8 MB, which a start after a kill reads in some 10 ms.
const ENOUGH: i64 = 8192;
/// The most pages that are left for the writers' turn, in the usual case.
const FEW: i64 = 512;
/// The most attempts to have few pages left.
const ATTEMPTS: u32 = 4;
/// How long the writers' turn waits for readers of other processes.
const PATIENCE: Duration = Duration::from_millis(20);
/// A log of so many pages is worth a warning: 1 GB.
const LONG: i64 = 1 << 20;

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
    let mut slot = None;
    let mut warned = false;
    while shared.commits.wait_for_growth() {
        if shared.commits.failure().is_some() {
            slot = None;
            continue;
        }
        match shorten(shared, &mut slot) {
            Ok(length) if length > LONG && !warned => {
                warned = true;
                log::warn!(
                    "{}: its log has {} MB, since another process reads from one state of it for long; it begins anew \
                     when that ends",
                    shared.name(),
                    length >> 10
                );
            }
            Ok(length) => warned &= length > LONG,
            Err(error) => {
                slot = None;
                log::error!("{}: its log cannot be moved into it: {error}", shared.name());
                if matches!(error, DatabaseError::Io(..)) {
                    shared.commits.fail(error.to_string());
                }
            }
        }
    }
}

/// Moves pages if there are enough, and returns the length of the log.
fn shorten(shared: &Shared, slot: &mut Option<Connection>) -> Result<i64, DatabaseError> {
    let connection = match slot {
        Some(connection) => connection,
        None => slot.insert(connection::open(&shared.path, shared.options.access, 0)?),
    };
    let mut log = checkpoint(connection, "NOOP")?;
    if log.length < ENOUGH {
        return Ok(log.length);
    }
    for _ in 0..ATTEMPTS {
        log = checkpoint(connection, "PASSIVE")?;
        if log.length - log.moved < FEW {
            break;
        }
    }
    let writer = shared.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(log.length) };
    writer.busy_timeout(PATIENCE)?;
    let restarted = checkpoint(writer, "RESTART");
    writer.busy_timeout(connection::BUSY)?;
    let log = restarted?;
    if log.is_busy {
        return Ok(log.length);
    }
    // The first commit of a log waits for a sync of its head. This one does, so that no request has to.
    let touch = "UPDATE pyzord_meta SET value = value + 1 WHERE name = 'restarts'";
    connection::in_one_step(writer, |writer| writer.prepare_cached(touch)?.execute([]))?;
    shared.commits.add();
    Ok(0)
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Log> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.prepare_cached(&sql)?.query_row([], |row| {
        Ok(Log { is_busy: row.get::<_, i64>(0)? != 0, length: row.get(1)?, moved: row.get(2)? })
    })
}
