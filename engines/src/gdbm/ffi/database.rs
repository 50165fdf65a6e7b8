//! An open database of libgdbm.

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use super::bytes::Bytes;
use super::c::{self, Datum, Opaque};
use super::error::GdbmError;
use crate::access::Access;

/// An open database, with the lock on its file; dropping it closes both.
///
/// libgdbm keeps its state behind the handle without a mutex, so every call that uses the file takes `&mut
/// self`. The type may move between threads, which do not share it.
#[derive(Debug)]
pub(in super::super) struct Database(NonNull<Opaque>);

// SAFETY: nothing behind a handle belongs to the thread that opened it; only `gdbm_errno` does, and
// `GdbmError::last` reads it on the thread of the call. `Database` is not Sync, as it holds a raw pointer.
unsafe impl Send for Database {}

impl Database {
    /// Opens a file. Its header must have been checked: libgdbm may abort on a corrupt one.
    pub(in super::super) fn open(path: &Path, access: Access, mapped: bool) -> Result<Self, GdbmError> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| GdbmError::malformed())?;
        let flags = c::CLOEXEC
            | c::XVERIFY
            | if mapped { 0 } else { c::NO_MAPPING }
            | match access {
                Access::Read => c::READER,
                Access::Change => c::WRITER,
                Access::Create => c::CREATE,
            };
        // SAFETY: `name` ends in NUL and outlives the call. Without a fatal function libgdbm returns errors;
        // with one it ends the process. Block size 0 is that of the file system, as in Python's calls.
        let handle = unsafe { c::gdbm_open(name.as_ptr(), 0, flags, 0o600, None) };
        NonNull::new(handle).map(Self).ok_or_else(GdbmError::last)
    }

    /// Returns the value of a key.
    pub(in super::super) fn fetch(&mut self, key: &[u8]) -> Result<Option<Bytes>, GdbmError> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let value = unsafe { c::gdbm_fetch(self.handle(), key) };
        self.returned(value)
    }

    /// Stores a value, in place of the one that the key may have.
    pub(in super::super) fn store(&mut self, key: &[u8], value: &[u8]) -> Result<(), GdbmError> {
        let (key, value) = (datum(key)?, datum(value)?);
        // SAFETY: the handle is open, and libgdbm only reads the key and the value.
        let status = unsafe { c::gdbm_store(self.handle(), key, value, c::REPLACE) };
        self.done(status)
    }

    /// Removes a key, and returns whether it existed.
    pub(in super::super) fn delete(&mut self, key: &[u8]) -> Result<bool, GdbmError> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let status = unsafe { c::gdbm_delete(self.handle(), key) };
        match self.done(status) {
            Err(error) if error.is_not_found() => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Returns the first key of libgdbm's walk.
    pub(in super::super) fn first_key(&mut self) -> Result<Option<Bytes>, GdbmError> {
        // SAFETY: the handle is open.
        let key = unsafe { c::gdbm_firstkey(self.handle()) };
        self.returned(key)
    }

    /// Returns the key after `key`; `None` at the end, and if `key` itself does not exist.
    pub(in super::super) fn next_key(&mut self, key: &[u8]) -> Result<Option<Bytes>, GdbmError> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let next = unsafe { c::gdbm_nextkey(self.handle(), key) };
        self.returned(next)
    }

    /// Counts the keys, which reads every bucket.
    pub(in super::super) fn count(&mut self) -> Result<u64, GdbmError> {
        let mut count = 0;
        // SAFETY: the handle is open, and `count` is libgdbm's unsigned 64-bit type.
        let status = unsafe { c::gdbm_count(self.handle(), &raw mut count) };
        self.done(status).map(|()| count)
    }

    /// Returns whether libgdbm reads and writes the file through a mapping in memory.
    pub(in super::super) fn is_mapped(&mut self) -> bool {
        let mut mapped: c_int = 0;
        self.option(c::GET_MAPPED, &mut mapped).is_ok() && mapped != 0
    }

    /// Maps the file into memory, or removes the mapping. libgdbm syncs the file first, however long that
    /// takes. If it fails to map the file, it works without a mapping, and must not be asked for one again.
    pub(in super::super) fn map(&mut self, mapped: bool) -> Result<(), GdbmError> {
        self.option(c::SET_MAPPED, &mut c_int::from(mapped))
    }

    fn option(&mut self, option: c_int, value: &mut c_int) -> Result<(), GdbmError> {
        const SIZE: c_int = c_int::BITS.cast_signed() / 8;
        // SAFETY: the handle is open, and libgdbm reads or writes a number of this size behind the pointer,
        // which is valid for both.
        let status = unsafe { c::gdbm_setopt(self.handle(), option, ptr::from_mut(value).cast(), SIZE) };
        self.done(status)
    }

    /// Returns a descriptor of the same open file, and so of the same lock.
    pub(in super::super) fn file(&self) -> io::Result<File> {
        // SAFETY: the descriptor stays open until the handle is closed, which cannot happen during the
        // borrow.
        let descriptor = unsafe { BorrowedFd::borrow_raw(c::gdbm_fdesc(self.handle())) };
        descriptor.try_clone_to_owned().map(File::from)
    }

    fn handle(&self) -> *mut Opaque {
        self.0.as_ptr()
    }

    /// Returns the error of this database's last call.
    fn last_error(&self) -> GdbmError {
        let error = GdbmError::last();
        // SAFETY: the handle is open as long as the `Database` lives.
        error.with_state(unsafe { c::gdbm_needs_recovery(self.handle()) } != 0)
    }

    fn done(&self, status: c_int) -> Result<(), GdbmError> {
        if status == 0 { Ok(()) } else { Err(self.last_error()) }
    }

    /// Converts a datum that libgdbm returned: memory that the result frees, no such key, or an error.
    fn returned(&self, datum: Datum) -> Result<Option<Bytes>, GdbmError> {
        if let Some(data) = NonNull::new(datum.data.cast()) {
            // SAFETY: libgdbm allocated the datum with malloc, and leaves it to its caller.
            return unsafe { Bytes::new(data, datum.size) }.map(Some);
        }
        match self.last_error() {
            error if error.is_not_found() && !error.needs_recovery() => Ok(None),
            error => Err(error),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nothing uses it after this. The status is ignored: libgdbm has
        // written each change to the file's pages before, and `RecordFile` syncs them.
        unsafe { c::gdbm_close(self.handle()) };
    }
}

fn datum(bytes: &[u8]) -> Result<Datum, GdbmError> {
    let size = c_int::try_from(bytes.len()).map_err(|_| GdbmError::malformed())?;
    Ok(Datum { data: bytes.as_ptr().cast_mut().cast(), size })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        (directory, path)
    }

    #[test]
    fn values_come_back_and_keys_are_walked() {
        let (_directory, path) = scratch();
        let mut db = Database::open(&path, Access::Create, true).unwrap();
        assert!(db.first_key().unwrap().is_none());
        for (key, value) in [("one", "1"), ("two", ""), ("one", "uno")] {
            db.store(key.as_bytes(), value.as_bytes()).unwrap();
        }
        assert_eq!(&*db.fetch(b"one").unwrap().unwrap(), b"uno");
        assert_eq!(&*db.fetch(b"two").unwrap().unwrap(), b"");
        assert!(db.fetch(b"three").unwrap().is_none());
        assert_eq!(db.count().unwrap(), 2);
        let first = db.first_key().unwrap().unwrap();
        let second = db.next_key(&first).unwrap().unwrap();
        assert!(db.next_key(&second).unwrap().is_none());
        assert!(db.delete(b"one").unwrap());
        assert!(!db.delete(b"one").unwrap());
    }

    #[test]
    fn errors_say_what_happened() {
        let (_directory, path) = scratch();
        let missing = Database::open(&path, Access::Change, true).unwrap_err();
        assert_eq!(missing.into_open_failure().unwrap().kind(), io::ErrorKind::NotFound);
        drop(Database::open(&path, Access::Create, true).unwrap());
        let mut reader = Database::open(&path, Access::Read, true).unwrap();
        let refused = reader.store(b"key", b"value").unwrap_err();
        assert!(!refused.needs_recovery() && refused.to_string().contains("(gdbm error 12)"), "{refused}");
    }
}
