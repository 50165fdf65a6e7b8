//! Opening a database: everything that can be wrong with it is found here, not by a request.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::expire::Round;
use super::ffi::{Database, Salvage};
use super::header::Header;
use super::mapping::Mapping;
use super::rewrite::{leftovers, recover, sync_directory};
use super::room::Room;
use super::{Engine, inspect};
use crate::access::Access;
use crate::complaint::Complaint;

/// Why a database could not be opened: one line that names it.
#[derive(Debug)]
pub struct OpenError {
    /// The database.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: OpenCause,
}

/// What is wrong with a database.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenCause {
    /// Another process has it open.
    InUse,
    /// It is a directory, a device or a socket.
    NotAFile,
    /// It has no byte, and nothing may be created.
    Empty,
    /// The system cannot open or read it.
    Io(io::Error),
    /// It is no gdbm file, or a corrupt one; why.
    NotADatabase(String),
    /// It is damaged and was not, or could not be, recovered; why.
    Damaged(String),
    /// libgdbm refuses it; why.
    Refused(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} ", self.path.display())?;
        match &self.cause {
            OpenCause::InUse => f.write_str("is in use by another process (a running pyzord?)"),
            OpenCause::NotAFile => f.write_str("is not a file"),
            OpenCause::Empty => f.write_str("is empty"),
            OpenCause::Io(error) => write!(f, "cannot be opened: {error}"),
            OpenCause::NotADatabase(why) => write!(f, "is not a usable gdbm file: {why}"),
            OpenCause::Damaged(why) => write!(f, "is damaged: {why}"),
            OpenCause::Refused(why) => write!(f, "is refused by libgdbm: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

pub(super) fn open(path: &Path, access: Access) -> Result<Engine, OpenError> {
    let opened = open_checked(path, access);
    opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
}

fn open_checked(path: &Path, access: Access) -> Result<Engine, OpenCause> {
    let header = header(path, access)?;
    warn_of_leftovers(path);
    // Who has just copied a file there may not have it on the disk yet; opening it is no time to wait for that.
    let mapped = fs::metadata(path).map_or(true, |metadata| Mapping::suits(metadata.len()));
    let mut database = Database::open(path, access, mapped).map_err(cause)?;
    let mut file = database.file()?;
    let damage = match &header {
        Some(header) => inspect::body(&file, header).map_err(hopeless)?.map(|fault| fault.to_string()),
        None => None,
    };
    let (records, rewritten) = sound(&mut database, &file, path, access, damage)?;
    if rewritten {
        file = database.file()?;
    }
    if header.is_none() {
        sync_directory(path)?;
    }
    log::info!("database {}: {records} records", path.display());
    let asked = if mapped { Mapping::Mapped } else { Mapping::Unmapped };
    Ok(engine(path, database, asked, file, records))
}

fn engine(path: &Path, mut database: Database, asked: Mapping, file: File, records: u64) -> Engine {
    Engine {
        mapping: asked.of(&mut database),
        database,
        path: path.to_owned(),
        zone: TimeZone::system(),
        records: Some(records),
        value: Vec::new(),
        dirty: false,
        damaged: false,
        recovered: false,
        file: Arc::new(file),
        room: Room::default(),
        round: Round::default(),
        unreadable: Complaint::default(),
        failing: Complaint::default(),
    }
}

/// The header of the file, checked; `None` when there is no file yet, or an empty one.
///
/// The descriptor used here is closed before libgdbm opens the file, see `Engine::file`.
fn header(path: &Path, access: Access) -> Result<Option<Header>, OpenCause> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Create => return Ok(None),
        metadata => metadata?,
    };
    match (metadata.is_file(), metadata.len(), access) {
        (false, ..) => Err(OpenCause::NotAFile),
        (true, 0, Access::Create) => Ok(None),
        (true, 0, _) => Err(OpenCause::Empty),
        (true, ..) => inspect::header(&File::open(path)?).map(Some).map_err(hopeless),
    }
}

/// Recovers the database when it needs it; says how many records it has, and whether it is a new file now.
fn sound(
    database: &mut Database,
    file: &File,
    path: &Path,
    access: Access,
    damage: Option<String>,
) -> Result<(u64, bool), OpenCause> {
    let (why, force) = match (damage, database.count()) {
        (None, Ok(records)) => return Ok((records, false)),
        (None, Err(fault)) if fault.needs_recovery => (fault.to_string(), false),
        (None, Err(fault)) => return Err(cause(fault)),
        (Some(damage), _) => (damage, true),
    };
    if access == Access::Read {
        return Err(OpenCause::Damaged(format!("{why}; pyzord recovers it when it starts")));
    }
    log::warn!("database {}: it is damaged and will be recovered: {why}", path.display());
    let failed = |failed| OpenCause::Damaged(format!("{why}; recovering it failed: {failed}"));
    let (salvage, backup) = recover(database, path, file, force).map_err(failed)?;
    report(path, &salvage, backup.as_deref());
    Ok((database.count().map_err(cause)?, backup.is_some()))
}

/// Tells the operator what a recovery saved.
pub(super) fn report(path: &Path, salvage: &Salvage, backup: Option<&Path>) {
    let Salvage { keys, failed_keys, failed_buckets, duplicate_keys } = salvage;
    let name = path.display();
    let Some(backup) = backup else { return log::warn!("database {name}: nothing had to be recovered") };
    let backup = backup.display();
    log::warn!(
        "database {name}: recovered {keys} records; lost {failed_keys} records, {failed_buckets} buckets of records \
         and {duplicate_keys} duplicates; the file as it was is {backup}"
    );
}

/// Names the files that a reorganization or recovery leaves when it is cut short.
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

fn hopeless(hopeless: inspect::Hopeless) -> OpenCause {
    match hopeless {
        inspect::Hopeless::Io(error) => OpenCause::Io(error),
        hopeless => OpenCause::NotADatabase(hopeless.to_string()),
    }
}

fn cause(fault: super::Fault) -> OpenCause {
    if fault.in_use() {
        return OpenCause::InUse;
    }
    match fault.into_open_failure() {
        Ok(error) => OpenCause::Io(error),
        Err(fault) => OpenCause::Refused(fault.to_string()),
    }
}

impl From<io::Error> for OpenCause {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
