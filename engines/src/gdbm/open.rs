//! Opens a database. Finds everything that can be wrong with it, so that no request has to.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::ffi::{Database, GdbmError};
use super::header::{Header, HeaderError};
use super::inspect::{self, Damage, InspectError};
use super::mapping::Mapping;
use super::record_file::RecordFile;
use super::rewrite::{RewriteError, leftovers, recover, sync_directory};
use crate::access::Access;

/// Why a database cannot be opened: one line that names it.
#[derive(Debug, thiserror::Error)]
#[error("database {} {cause}", path.display())]
pub struct OpenError {
    /// The database.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: OpenCause,
}

/// What is wrong with a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenCause {
    /// Another process has it open.
    #[error("is in use by another process (a running pyzord?)")]
    InUse,
    /// It is a directory, a device or a socket.
    #[error("is not a file")]
    NotAFile,
    /// It has no bytes, and may not be created.
    #[error("is empty")]
    Empty,
    /// The system cannot open or read it.
    #[error("cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// It is not a gdbm file, or its header is corrupt.
    #[error("is not a usable gdbm file: {0}")]
    NotADatabase(HeaderError),
    /// It is damaged, and no record of it can be recovered.
    #[error("is not a usable gdbm file: nothing in it can be recovered: {0}")]
    Unrecoverable(Damage),
    /// It is damaged, and was not recovered as it was opened to read.
    #[error("is damaged: {0}; pyzord recovers it when it starts")]
    Damaged(Damage),
    /// It is damaged, and recovering it failed.
    #[error("is damaged: {damage}; recovering it failed: {error}")]
    NotRecovered {
        /// What is damaged.
        damage: Damage,
        /// Why recovering it failed.
        error: RewriteError,
    },
    /// libgdbm refuses it.
    #[error("is refused by libgdbm: {0}")]
    Refused(GdbmError),
}

/// Opens a database. One that is damaged is recovered first, unless it is opened to read.
pub(super) fn open(path: &Path, access: Access) -> Result<RecordFile, OpenError> {
    let opened = open_checked(path, access);
    opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
}

fn open_checked(path: &Path, access: Access) -> Result<RecordFile, OpenCause> {
    let header = header(path, access)?;
    warn_of_leftovers(path);
    // Mapping a large file later syncs it, which takes long if it was just copied there.
    let mapped = fs::metadata(path).map_or(true, |metadata| Mapping::suits(metadata.len()));
    let mut database = Database::open(path, access, mapped)?;
    let mut file = database.file()?;
    let damage = match &header {
        Some(header) => inspect::body(&file, header)?,
        None => None,
    };
    let (records, rewritten) = ensure_sound(&mut database, &file, path, access, damage)?;
    if rewritten {
        file = database.file()?;
    }
    if header.is_none() {
        sync_directory(path)?;
    }
    log::info!("database {}: {records} records", path.display());
    let asked = if mapped { Mapping::Mapped } else { Mapping::Unmapped };
    Ok(RecordFile::new(path.to_owned(), database, asked, file, records))
}

/// Returns the checked header of the file; `None` if the file does not exist yet or is empty, and may be
/// created.
///
/// The descriptor used here is closed before libgdbm opens the file, see `RecordFile::descriptor`.
fn header(path: &Path, access: Access) -> Result<Option<Header>, OpenCause> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Create => return Ok(None),
        metadata => metadata?,
    };
    match (metadata.is_file(), metadata.len(), access) {
        (false, ..) => Err(OpenCause::NotAFile),
        (true, 0, Access::Create) => Ok(None),
        (true, 0, _) => Err(OpenCause::Empty),
        (true, ..) => Ok(Some(inspect::header(&File::open(path)?)?)),
    }
}

/// Recovers the database if it is damaged. Returns how many records it has, and whether it is a new file now.
fn ensure_sound(
    database: &mut Database,
    file: &File,
    path: &Path,
    access: Access,
    damage: Option<Damage>,
) -> Result<(u64, bool), OpenCause> {
    let (damage, force) = match (damage, database.count()) {
        (None, Ok(records)) => return Ok((records, false)),
        (None, Err(error)) if error.needs_recovery() => (Damage::Library(error), false),
        (None, Err(error)) => return Err(error.into()),
        (Some(damage), _) => (damage, true),
    };
    if access == Access::Read {
        return Err(OpenCause::Damaged(damage));
    }
    log::warn!("database {}: it is damaged and will be recovered: {damage}", path.display());
    let recovery = match recover(database, path, file, force) {
        Ok(recovery) => recovery,
        Err(error) => return Err(OpenCause::NotRecovered { damage, error }),
    };
    recovery.log(path);
    Ok((database.count()?, recovery.backup.is_some()))
}

/// Warns of the files that a reorganization or a recovery leaves if the process is killed.
fn warn_of_leftovers(path: &Path) {
    let advice = if path.exists() {
        "left by a reorganization that was cut short; it can be deleted"
    } else {
        "left when the database was being rewritten; the database itself is missing, and this may be all of it"
    };
    for leftover in leftovers(path) {
        log::warn!("{}: {advice}", leftover.display());
    }
}

impl From<InspectError> for OpenCause {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Io(error) => Self::Io(error),
            InspectError::Header(error) => Self::NotADatabase(error),
            InspectError::Unrecoverable(damage) => Self::Unrecoverable(damage),
        }
    }
}

impl From<GdbmError> for OpenCause {
    fn from(error: GdbmError) -> Self {
        if error.in_use() {
            return Self::InUse;
        }
        match error.into_open_failure() {
            Ok(error) => Self::Io(error),
            Err(error) => Self::Refused(error),
        }
    }
}
