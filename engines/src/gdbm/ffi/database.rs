//! libgdbm behind safe calls: the only unsafe code of the project.
#![expect(unsafe_code, reason = "libgdbm is a C library; nothing outside this file calls it")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;

use crate::access::Access;

/// What gdbm calls the state after which every call fails until the database is recovered.
const NEED_RECOVERY: c_int = 29;
const FILE_OPEN_ERROR: c_int = 3;
const FILE_WRITE_ERROR: c_int = 4;
const CANT_BE_READER: c_int = 9;
const CANT_BE_WRITER: c_int = 10;
const ITEM_NOT_FOUND: c_int = 15;
const MALFORMED_DATA: c_int = 18;

const REPLACE: c_int = 1;
/// Not inherited by programs that the process starts.
const CLOEXEC: c_int = 0x100;
/// Check the lists of free space at open; libraries that do not know the flag ignore it.
const XVERIFY: c_int = 0x800;
const NO_MAPPING: c_int = 0x80;

const SET_MAPPED: c_int = 7;
const GET_MAPPED: c_int = 9;
const RECOVER_MAX_FAILURES: c_int = 0x08;
const RECOVER_FORCE: c_int = 0x20;

#[repr(C)]
#[derive(Clone, Copy)]
struct Datum {
    data: *mut c_char,
    size: c_int,
}

/// `gdbm_recovery`, as gdbm 1.15 and later have it.
#[repr(C)]
struct Recovery {
    error_function: *const c_void,
    error_data: *mut c_void,
    max_failed_keys: usize,
    max_failed_buckets: usize,
    max_failures: usize,
    recovered_keys: usize,
    recovered_buckets: usize,
    failed_keys: usize,
    failed_buckets: usize,
    duplicate_keys: usize,
    backup_name: *mut c_char,
}

#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn gdbm_open(
        name: *const c_char,
        block_size: c_int,
        flags: c_int,
        mode: c_int,
        fatal: Option<unsafe extern "C" fn(*const c_char)>,
    ) -> *mut Opaque;
    fn gdbm_close(db: *mut Opaque) -> c_int;
    fn gdbm_fetch(db: *mut Opaque, key: Datum) -> Datum;
    fn gdbm_store(db: *mut Opaque, key: Datum, value: Datum, flag: c_int) -> c_int;
    fn gdbm_delete(db: *mut Opaque, key: Datum) -> c_int;
    fn gdbm_firstkey(db: *mut Opaque) -> Datum;
    fn gdbm_nextkey(db: *mut Opaque, key: Datum) -> Datum;
    fn gdbm_count(db: *mut Opaque, count: *mut u64) -> c_int;
    fn gdbm_recover(db: *mut Opaque, recovery: *mut Recovery, flags: c_int) -> c_int;
    fn gdbm_setopt(db: *mut Opaque, option: c_int, value: *mut c_void, size: c_int) -> c_int;
    fn gdbm_fdesc(db: *mut Opaque) -> c_int;
    fn gdbm_needs_recovery(db: *mut Opaque) -> c_int;
    fn gdbm_check_syserr(code: c_int) -> c_int;
    fn gdbm_errno_location() -> *mut c_int;
    fn gdbm_strerror(code: c_int) -> *const c_char;
    fn free(memory: *mut c_void);
}

/// Why libgdbm refused a call.
#[derive(Debug)]
pub(super) struct Fault {
    code: c_int,
    os: Option<io::Error>,
    /// Every call will fail until the database is recovered.
    pub(super) needs_recovery: bool,
}

impl Fault {
    /// The fault of the call before, which must have been this thread's last to libgdbm: the code is the
    /// thread's own, and both codes are overwritten by the next call.
    fn last(database: Option<&Database>) -> Self {
        let os = io::Error::last_os_error();
        // SAFETY: libgdbm gives each thread an int that lives as long as the thread.
        let code = unsafe { *gdbm_errno_location() };
        // SAFETY: no preconditions; any code may be asked about.
        let os = (unsafe { gdbm_check_syserr(code) } != 0).then_some(os);
        // SAFETY: the handle is open as long as the `Database` lives.
        let broken = database.is_some_and(|database| unsafe { gdbm_needs_recovery(database.handle()) } != 0);
        Self { code, os, needs_recovery: broken || code == NEED_RECOVERY }
    }

    fn too_long() -> Self {
        Self { code: MALFORMED_DATA, os: None, needs_recovery: false }
    }

    /// The file cannot grow. libgdbm was not called, and the database is as it was.
    pub(super) fn no_room(error: io::Error) -> Self {
        Self { code: FILE_WRITE_ERROR, os: Some(error), needs_recovery: false }
    }

    /// Another process holds the database's lock.
    pub(super) fn in_use(&self) -> bool {
        matches!(self.code, CANT_BE_READER | CANT_BE_WRITER)
    }

    /// The system's own words when the file could not even be opened.
    pub(super) fn into_open_failure(self) -> Result<io::Error, Self> {
        match self.os {
            Some(os) if self.code == FILE_OPEN_ERROR => Ok(os),
            os => Err(Self { os, ..self }),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: libgdbm answers every code with a string that is never freed.
        let message = unsafe { CStr::from_ptr(gdbm_strerror(self.code)) };
        write!(f, "{} (gdbm error {})", message.to_string_lossy(), self.code)?;
        self.os.as_ref().map_or(Ok(()), |os| write!(f, ": {os}"))
    }
}

impl std::error::Error for Fault {}

/// What a recovery saved and what it could not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Salvage {
    pub(super) keys: usize,
    pub(super) failed_keys: usize,
    pub(super) failed_buckets: usize,
    pub(super) duplicate_keys: usize,
}

/// Memory that libgdbm allocated for us: a key or a value.
#[derive(Debug)]
pub(super) struct Bytes {
    data: NonNull<u8>,
    size: usize,
}

// SAFETY: the memory belongs to this value alone, and `free` may be called on any thread.
unsafe impl Send for Bytes {}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: libgdbm returned `size` initialised bytes at `data`, and only `drop` frees them.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.size) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: libgdbm allocated `data` with malloc and left it to the caller to free, once.
        unsafe { free(self.data.as_ptr().cast()) }
    }
}

/// An open database. Closing it gives up its lock.
///
/// libgdbm keeps everything behind the handle and has no lock of its own, so every call that touches the
/// file takes `&mut self`; the type may move between threads and is never shared by them.
#[derive(Debug)]
pub(super) struct Database(NonNull<Opaque>);

// SAFETY: nothing behind a handle belongs to the thread that opened it; only `gdbm_errno` is a thread's own, and
// `Fault::last` reads it within the call. `Database` is not Sync: the raw pointer inside keeps it from being.
unsafe impl Send for Database {}

impl Database {
    /// Opens a file whose header has been checked: on a corrupt one libgdbm may abort.
    pub(super) fn open(path: &Path, access: Access, mapped: bool) -> Result<Self, Fault> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Fault::too_long())?;
        let flags = CLOEXEC
            | XVERIFY
            | if mapped { 0 } else { NO_MAPPING }
            | match access {
                Access::Read => 0,
                Access::Change => 1,
                Access::Create => 2,
            };
        // SAFETY: `name` ends in NUL and outlives the call. Without a fatal function libgdbm returns errors;
        // with one it would end the process. Block size 0 is the file system's, as Python asks for it.
        let handle = unsafe { gdbm_open(name.as_ptr(), 0, flags, 0o600, None) };
        NonNull::new(handle).map(Self).ok_or_else(|| Fault::last(None))
    }

    pub(super) fn fetch(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let value = unsafe { gdbm_fetch(self.handle(), key) };
        self.returned(value)
    }

    /// Stores a value, in place of the one that the key may have.
    pub(super) fn store(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let (key, value) = (datum(key)?, datum(value)?);
        // SAFETY: the handle is open, and libgdbm only reads the key and the value.
        let status = unsafe { gdbm_store(self.handle(), key, value, REPLACE) };
        self.done(status)
    }

    /// Removes a key; says whether it was there.
    pub(super) fn delete(&mut self, key: &[u8]) -> Result<bool, Fault> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let status = unsafe { gdbm_delete(self.handle(), key) };
        match self.done(status) {
            Err(fault) if fault.code == ITEM_NOT_FOUND => Ok(false),
            result => result.map(|()| true),
        }
    }

    pub(super) fn first_key(&mut self) -> Result<Option<Bytes>, Fault> {
        // SAFETY: the handle is open.
        let key = unsafe { gdbm_firstkey(self.handle()) };
        self.returned(key)
    }

    /// The key after `key`; `None` at the end, and also when `key` itself is not there.
    pub(super) fn next_key(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let key = datum(key)?;
        // SAFETY: the handle is open, and libgdbm only reads the key.
        let next = unsafe { gdbm_nextkey(self.handle(), key) };
        self.returned(next)
    }

    /// The number of keys, found by reading every bucket.
    pub(super) fn count(&mut self) -> Result<u64, Fault> {
        let mut count = 0;
        // SAFETY: the handle is open, and `count` is libgdbm's unsigned 64-bit type.
        let status = unsafe { gdbm_count(self.handle(), &raw mut count) };
        self.done(status).map(|()| count)
    }

    /// Writes the file anew from every key that can be read, in place of the old one. Unless it is forced, a file
    /// in which libgdbm finds no fault is left alone.
    pub(super) fn recover(&mut self, force: bool) -> Result<Salvage, Fault> {
        self.rewrite(if force { RECOVER_FORCE } else { 0 })
    }

    /// Writes the file anew, without the space that deleted keys left.
    ///
    /// `gdbm_reorganize` drops what it cannot read; this refuses to, and leaves the file as it was.
    pub(super) fn reorganize(&mut self) -> Result<(), Fault> {
        self.rewrite(RECOVER_FORCE | RECOVER_MAX_FAILURES).map(drop)
    }

    /// Whether the file is read and written through a mapping of it in memory.
    pub(super) fn is_mapped(&mut self) -> bool {
        let mut mapped: c_int = 0;
        self.option(GET_MAPPED, &mut mapped).is_ok() && mapped != 0
    }

    /// Maps the file into memory, or no longer. libgdbm syncs it first, however long that takes. Where it cannot map it,
    /// that is a fault, it goes on without, and must not be asked again.
    pub(super) fn map(&mut self, mapped: bool) -> Result<(), Fault> {
        self.option(SET_MAPPED, &mut c_int::from(mapped))
    }

    fn option(&mut self, option: c_int, value: &mut c_int) -> Result<(), Fault> {
        const SIZE: c_int = c_int::BITS.cast_signed() / 8;
        // SAFETY: the handle is open, and libgdbm reads or writes a number of this size behind the pointer, which is
        // valid for both.
        let status = unsafe { gdbm_setopt(self.handle(), option, ptr::from_mut(value).cast(), SIZE) };
        self.done(status)
    }

    /// A descriptor of the same open file, and so of the same lock.
    pub(super) fn file(&self) -> io::Result<File> {
        // SAFETY: the descriptor stays open until the handle is closed, which cannot happen during the borrow.
        let descriptor = unsafe { BorrowedFd::borrow_raw(gdbm_fdesc(self.handle())) };
        descriptor.try_clone_to_owned().map(File::from)
    }

    fn rewrite(&mut self, flags: c_int) -> Result<Salvage, Fault> {
        let mut recovery = Recovery {
            error_function: ptr::null(),
            error_data: ptr::null_mut(),
            max_failed_keys: 0,
            max_failed_buckets: 0,
            // Counts only where the flag asks for it: then the first failure ends the rewriting.
            max_failures: 1,
            recovered_keys: 0,
            recovered_buckets: 0,
            failed_keys: 0,
            failed_buckets: 0,
            duplicate_keys: 0,
            backup_name: ptr::null_mut(),
        };
        // SAFETY: the handle is open, and the structure has libgdbm's layout; its members that go in are read
        // only where a flag says that they are set.
        let status = unsafe { gdbm_recover(self.handle(), &raw mut recovery, flags) };
        self.done(status).map(|()| Salvage {
            keys: recovery.recovered_keys,
            failed_keys: recovery.failed_keys,
            failed_buckets: recovery.failed_buckets,
            duplicate_keys: recovery.duplicate_keys,
        })
    }

    fn handle(&self) -> *mut Opaque {
        self.0.as_ptr()
    }

    fn done(&self, status: c_int) -> Result<(), Fault> {
        if status == 0 { Ok(()) } else { Err(Fault::last(Some(self))) }
    }

    /// A datum that libgdbm returned: ours to free, or nothing, or a fault.
    fn returned(&self, datum: Datum) -> Result<Option<Bytes>, Fault> {
        if let Some(data) = NonNull::new(datum.data.cast()) {
            return Ok(Some(Bytes { data, size: usize::try_from(datum.size).unwrap_or(0) }));
        }
        match Fault::last(Some(self)) {
            fault if fault.code == ITEM_NOT_FOUND && !fault.needs_recovery => Ok(None),
            fault => Err(fault),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: the handle is open and nobody has it any more. What closing could not flush was acknowledged
        // as unsynced, so there is nobody left to tell.
        unsafe { gdbm_close(self.handle()) };
    }
}

fn datum(bytes: &[u8]) -> Result<Datum, Fault> {
    let size = c_int::try_from(bytes.len()).map_err(|_| Fault::too_long())?;
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
    fn faults_say_what_happened() {
        let (_directory, path) = scratch();
        let missing = Database::open(&path, Access::Change, true).unwrap_err();
        assert_eq!(missing.into_open_failure().unwrap().kind(), io::ErrorKind::NotFound);
        drop(Database::open(&path, Access::Create, true).unwrap());
        let mut reader = Database::open(&path, Access::Read, true).unwrap();
        let refused = reader.store(b"key", b"value").unwrap_err();
        assert!(!refused.needs_recovery && refused.to_string().contains("(gdbm error 12)"), "{refused}");
    }

    #[test]
    fn a_forced_recovery_keeps_the_keys() {
        let (_directory, path) = scratch();
        let mut db = Database::open(&path, Access::Create, true).unwrap();
        db.store(b"key", b"value").unwrap();
        assert_eq!(db.recover(false).unwrap(), Salvage::default());
        let salvage = db.recover(true).unwrap();
        assert_eq!((salvage.keys, salvage.failed_keys), (1, 0));
        db.reorganize().unwrap();
        assert_eq!(&*db.fetch(b"key").unwrap().unwrap(), b"value");
    }
}
