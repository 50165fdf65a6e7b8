//! The C side of libgdbm: the codes, structures and functions of `gdbm.h` that the engine uses.
//!
//! `build.rs` finds the library, and refuses one in which a structure has another layout.

use std::ffi::{c_char, c_int, c_void};

// Error codes.
pub(super) const FILE_OPEN_ERROR: c_int = 3;
pub(super) const FILE_WRITE_ERROR: c_int = 4;
pub(super) const FILE_READ_ERROR: c_int = 6;
pub(super) const CANT_BE_READER: c_int = 9;
pub(super) const CANT_BE_WRITER: c_int = 10;
pub(super) const ITEM_NOT_FOUND: c_int = 15;
pub(super) const MALFORMED_DATA: c_int = 18;
/// Every call fails until the database is recovered.
pub(super) const NEED_RECOVERY: c_int = 29;

// Flags of `gdbm_open`.
pub(super) const READER: c_int = 0;
pub(super) const WRITER: c_int = 1;
pub(super) const CREATE: c_int = 2;
pub(super) const NO_MAPPING: c_int = 0x80;
/// Programs that the process starts do not inherit the file.
pub(super) const CLOEXEC: c_int = 0x100;
/// Checks the lists of free space; a library that does not know the flag ignores it.
pub(super) const XVERIFY: c_int = 0x800;

/// Flag of `gdbm_store`.
pub(super) const REPLACE: c_int = 1;

// Options of `gdbm_setopt`.
pub(super) const SET_MAPPED: c_int = 7;
pub(super) const GET_MAPPED: c_int = 9;

/// A key or a value, in memory that the function's documentation assigns to its caller or to libgdbm.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Datum {
    pub(super) data: *mut c_char,
    pub(super) size: c_int,
}

/// An open database behind its handle.
#[repr(C)]
pub(super) struct Opaque {
    _private: [u8; 0],
}

unsafe extern "C" {
    pub(super) fn gdbm_open(
        name: *const c_char,
        block_size: c_int,
        flags: c_int,
        mode: c_int,
        fatal: Option<unsafe extern "C" fn(*const c_char)>,
    ) -> *mut Opaque;
    pub(super) fn gdbm_close(db: *mut Opaque) -> c_int;
    pub(super) fn gdbm_fetch(db: *mut Opaque, key: Datum) -> Datum;
    pub(super) fn gdbm_store(db: *mut Opaque, key: Datum, value: Datum, flag: c_int) -> c_int;
    pub(super) fn gdbm_delete(db: *mut Opaque, key: Datum) -> c_int;
    pub(super) fn gdbm_firstkey(db: *mut Opaque) -> Datum;
    pub(super) fn gdbm_nextkey(db: *mut Opaque, key: Datum) -> Datum;
    pub(super) fn gdbm_count(db: *mut Opaque, count: *mut u64) -> c_int;
    pub(super) fn gdbm_setopt(db: *mut Opaque, option: c_int, value: *mut c_void, size: c_int) -> c_int;
    pub(super) fn gdbm_fdesc(db: *mut Opaque) -> c_int;
    pub(super) fn gdbm_needs_recovery(db: *mut Opaque) -> c_int;
    pub(super) fn gdbm_check_syserr(code: c_int) -> c_int;
    pub(super) fn gdbm_errno_location() -> *mut c_int;
    pub(super) fn gdbm_strerror(code: c_int) -> *const c_char;
    pub(super) fn free(memory: *mut c_void);
}
