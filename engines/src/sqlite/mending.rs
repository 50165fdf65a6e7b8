//! What follows a sync that failed.
//!
//! The system reports a failed write once, and regards the pages as written: a second sync of the same file succeeds and
//! has written nothing. So all of the log is written again. Connections are closed before, so that what they hold in
//! memory hides nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::connection::in_one_step;
use super::database::{Shared, lock};
use super::error::DatabaseError;
use super::open::OpenCause;
use super::presence::{self, Files, log_path};
use super::{belonging, schema};

/// How much is written again at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Why a database cannot be mended.
#[derive(Debug, thiserror::Error)]
pub(super) enum MendError {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("its log cannot be written: {0}")]
    Log(#[from] io::Error),
    #[error("{0}")]
    Content(#[from] OpenCause),
    #[error(
        "its pages contradict each other ({0}): run `pyzorctl check-database`, and put a backup in its place"
    )]
    Damaged(String),
}

impl From<rusqlite::Error> for MendError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Opens the database anew, writes its log again, and checks its pages. Counts wait, and get 500 after a while.
pub(super) fn mend(shared: &Shared) -> Result<(), MendError> {
    let id = presence::id(&shared.path)?;
    let prepare = |connection: &Connection| {
        schema::check(connection)?;
        if belonging::has_log(&shared.path) && !belonging::is_own_log(&shared.path, connection)? {
            return Err(OpenCause::OtherLog { path: shared.path.clone() }.into());
        }
        in_one_step(connection, |_| write_again(&log_path(&shared.path)).map_err(MendError::from))?;
        let files = Files::of(&shared.path, id)?;
        let mut presence = lock(&shared.presence);
        (presence.files, presence.away, presence.rescued) = (files, None, false);
        shared.has_old_log.store(false, Ordering::Relaxed);
        Ok(())
    };
    shared.reopen(prepare, check_pages)
}

/// Writes all bytes of a log again, and syncs it through a descriptor that has not failed.
fn write_again(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let (mut buffer, mut at) = (vec![0; CHUNK], 0);
    while let written @ 1.. = write_chunk_again(&file, &mut buffer, at)? {
        at += written;
    }
    file.sync_all()
}

/// Writes some bytes of a log again, from a place on. Returns how many there were.
fn write_chunk_again(log: &File, buffer: &mut [u8], at: u64) -> io::Result<u64> {
    let read = log.read_at(buffer, at)?;
    log.write_all_at(buffer.get(..read).unwrap_or_default(), at)?;
    Ok(read as u64)
}

impl Shared {
    /// Writes the log of an earlier process again, in chunks between the commits of other threads. If a sync of that process
    /// has failed, the system takes the log for written, and a later sync would not write it.
    pub(super) fn write_old_log_again(&self, log: &File) -> Result<(), MendError> {
        let (mut buffer, mut at) = (vec![0; CHUNK], 0);
        loop {
            let written = {
                let writer = self.long_turn();
                let connection = writer.as_ref().ok_or(DatabaseError::Occupied)?;
                in_one_step(connection, |_| Ok::<_, MendError>(write_chunk_again(log, &mut buffer, at)?))
            };
            match written {
                Ok(0) => return Ok(()),
                Ok(written) => at += written,
                // Another process holds the write lock. No thread of this one can commit meanwhile.
                Err(MendError::Database(DatabaseError::Busy)) if self.commits.goes_on() => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Fails at the first contradiction.
pub(super) fn check_pages(connection: &Connection) -> Result<(), MendError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(MendError::Damaged(found.lines().collect::<Vec<_>>().join(" "))) }
}
