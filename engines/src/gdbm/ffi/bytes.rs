//! Memory that libgdbm allocates.

use std::ffi::c_int;
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;

use super::c;
use super::error::GdbmError;

/// A key or a value that libgdbm returned; frees it when it is dropped.
#[derive(Debug)]
pub(in super::super) struct Bytes {
    data: NonNull<u8>,
    size: usize,
}

impl Bytes {
    /// Takes over a key or a value. A negative size, which libgdbm could only have read from a damaged file,
    /// is an error.
    ///
    /// # Safety
    /// `data` must be memory that libgdbm allocated with malloc, holds `size` initialised bytes and nothing
    /// else uses.
    pub(super) unsafe fn new(data: NonNull<u8>, size: c_int) -> Result<Self, GdbmError> {
        let mut bytes = Self { data, size: 0 };
        bytes.size = usize::try_from(size).map_err(|_| GdbmError::malformed())?;
        Ok(bytes)
    }
}

// SAFETY: the memory belongs to this value alone, and `free` may be called on any thread.
unsafe impl Send for Bytes {}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` was given `size` initialised bytes at `data`, and only `drop` frees them.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.size) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: libgdbm allocated `data` with malloc, and only this value frees it, once.
        unsafe { c::free(self.data.as_ptr().cast()) }
    }
}
