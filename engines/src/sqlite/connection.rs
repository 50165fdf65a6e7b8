//! Connections to a database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result};

use crate::access::Access;

/// How long a server's call waits for its turn to write, and for a lock of another process.
pub(super) const SERVING: Duration = Duration::from_millis(400);
/// How long a tool's call does. SQLite looks at a lock again and again: beside a busy server it is free only now and then.
pub(super) const WORKING: Duration = Duration::from_secs(30);
/// The longest log that is kept when it begins anew, in bytes: what it was longer for a while goes back to the system.
const LOG_KEPT: i64 = 64 << 20;

/// Opens a connection to a file that exists. `cache` is its memory for pages, in bytes, `patience` how long it waits for a
/// lock.
pub(super) fn open(path: &Path, access: Access, cache: u64, patience: Duration) -> Result<Connection> {
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Change | Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = Connection::open_with_flags(plain(path), mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(patience)?;
    // A schema that a stranger has made runs no function of ours, and no statement of ours changes the schema.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // The writer alone ends the log as it is closed.
    ends_log(&connection, false)?;
    let kib = i64::try_from(cache >> 10).unwrap_or(i64::MAX);
    for (pragma, value) in [
        // A file that another process cuts short would end a process that has mapped it.
        ("mmap_size", 0),
        ("cell_size_check", 1),
        // Sync the log before its pages go into the database, and the database before the log begins anew.
        ("synchronous", 1),
        ("wal_autocheckpoint", 0),
        ("journal_size_limit", LOG_KEPT),
        ("cache_size", -kib.max(64)),
        ("temp_store", 2),
    ] {
        connection.pragma_update(None, pragma, value)?;
    }
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Sets whether a connection that is the last to be closed moves the log into the database, and removes what has its name.
pub(super) fn ends_log(connection: &Connection, ends: bool) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !ends).map(drop)
}

/// Returns the path in a form in which SQLite takes it for nothing but a path.
fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) }
}

/// Returns the URI of a file, with this query.
pub(super) fn uri(path: &Path, query: &str) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in plain(path).as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => uri += &format!("%{other:02x}"),
        }
    }
    uri + "?" + query
}

/// Does something in one step: all of it is done, or nothing.
pub(super) fn in_one_step<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    run(connection, "BEGIN IMMEDIATE")?;
    let done = work(connection).and_then(|done| Ok(run(connection, "COMMIT").map(|()| done)?));
    if done.is_err() && !connection.is_autocommit() {
        // Some errors have ended it already.
        run(connection, "ROLLBACK").unwrap_or_else(|error| log::debug!("a rollback failed: {error}"));
    }
    done
}

/// Reads several times from one state of the database.
pub(super) fn in_one_state<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    run(connection, "BEGIN")?;
    let read = work(connection);
    // Unlike a commit, that succeeds after a page was met that contradicts others.
    let ended = if connection.is_autocommit() { Ok(()) } else { run(connection, "ROLLBACK") };
    read.and_then(|read| ended.map(|()| read))
}

fn run(connection: &Connection, statement: &str) -> Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}
