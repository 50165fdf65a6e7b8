//! `backup`: writes a copy of the database that can take its place, beside a running server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[cfg(feature = "gdbm")]
use pyzord_core::Progress;
#[cfg(feature = "sqlite")]
use pyzord_engines::RecordStore as _;
#[cfg(any(feature = "gdbm", feature = "sqlite"))]
use pyzord_engines::registry::Access;
use thiserror::Error;

use super::context::Context;
use super::error::{CommandError, Outcome, exit_code};
use super::options::Backup;
#[cfg(feature = "gdbm")]
use super::options::READ_ADVICE;
use super::partial::{PartialError, PartialFile, with_suffix};
#[cfg(feature = "gdbm")]
use crate::bulk;
use crate::output::complain;

/// Why there is no backup.
#[derive(Debug, Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    Partial(#[from] PartialError),
    /// The file is the source.
    #[error("it is the database itself")]
    Itself,
    /// The database cannot be read, or the copy not written.
    #[cfg(any(feature = "gdbm", feature = "sqlite"))]
    #[error("{0}; nothing was written")]
    Copy(Box<dyn std::error::Error + Send + Sync>),
}

/// What a backup has.
struct Copied {
    records: u64,
    unreadable: u64,
}

/// Copies a database to a file that does not exist yet.
type Copy = fn(&Context, &Backup, &Path) -> Result<Copied, CommandError>;

/// Copies the database to a file, which gets its name when it is whole and on the disk.
pub(crate) fn run(context: &Context, options: &Backup, out: &mut dyn Write) -> Outcome {
    let engine = context.settings.engine.as_str();
    let copy: Option<Copy> = match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => Some(copy_gdbm),
        #[cfg(feature = "sqlite")]
        "sqlite" => Some(copy_sqlite),
        _ => None,
    };
    let Some(copy) = copy else { return Err(no_backup(engine)) };
    let target = options.file.as_path();
    let failed = |error: BackupError| CommandError::Backup { path: target.to_owned(), error };
    let own = ["", "-wal", "-shm", "-journal"].map(|suffix| with_suffix(&context.settings.database, suffix));
    if own.iter().any(|own| is_same(target, own)) {
        return Err(failed(BackupError::Itself));
    }
    let partial = PartialFile::create(target, options.replace).map_err(|error| failed(error.into()))?;
    partial.end_on_signals().map_err(CommandError::Signals)?;
    let Copied { records, unreadable } = copy(context, options, &partial.path())?;
    partial.finish().map_err(|error| failed(error.into()))?;
    writeln!(out, "{}: {records} records", target.display())?;
    if unreadable > 0 {
        complain!("pyzorctl: {unreadable} unreadable records were left out");
    }
    Ok(exit_code(unreadable == 0))
}

/// Returns why there is no backup of a database that is no file.
fn no_backup(engine: &str) -> CommandError {
    match engine {
        "redis" | "redis_v0" => CommandError::NoBackup { tools: "redis-cli --rdb FILE" },
        "mysql" => CommandError::NoBackup { tools: "mariadb-dump or mysqldump" },
        other => pyzord_engines::registry::UnknownEngine::new(other).into(),
    }
}

/// Returns whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Copies all records that can be read to a new file. A server that has the file open gives them a slice at a time.
#[cfg(feature = "gdbm")]
fn copy_gdbm(context: &Context, options: &Backup, to: &Path) -> Result<Copied, CommandError> {
    let failed = |error: BackupError| CommandError::Backup { path: options.file.clone(), error };
    let mut source = context
        .open_within(Access::Read, options.waiting.wait)
        .map_err(|error| CommandError::open(error, READ_ADVICE))?;
    let copy = pyzord_engines::Gdbm::open(to);
    let mut copy = copy.map_err(|error| failed(BackupError::Copy(error.into())))?;
    let mut copied = Copied { records: 0, unreadable: 0 };
    let (mut found, mut records) = (Vec::new(), Vec::new());
    loop {
        let progress = source.scan(&mut found)?;
        for entry in found.drain(..) {
            match entry.record {
                Ok(record) => records.push(record),
                Err(cause) => {
                    copied.unreadable += 1;
                    complain!("pyzorctl: {}: {cause}", entry.key.escape_debug());
                }
            }
        }
        let stored = bulk::put(&mut copy, &records);
        let stored = stored.and_then(|results| results.into_iter().collect::<Result<(), _>>());
        stored.map_err(|failure| failed(BackupError::Copy(failure.into())))?;
        copied.records += records.len() as u64;
        records.clear();
        if progress == Progress::Done {
            break;
        }
    }
    context.sync(&mut copy).map_err(|failure| failed(BackupError::Copy(failure.into())))?;
    Ok(copied)
}

/// Copies a database as it is at one moment. A server that runs goes on to write.
#[cfg(feature = "sqlite")]
fn copy_sqlite(context: &Context, options: &Backup, to: &Path) -> Result<Copied, CommandError> {
    let failed = |error: BackupError| CommandError::Backup { path: options.file.clone(), error };
    let source = context.open_sqlite(Access::Read).map_err(CommandError::Open)?;
    source.backup(to).map_err(|error| failed(BackupError::Copy(error.into())))?;
    let mut copy = pyzord_engines::Sqlite::open_patiently(to, Access::Change)
        .map_err(|error| failed(BackupError::Copy(error.into())))?;
    // The copy may have unreadable records as the database has.
    Ok(Copied { records: copy.estimate().unwrap_or_default(), unreadable: 0 })
}
