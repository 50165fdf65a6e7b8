//! Opens a database. Finds everything that can be wrong with it, so that no request has to.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{candidates, sync_directory};
use super::boot;
use super::creation;
use super::ffi::{Database, GdbmError};
use super::format::Mismatch;
use super::header::{Header, HeaderError};
use super::inspect::{self, Damage, InspectError};
use super::mapping::Mapping;
use super::record_file::RecordFile;
use super::rewrite::{self, RewriteError, leftover};
use super::tail;
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
    /// Its directory is the last thing in it. libgdbm leaves such files, and refuses to open them.
    #[error("ends with its directory, which libgdbm does not open; pyzord mends that when it starts")]
    Unfinished,
    /// Its creation was cut short: it has no records, and libgdbm refuses to open it.
    #[error("was cut short as it was created, and has no records; pyzord creates it anew when it starts")]
    CreationCutShort,
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
    let opened = open_checked(path, access, access != Access::Read);
    opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
}

/// Opens a database that was put in the place of another. It may be an incomplete copy, so it is not recovered.
pub(super) fn open_sound(path: &Path) -> Result<RecordFile, OpenError> {
    let opened = open_checked(path, Access::Change, false);
    opened.map_err(|cause| OpenError { path: path.to_owned(), cause })
}

fn open_checked(path: &Path, access: Access, repair: bool) -> Result<RecordFile, OpenCause> {
    let header = header(path, access, repair)?;
    warn_of_leftovers(path, access);
    // Mapping a large file later syncs it, which takes long if it was just copied there. A new file grows.
    let mapped = header.is_some() && Mapping::suits(metadata_length(path)?);
    let database = Database::open(path, access, mapped)?;
    let descriptor = database.file()?;
    let damage = match &header {
        Some(header) => inspect::body(&descriptor, header)?,
        None => None,
    };
    let damage = match (&header, damage) {
        (Some(header), None) if boot::is_later_than(&descriptor)? => inspect::keys(&descriptor, header)?,
        (_, damage) => damage,
    };
    let asked = if mapped { Mapping::Mapped } else { Mapping::Unmapped };
    let mut file = RecordFile::new(path.to_owned(), database, asked, descriptor, 0)?;
    let records = ensure_sound(&mut file, repair, damage)?;
    if header.is_none() {
        sync_directory(&fs::canonicalize(path)?)?;
    }
    log::info!("database {}: {records} records", path.display());
    Ok(file)
}

/// Returns the checked header of the file; `None` if the file does not exist yet or is empty, and may be
/// created.
///
/// The descriptor used here is closed before libgdbm opens the file, see `RecordFile::descriptor`.
fn header(path: &Path, access: Access, repair: bool) -> Result<Option<Header>, OpenCause> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Create => return Ok(None),
        metadata => metadata?,
    };
    match (metadata.is_file(), metadata.len(), access) {
        (false, ..) => Err(OpenCause::NotAFile),
        (true, 0, Access::Create) => Ok(None),
        (true, 0, _) => Err(OpenCause::Empty),
        (true, _, Access::Create) if recreated(path)? => Ok(None),
        (true, ..) if creation::was_cut_short(&File::open(path)?)? => Err(OpenCause::CreationCutShort),
        (true, ..) => checked_header(path, repair).map(Some),
    }
}

/// Empties a file whose creation was cut short. Returns whether it was.
fn recreated(path: &Path) -> Result<bool, OpenCause> {
    if !creation::was_cut_short(&File::open(path)?)? {
        return Ok(false);
    }
    // Another process may be creating it.
    let file = locked(path)?;
    let cut_short = creation::was_cut_short(&file)?;
    if cut_short {
        log::warn!(
            "database {}: its creation was cut short; it has no records, and is created anew",
            path.display()
        );
        file.set_len(0)?;
    }
    Ok(cut_short)
}

fn checked_header(path: &Path, repair: bool) -> Result<Header, OpenCause> {
    let header = match inspect::header(&File::open(path)?) {
        Err(InspectError::Header(HeaderError::Field(field))) if repair => lengthened(path, field)?,
        header => header?,
    };
    if !tail::ends_with_directory(&header, metadata_length(path)?) {
        return Ok(header);
    }
    if !repair {
        return Err(OpenCause::Unfinished);
    }
    let file = locked(path)?;
    tail::mend(&file)?;
    Ok(inspect::header(&file)?)
}

/// Returns the header of a file that is shorter than it says, and makes the file as long; `field` is what contradicts the
/// length. A file that cannot be recovered after that is left as it was.
fn lengthened(path: &Path, field: Mismatch) -> Result<Header, OpenCause> {
    let (file, length) = (locked(path)?, metadata_length(path)?);
    let refused = OpenCause::NotADatabase(HeaderError::Field(field));
    if !tail::lengthen(&file)? {
        return Err(refused);
    }
    let header = inspect::header(&file);
    let Ok(header) = header.and_then(|header| inspect::body(&file, &header).map(|_| header)) else {
        file.set_len(length)?;
        return Err(refused);
    };
    log::warn!("database {}: it is shorter than its header says; the rest is missing", path.display());
    Ok(header)
}

/// Opens a file to change it before libgdbm opens it; no other process has it meanwhile.
fn locked(path: &Path) -> Result<File, OpenCause> {
    let file = File::options().read(true).write(true).open(path)?;
    if tail::lock(&file)? { Ok(file) } else { Err(OpenCause::InUse) }
}

fn metadata_length(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.len())
}

/// Counts the records; recovers the database first if it is damaged and that is wanted.
fn ensure_sound(file: &mut RecordFile, repair: bool, damage: Option<Damage>) -> Result<u64, OpenCause> {
    let damage = match (damage, file.recount()) {
        (None, Ok(records)) => return Ok(records),
        (None, Err(error)) if error.needs_recovery() => Damage::Library(error),
        (None, Err(error)) => return Err(error.into()),
        (Some(damage), _) => damage,
    };
    if !repair {
        return Err(OpenCause::Damaged(damage));
    }
    log::warn!("database {}: it is damaged and will be recovered: {damage}", file.name());
    match rewrite::recover(file) {
        Ok(()) => Ok(file.recount()?),
        Err(error) => Err(OpenCause::NotRecovered { damage, error }),
    }
}

/// Warns of the file that a rewrite leaves if the process is killed, and of files that may be the database if it is
/// missing.
fn warn_of_leftovers(path: &Path, access: Access) {
    let Ok(target) = fs::canonicalize(path) else {
        if access == Access::Create {
            for candidate in candidates(path) {
                log::warn!(
                    "database {} does not exist and is created without records; {} may be the old one: to use it, stop \
                     pyzord and rename it",
                    path.display(),
                    candidate.display()
                );
            }
        }
        return;
    };
    let leftover = leftover(&target);
    if leftover.exists() {
        log::warn!("{}: left by a rewrite that was cut short; it can be deleted", leftover.display());
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
