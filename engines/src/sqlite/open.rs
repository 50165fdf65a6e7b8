//! Opens a database. Finds what can be wrong with it, so that no request has to.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode};

use super::connection::SERVING;
use super::database::Database;
use super::options::Options;
use super::schema::{self, Content};
use super::{backup, belonging, connection, presence, table};
use crate::access::Access;

/// The size of a page, in bytes: a count changes one, and writes all of it into the log.
const PAGE: i64 = 2048;

/// How often a database is tried that another process has locked: each time waits for a while.
const ATTEMPTS: u32 = 5;
/// The smallest page that a database can have, in bytes.
const SHORTEST: u64 = 512;

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
    /// It is a directory, a device or a socket.
    #[error("is not a file")]
    NotAFile,
    /// It has no tables, and may not be created.
    #[error("has no records yet: pyzord makes its tables when it starts")]
    Empty,
    /// It is a file of the gdbm engine.
    #[error(
        "is a gdbm file: set `Engine = gdbm`, or move its records to a new file with \
         `pyzor-migrate --se gdbm --sd FILE --de sqlite --dd NEW`"
    )]
    Gdbm,
    /// It is a file of another kind.
    #[error("is not a SQLite database: name another file in `DigestDB`, or put a backup in its place")]
    OtherKind,
    /// Another program's.
    #[error(
        "is a SQLite database of another program, with the tables {}: name another file in `DigestDB`",
        if tables.is_empty() { "(none)".to_owned() } else { tables.join(", ") }
    )]
    Foreign {
        /// The names of its tables and indexes.
        tables: Vec<String>,
    },
    /// Another version of pyzord has made it.
    #[error(
        "has tables of version {found}, and this pyzord knows version {known}: use a pyzord of that version"
    )]
    Version {
        /// The version of its tables.
        found: i32,
        /// The version that this program knows.
        known: i32,
    },
    /// A table was changed.
    #[error(
        "has a table `{table}` that pyzord has not made: put a backup in its place, or move its records to a new file"
    )]
    Changed {
        /// The table's name.
        table: &'static str,
    },
    /// The log is that of another database.
    #[error(
        "has a log, {0}-wal, that belongs to another database or to another state of this one, as after a backup was put in \
         its place: if the database is the one that you want, remove {0}-wal and {0}-shm",
        path.display()
    )]
    OtherLog {
        /// The database, without links.
        path: PathBuf,
    },
    /// There is a log with records, and no database.
    #[error(
        "is missing or empty, and its log {0}-wal has records: put the database back, or remove {0}-wal to begin without them",
        path.display()
    )]
    LogAlone {
        /// The database.
        path: PathBuf,
    },
    /// The log of a database needs memory that processes share.
    #[error("cannot keep a log (journal mode `{0}`): it needs a local disk")]
    NoLog(String),
    /// It is on a disk of another machine.
    #[error("is on a network file system ({0}), where SQLite loses records: put it on a local disk")]
    Network(&'static str),
    /// Its pages contradict each other.
    #[error(
        "is damaged ({0}): see the system's log for errors of the disk, run `pyzorctl check-database`, and put a backup in its \
         place if that finds damage"
    )]
    Damaged(Error),
    /// Its end is missing.
    #[error("is cut short, as a copy that was interrupted: put a backup in its place")]
    CutShort,
    /// Another process has locked it.
    #[error("is locked by another process")]
    Busy,
    /// The system cannot open or read it.
    #[error("cannot be opened: {0}")]
    Io(#[from] io::Error),
    /// SQLite refuses it.
    #[error(
        "cannot be opened: {0} (the file, its folder, and the files `-wal` and `-shm` beside it must be readable and writable)"
    )]
    Refused(Error),
}

impl From<Error> for OpenCause {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::OtherKind,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Refused(error),
        }
    }
}

/// Checks that there are no records where a database is missing or empty, and will be created.
///
/// # Errors
/// If there is a log with some: SQLite would remove it.
pub fn check_absent(path: &Path) -> Result<(), OpenError> {
    let absent = |cause| OpenError { path: path.to_owned(), cause };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => Ok(()),
        _ if belonging::has_records_in_log(path) => {
            Err(absent(OpenCause::LogAlone { path: path.to_owned() }))
        }
        _ => Ok(()),
    }
}

/// Opens a database, and creates it if that is allowed.
pub(super) fn open(path: &Path, options: Options, patience: Duration) -> Result<Database, OpenError> {
    let mut opened = open_checked(path, options, patience);
    for _ in 1..ATTEMPTS {
        // Another process makes it, recovers it, or writes for a moment.
        if !matches!(opened, Err(OpenCause::Busy)) {
            break;
        }
        opened = open_checked(path, options, patience);
    }
    opened.map_err(|cause| OpenError { path: path.to_owned(), cause: explained(path, cause) })
}

fn open_checked(path: &Path, options: Options, patience: Duration) -> Result<Database, OpenCause> {
    check_absent(path).map_err(|error| error.cause)?;
    let is_new = prepare(path, options.access)?;
    let has_log = belonging::has_log(path);
    let id = presence::id(path)?;
    let connection = connection::open(path, options.access, options.writers_share(), patience)?;
    if is_new {
        create(&connection)?;
    }
    if schema::check(&connection)? == Content::Nothing {
        if options.access != Access::Create {
            return Err(OpenCause::Empty);
        }
        let saved = backup::with_suffix(path, ".removed");
        if saved.exists() {
            log::warn!(
                "database {} is created without records; those of one that was removed are in {}: to use them, stop pyzord \
                 and rename that file to the database's name",
                path.display(),
                saved.display()
            );
        }
        create(&connection)?;
        connection::in_one_step(&connection, |connection| match schema::check(connection)? {
            Content::Nothing => Ok::<_, OpenCause>(schema::create(connection)?),
            // Another process was faster.
            Content::Records => Ok(()),
        })?;
        sync(path)?;
        // What the database is stands in its file from now on, not in its log alone.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    } else if has_log && !belonging::is_own_log(path, &connection)? {
        return Err(OpenCause::OtherLog { path: fs::canonicalize(path)? });
    } else if !has_log && !has_whole_pages(path, &connection)? {
        return Err(OpenCause::CutShort);
    }
    keep_log(&connection)?;
    if !has_log && options.access != Access::Read {
        connection::in_one_step(&connection, table::begin_log)?;
    }
    connection::ends_log(&connection, options.access != Access::Read)?;
    let records = table::records(&connection)?.unwrap_or_default();
    log::info!("database {}: {records} records", path.display());
    // Tools leave that to the server.
    let has_old_log = has_log && options.access != Access::Read && patience == SERVING;
    Ok(Database::new(path, options, patience, connection, id, has_old_log)?)
}

/// Whether the last page is whole: SQLite takes what is missing of it for zeros, and finds no records there. A log completes
/// a database whose pages were being moved.
fn has_whole_pages(path: &Path, connection: &Connection) -> Result<bool, OpenCause> {
    let size: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(fs::metadata(path)?.len().is_multiple_of(u64::from(size)))
}

/// Sees to a regular file at the path, and returns whether it is new.
fn prepare(path: &Path, access: Access) -> Result<bool, OpenCause> {
    let is_new = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(OpenCause::NotAFile),
        // SQLite takes a file that is shorter than its head for an empty one.
        Ok(metadata) if (1..SHORTEST).contains(&metadata.len()) => return Err(OpenCause::OtherKind),
        Ok(metadata) => {
            // SQLite says no more than that it cannot open the file. A look at it must not open and close it: that releases
            // the locks that this process has.
            let mode = rustix::fs::Access::READ_OK;
            let mode = if access == Access::Read { mode } else { mode | rustix::fs::Access::WRITE_OK };
            rustix::fs::access(path, mode).map_err(io::Error::from)?;
            metadata.len() == 0 && access == Access::Create
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Create => {
            // SQLite gives the files beside it the same mode.
            File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            true
        }
        Err(error) => return Err(error.into()),
    };
    network(path)?.map_or(Ok(is_new), |name| Err(OpenCause::Network(name)))
}

/// Sets what only a database without pages can be given.
fn create(connection: &Connection) -> Result<(), OpenCause> {
    connection.pragma_update(None, "page_size", PAGE)?;
    // Room that expired records leave goes back to the system in steps.
    connection.pragma_update(None, "auto_vacuum", 2)?;
    keep_log(connection)
}

/// Sees to a log, unless the database is only read.
fn keep_log(connection: &Connection) -> Result<(), OpenCause> {
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Ok(());
    }
    let set = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", set)?;
    if mode == "wal" { Ok(()) } else { Err(OpenCause::NoLog(mode)) }
}

/// Writes a new database, its log and their names to the disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(presence::log_path(path))?.sync_all()?;
    let target = fs::canonicalize(path)?;
    File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Returns the cause in the words for what the file is. Its bytes are read after the connection was closed: to close them
/// again releases the locks that SQLite has.
fn explained(path: &Path, cause: OpenCause) -> OpenCause {
    let mut magic = [0; 4];
    let read = |magic: &mut [u8; 4]| File::open(path).and_then(|mut file| file.read_exact(magic));
    match cause {
        OpenCause::OtherKind if read(&mut magic).is_ok() && is_gdbm(magic) => OpenCause::Gdbm,
        other => other,
    }
}

/// Whether a file begins as those of libgdbm do, of any word size and byte order.
fn is_gdbm(magic: [u8; 4]) -> bool {
    [u32::from_le_bytes(magic), u32::from_be_bytes(magic)]
        .iter()
        .any(|magic| (0x1357_9acd..=0x1357_9ad1).contains(magic))
}

/// Returns the name of the network file system on which a path is.
#[cfg(target_os = "linux")]
fn network(path: &Path) -> io::Result<Option<&'static str>> {
    let kind = rustix::fs::statfs(path)?.f_type.to_ne_bytes();
    // The type has 32 bits, whatever the width of its field.
    let low = if cfg!(target_endian = "little") { kind.first_chunk() } else { kind.last_chunk() };
    let kind = u32::from_ne_bytes(low.copied().unwrap_or_default());
    let known: [(u32, &str); 7] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
    ];
    Ok(known.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name))
}

/// Other systems tell it in other ways.
#[cfg(not(target_os = "linux"))]
fn network(_path: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}
