//! What SQLite can do and `rusqlite` does not offer.
#![expect(unsafe_code, reason = "SQLite is a C library; nothing outside this file calls it directly")]

use std::ptr;

use rusqlite::{Connection, Error, Result, ffi};

/// Writes the file of a database to the disk, without its log. A descriptor of our own would release all locks that this
/// process has on the file as it is closed.
pub(super) fn sync_database(connection: &Connection) -> Result<()> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open as long as it is borrowed, and is not `Sync`: no other thread uses it meanwhile. SQLite
    // writes a pointer to the file of the main database, which is open as long as the connection.
    let code = unsafe {
        let pointer = ptr::from_mut(&mut file).cast();
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            pointer,
        )
    };
    check(code)?;
    // SAFETY: the pointer is to an open file, or null. A file without methods is not open.
    let sync =
        unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) }.and_then(|methods| methods.xSync);
    let Some(sync) = sync else { return check(ffi::SQLITE_MISUSE) };
    // SAFETY: the function is that of this open file.
    check(unsafe { sync(file, ffi::SQLITE_SYNC_NORMAL) })
}

fn check(code: i32) -> Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(Error::SqliteFailure(ffi::Error::new(code), None)) }
}
