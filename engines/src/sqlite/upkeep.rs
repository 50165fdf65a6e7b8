//! What is done beside requests: syncs, and files that are put in the place of the open ones.

use std::time::Duration;

use pyzord_core::StoreFailure;

use super::backup::BackupError;
use super::database::{Database, Presence, lock};
use super::durability::{Covered, NotDurable};
use super::error::DatabaseError;
use super::mending::{self, MendError};
use super::options::Durability;
use super::presence::Away;
use super::{backup, belonging};
use crate::failure::failure;
use crate::file_id;

/// How long a caller waits for a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// As long as the disk takes.
    AsLongAsItTakes,
    /// At most this time.
    Of(Duration),
}

/// How often a wait without a limit is looked at.
const LOOK: Duration = Duration::from_secs(60);

impl super::database::Shared {
    /// Whether an answer to a count waits for a sync.
    pub(super) fn promises_syncs(&self) -> bool {
        self.options.durability == Durability::Strict
    }
}

/// Waits until all commits so far are on the disk.
pub(super) fn sync(database: &Database, patience: Patience) -> Result<(), StoreFailure> {
    sync_to(database, database.commits.made(), patience)
}

/// Waits until a commit is on the disk.
pub(super) fn sync_to(database: &Database, commit: u64, patience: Patience) -> Result<(), StoreFailure> {
    loop {
        let longest = if let Patience::Of(longest) = patience { longest } else { LOOK };
        let failure = || database.commits.failure().unwrap_or(NotDurable::Slow);
        match (database.commits.wait(commit, longest), patience) {
            (Covered::Yes, _) => return Ok(()),
            (Covered::NotYet, Patience::AsLongAsItTakes) => (),
            (Covered::NotYet, Patience::Of(_)) => return Err(database.failure(NotDurable::Slow)),
            (Covered::Failed, _) => return Err(database.failure(failure())),
        }
    }
}

/// Saves the records of a database without a name, and uses the files that the paths lead to, if they are not the open ones.
pub(super) fn adopt(database: &Database) -> Result<(), StoreFailure> {
    let (away, log_is_replaced) = {
        let files = &lock(&database.presence).files;
        (files.away(&database.path), files.is_log_replaced(&database.path))
    };
    match away {
        None => Ok(()),
        Some(Away::Database(file_id::Away::Removed)) => save(database),
        // What is in a log without a name is moved into the database before it is closed.
        Some(Away::Log) => move_log(database).and_then(|()| reopened(database, mending::mend(database))),
        Some(Away::Database(file_id::Away::Replaced)) => {
            save(database)?;
            // A database that came with its log may be sound with that alone.
            let checked = belonging::is_usable(&database.path, log_is_replaced);
            checked.map_err(|error| failure(database.name(), error))?;
            // A log that stays has the name of the new database's.
            move_log(database).and_then(|()| reopened(database, mending::mend(database)))
        }
    }
}

/// Saves the records of a database that has no name any more, once.
fn save(database: &Database) -> Result<(), StoreFailure> {
    let is_lost = |presence: &mut Presence| !presence.rescued && presence.files.is_nameless();
    if !is_lost(&mut lock(&database.presence)) {
        return Ok(());
    }
    let writer = database.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(()) };
    let copies = (1..).map(|number| match number {
        1 => backup::with_suffix(&database.path, ".removed"),
        _ => backup::with_suffix(&database.path, &format!(".removed.{number}")),
    });
    for copy in copies {
        match backup::copy(writer, &copy) {
            Err(BackupError::Exists { .. }) => (),
            Err(error) => return Err(failure(database.name(), error)),
            Ok(()) => {
                lock(&database.presence).rescued = true;
                let (name, copy) = (database.name(), copy.display());
                log::warn!(
                    "{name}: its records are saved in {copy}; to use them, rename that file to the database's name"
                );
                break;
            }
        }
    }
    Ok(())
}

/// Moves all of the log into the database, and leaves an empty one.
fn move_log(database: &Database) -> Result<(), StoreFailure> {
    let writer = database.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(()) };
    let is_busy = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    let moved = is_busy.map_err(DatabaseError::from);
    let moved = moved.and_then(|busy| if busy == 0 { Ok(()) } else { Err(DatabaseError::Busy) });
    moved.map_err(|error| database.failure(error))
}

fn reopened(database: &Database, mended: Result<(), MendError>) -> Result<(), StoreFailure> {
    match mended {
        Ok(()) => {
            log::warn!("{}: the files that are there now are used", database.name());
            Ok(())
        }
        Err(error) => {
            database.commits.fail(error.to_string());
            Err(failure(database.name(), error))
        }
    }
}
