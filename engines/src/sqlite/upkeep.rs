//! What is done beside requests: syncs, and files that are put in the place of the open ones.

use std::time::Duration;

use pyzord_core::StoreFailure;

use super::database::{Database, lock};
use super::durability::{Covered, NotDurable};
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
    /// So long.
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

/// Uses the files that the paths lead to, if they are not the open ones.
pub(super) fn adopt(database: &Database) -> Result<(), StoreFailure> {
    let (away, rescued) = {
        let presence = lock(&database.presence);
        (presence.files.away(&database.path), presence.rescued)
    };
    match away {
        None => Ok(()),
        Some(Away::Database(file_id::Away::Removed)) if rescued => Ok(()),
        Some(Away::Database(file_id::Away::Removed)) => save(database),
        // What is in a log without a name is moved into the database before it is closed.
        Some(Away::Log) => move_log(database).and_then(|()| reopened(database, mending::mend(database))),
        // The log of the old one goes with it as that is closed, and is not read for the new one before.
        Some(Away::Database(file_id::Away::Replaced)) => match belonging::is_sound(&database.path) {
            Ok(()) => reopened(database, mending::mend(database)),
            Err(error) => Err(failure(database.name(), error)),
        },
    }
}

/// Saves the records of a database that has no name any more.
fn save(database: &Database) -> Result<(), StoreFailure> {
    lock(&database.presence).rescued = true;
    let copy = backup::with_suffix(&database.path, ".saved");
    let writer = database.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(()) };
    backup::copy(writer, &copy).map_err(|error| failure(database.name(), error))?;
    log::warn!("{}: its records are saved in {}", database.name(), copy.display());
    Ok(())
}

fn move_log(database: &Database) -> Result<(), StoreFailure> {
    let writer = database.long_turn();
    let Some(writer) = writer.as_ref() else { return Ok(()) };
    let moved = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    moved.map_err(|error| database.failure(super::error::DatabaseError::from(error)))
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
