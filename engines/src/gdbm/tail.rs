//! Files that end too early.
//!
//! libgdbm puts a larger directory at the end of the file, and opens no file in which nothing follows the directory. One
//! block more is enough. A loss of power can leave a new header in a file that has its old length: it must be as long as
//! the header says before anything in it can be recovered.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::format::{self, block, signed};
use super::header::{self, Header};

/// Where the header says where allocated space ends.
const NEXT_BLOCK: u64 = 32;
/// A file does not grow by more between two syncs.
const MOST_MISSING: i64 = 1 << 30;

/// Returns whether the directory is the last thing in a file of this length.
pub(super) fn ends_with_directory(header: &Header, length: u64) -> bool {
    (header.directory + signed(header.directory_size)).unsigned_abs() == length
}

/// Locks a file as libgdbm does, until it is closed. Returns whether no other process has it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        // Without this kind of lock libgdbm takes another one.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Makes a file as long as its header says, with zeros at the end, if that is all that is wrong with the header. Returns
/// whether it did.
pub(super) fn lengthen(file: &File) -> io::Result<bool> {
    let length = format::length(file)?;
    let start = block(file, 0, header::LENGTH)?;
    let Ok(header) = Header::parse(&start, length.saturating_add(MOST_MISSING)) else { return Ok(false) };
    let claimed = header.next_block.max(header.directory + signed(header.directory_size));
    let missing = claimed > length && claimed <= length.saturating_add(MOST_MISSING);
    if missing {
        file.set_len(claimed.unsigned_abs())?;
    }
    Ok(missing)
}

/// Adds a block to a file that ends with its directory. Killed in between, it has claimed the block and not added it,
/// which is sound.
pub(super) fn mend(file: &File) -> io::Result<()> {
    let length = format::length(file)?;
    let Ok(header) = Header::parse(&block(file, 0, header::LENGTH)?, length) else { return Ok(()) };
    if !ends_with_directory(&header, length.unsigned_abs()) {
        return Ok(());
    }
    let end = header.next_block.max(length + signed(header.block_size));
    file.write_all_at(&end.to_ne_bytes(), NEXT_BLOCK)?;
    file.set_len(end.unsigned_abs())
}
