//! Reserves disk space for the file before libgdbm needs it.
//!
//! On a full disk, libgdbm 1.23 does not detect that it failed to write a bucket: it writes the directory
//! that names the bucket and refuses every later call, and all records of the bucket are lost when the
//! process ends. So no write begins before the blocks that it may need are allocated. They are reserved
//! beyond the file's end, which leaves its length unchanged.

use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// How many writes follow one check of the file's length.
const WRITES: u32 = 8;
/// How many bytes that many writes may add to a file: a value, three blocks for a split bucket and a table of
/// free space each. A split that doubles the directory of the buckets is announced.
const LEAST: u64 = 256 << 10;
const LEAST_SHARE: u64 = 64;
/// How many bytes are reserved at once.
const RESERVE: u64 = 1 << 20;
const RESERVE_SHARE: u64 = 32;

/// How far the file can grow.
#[derive(Debug)]
pub(super) struct Room {
    /// No write fails before the file has this length.
    end: u64,
    /// The longest file that the process may write.
    limit: u64,
    /// How many writes are left until the next check.
    writes: u32,
}

impl Default for Room {
    fn default() -> Self {
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        Self { end: 0, limit, writes: 0 }
    }
}

impl Room {
    /// Ensures the room that one more write may need; `growth` is what a split of a bucket adds, in bytes.
    ///
    /// # Errors
    /// If there is none: the disk is full, a quota is used up, or the file has its largest length.
    pub(super) fn ensure(&mut self, file: &File, growth: u64) -> io::Result<()> {
        if self.writes > 0 && growth == 0 {
            self.writes -= 1;
            return Ok(());
        }
        self.check(file, growth)?;
        self.writes = WRITES - 1;
        Ok(())
    }

    /// Ensures the room now.
    pub(super) fn check(&mut self, file: &File, growth: u64) -> io::Result<()> {
        let length = file.metadata()?.len();
        if self.end < length + LEAST + length / LEAST_SHARE + growth {
            self.end = self.extend(file, length, growth)?;
        }
        Ok(())
    }

    fn extend(&self, file: &File, length: u64, growth: u64) -> io::Result<u64> {
        let size = RESERVE + length / RESERVE_SHARE + growth;
        if length + size > self.limit {
            return Err(Errno::FBIG.into());
        }
        match reserve(file, length, size) {
            // On a file system that cannot reserve space, each write finds out for itself.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(length + size),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64, size: u64) -> Result<(), Errno> {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(file, FallocateFlags::KEEP_SIZE, length, size)
}

/// Other systems can only reserve space by making the file longer, and libgdbm regards a file that is too
/// long as damaged.
#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _length: u64, _size: u64) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_reserved_and_the_file_stays_as_long_as_it_is() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room::default();
        for length in [0, LEAST, RESERVE, 10 * RESERVE] {
            file.set_len(length).unwrap();
            (0..WRITES).for_each(|_| room.ensure(&file, 0).unwrap());
            assert_eq!(file.metadata().unwrap().len(), length);
            assert!(room.end >= length + LEAST);
            room.ensure(&file, 5 * RESERVE).unwrap();
            assert!(room.end >= length + 5 * RESERVE);
        }
    }

    #[test]
    fn a_file_as_long_as_it_may_be_is_refused_until_it_may_grow() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room { limit: RESERVE - 1, ..Room::default() };
        for _ in 0..2 {
            assert_eq!(room.ensure(&file, 0).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        }
        room.limit = RESERVE;
        room.ensure(&file, 0).unwrap();
    }
}
