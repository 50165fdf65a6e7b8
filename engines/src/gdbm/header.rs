//! The header of a gdbm file, checked before libgdbm reads it.
//!
//! libgdbm trusts most of the header: with sizes that contradict each other it can write beyond its buffers,
//! abort or loop for ever, before it returns any error. The layout is that of a machine with 64-bit file
//! offsets, in the machine's own byte order:
//!
//! ```text
//! 0  int    magic            20  int    dir_bits
//! 4  int    block_size       24  int    bucket_size
//! 8  offset dir              28  int    bucket_elems
//! 16 int    dir_size         32  offset next_block
//! 40 the table of free space: int size, int count, offset next_block, entries of { int size, offset address }
//! ```

use super::format::Expected::{Exactly, Within};
use super::format::{Mismatch, OFFSET, bytes_at, check, check_size, int, offset, rest, signed};
use super::free::FreeSpace;

/// The length of the header before the table of free space, in the standard format.
const FIXED: usize = 40;
/// How much longer it is in the format that counts syncs.
const SYNC_COUNTER: usize = 32;
/// The length of a table of free space before its first entry: int, int, offset.
const FREE_TABLE: usize = 16;
/// The length of an entry of a table of free space: an int, padding, an offset.
const FREE_ENTRY: usize = 16;
/// The length of a bucket before its first slot.
pub(super) const BUCKET_FIXED: usize = 112;
/// The length of a bucket's slot.
pub(super) const SLOT: usize = 24;
/// How many bytes of the file [`Header::parse`] reads.
pub(super) const LENGTH: usize = FIXED;

/// Why a file is not a database that libgdbm can open.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It has so many bytes, fewer than any header.
    #[error("it is {0} bytes long, and a header has {FIXED}")]
    Short(i64),
    /// It does not begin as gdbm files do; its first bytes as a number.
    #[error("it begins with {0:#010x}, which no gdbm file does")]
    Magic(u32),
    /// It is a gdbm file of a machine with another byte order or other file offsets.
    #[error("it was written on a machine with another byte order or 32-bit file offsets")]
    Foreign,
    /// A field of the header contradicts the others or the file's length.
    #[error("its header is corrupt: {0}")]
    Field(Mismatch),
}

/// The header of a database. Its fields agree with each other and with the file's length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) block_size: usize,
    /// Where the directory of buckets is.
    pub(super) directory: i64,
    pub(super) directory_size: usize,
    /// How many leading bits of a hash value number the directory's entries.
    pub(super) directory_bits: i64,
    pub(super) bucket_size: usize,
    pub(super) bucket_slots: usize,
    /// Where allocated space ends.
    pub(super) next_block: i64,
    /// Where the table of free space is in the first block.
    free_table: usize,
}

impl Header {
    /// Parses and checks the first [`LENGTH`] bytes of a file of `length` bytes.
    pub(super) fn parse(start: &[u8], length: i64) -> Result<Self, HeaderError> {
        let Some(start) = start.first_chunk::<LENGTH>() else { return Err(HeaderError::Short(length)) };
        let free_table = free_table(start)?;
        fields(start, free_table, length).map_err(HeaderError::Field)
    }

    /// Checks the table of free space in the file's first block.
    pub(super) fn check_free_table(&self, block: &[u8]) -> Result<(), HeaderError> {
        let read = self.read_free_table(self.free_table(block), &mut FreeSpace::default());
        read.map(drop).map_err(HeaderError::Field)
    }

    /// Returns the table of free space in the file's first block.
    pub(super) fn free_table<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        rest(block, self.free_table)
    }

    /// Returns the length of each further table of free space: it has half the entries of the first, and one.
    pub(super) fn free_block_size(&self) -> usize {
        FREE_TABLE + FREE_ENTRY + self.free_entries() * FREE_ENTRY / 2
    }

    /// Adds a table's free space to `free`, and returns the address of the next table, 0 for none.
    pub(super) fn read_free_table(&self, table: &[u8], free: &mut FreeSpace) -> Result<i64, Mismatch> {
        let entries = rest(table, FREE_TABLE);
        let room = signed(entries.len() / FREE_ENTRY);
        check("the size of the table of free space", int(table, 0), Exactly(signed(self.free_entries())))?;
        let count = check_size("the number of its entries", int(table, 4), Within(0, room))?;
        self.read_free_entries(entries, count, free)?;
        Ok(offset(table, 8))
    }

    /// Adds the first `count` entries of a table to `free`. Each must be space of the file.
    pub(super) fn read_free_entries(
        &self,
        entries: &[u8],
        count: usize,
        free: &mut FreeSpace,
    ) -> Result<(), Mismatch> {
        let (least, end) = (signed(self.bucket_size), self.next_block);
        for entry in entries.chunks_exact(FREE_ENTRY).take(count) {
            let (size, address) = (int(entry, 0), offset(entry, 8));
            check("the size of free space", size, Within(0, end))?;
            check("the address of free space", address, Within(least, end - size))?;
            free.add(address, size);
        }
        Ok(())
    }

    /// Returns the number of entries of the table of free space in the first block.
    fn free_entries(&self) -> usize {
        self.block_size.saturating_sub(self.free_table + FREE_TABLE) / FREE_ENTRY
    }
}

/// Returns where the table of free space begins, which depends on the format.
fn free_table(start: &[u8; LENGTH]) -> Result<usize, HeaderError> {
    let magic = u32::from_ne_bytes(bytes_at(start, 0));
    match magic {
        0x1357_9ace | 0x1357_9acf => Ok(FIXED),
        0x1357_9ad1 => Ok(FIXED + SYNC_COUNTER),
        0x1357_9acd | 0x1357_9ad0 => Err(HeaderError::Foreign),
        _ if matches!(magic.swap_bytes(), 0x1357_9acd..=0x1357_9ad1) => Err(HeaderError::Foreign),
        _ => Err(HeaderError::Magic(magic)),
    }
}

/// Parses the fields, and checks each against those before it.
fn fields(start: &[u8; LENGTH], free_table: usize, length: i64) -> Result<Header, Mismatch> {
    let (block_size, bits, bucket_size) = (int(start, 4), int(start, 20), int(start, 24));
    let (directory, slots, next_block) = (offset(start, 8), int(start, 28), offset(start, 32));
    let checked_block_size = check_size("block_size", block_size, Within(512, length))?;
    check("dir_bits", bits, Within(3, 28))?;
    let directory_size = signed(OFFSET) << bits;
    let checked_directory_size = check_size("dir_size", int(start, 16), Exactly(directory_size))?;
    check("dir", directory, Within(block_size, length - directory_size))?;
    let least = signed(BUCKET_FIXED + SLOT);
    Ok(Header {
        block_size: checked_block_size,
        directory,
        directory_size: checked_directory_size,
        directory_bits: bits,
        bucket_size: check_size("bucket_size", bucket_size, Within(least + 1, length))?,
        bucket_slots: check_size("bucket_elems", slots, Exactly((bucket_size - least) / signed(SLOT) + 1))?,
        next_block: check("next_block", next_block, Within(block_size, i64::MAX)).map(|()| next_block)?,
        free_table,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of an empty database with blocks of 4096 bytes, as libgdbm writes it.
    fn empty() -> Vec<u8> {
        let mut block = vec![0; 4096];
        put(&mut block, 0, 0x1357_9acf);
        for (at, value) in
            [(4, 4096), (8, 4096), (16, 4096), (20, 9), (24, 4096), (28, 166), (32, 16384), (40, 252)]
        {
            put(&mut block, at, value);
        }
        block
    }

    fn put(block: &mut [u8], at: usize, value: u32) {
        block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn verdict(block: &[u8], length: i64) -> Result<(), HeaderError> {
        Header::parse(block, length)?.check_free_table(block)
    }

    #[test]
    fn an_empty_database_is_accepted_in_every_native_format() {
        for magic in [0x1357_9acf, 0x1357_9ace] {
            let mut block = empty();
            put(&mut block, 0, magic);
            assert_eq!(verdict(&block, 16384), Ok(()));
        }
        let mut block = empty();
        put(&mut block, 0, 0x1357_9ad1);
        put(&mut block, 40, 0);
        put(&mut block, 72, 250);
        assert_eq!(verdict(&block, 16384), Ok(()));
    }

    #[test]
    fn a_field_that_contradicts_the_rest_is_named_with_both_values() {
        let table = [
            (4, 0, "block_size is 0 where it must be 512 to 16384"),
            (4, 0x7fff_ffff, "block_size is 2147483647 where it must be 512 to 16384"),
            (8, 0, "dir is 0 where it must be 4096 to 12288"),
            (12, 1, "dir is 4294971392 where it must be 4096 to 12288"),
            (16, 8, "dir_size is 8 where it must be 4096"),
            (20, 31, "dir_bits is 31 where it must be 3 to 28"),
            (24, 100, "bucket_size is 100 where it must be 137 to 16384"),
            (28, 167, "bucket_elems is 167 where it must be 166"),
            (
                36,
                0x8000_0000,
                "next_block is -9223372036854759424 where it must be 4096 to 9223372036854775807",
            ),
            (40, 253, "the size of the table of free space is 253 where it must be 252"),
            (44, 253, "the number of its entries is 253 where it must be 0 to 252"),
            (44, 1, "the address of free space is 0 where it must be 4096 to 16384"),
        ];
        for (at, value, expected) in table {
            let mut block = empty();
            put(&mut block, at, value);
            let message = verdict(&block, 16384).unwrap_err().to_string();
            assert_eq!(message, format!("its header is corrupt: {expected}"), "{at}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let mut block = empty();
        for (magic, expected) in [
            (0xcf9a_5713, HeaderError::Foreign),
            (0xd19a_5713, HeaderError::Foreign),
            (0x1357_9acd, HeaderError::Foreign),
            (0x1357_9ad2, HeaderError::Magic(0x1357_9ad2)),
            (0, HeaderError::Magic(0)),
        ] {
            put(&mut block, 0, magic);
            assert_eq!(verdict(&block, 16384), Err(expected));
        }
        assert_eq!(Header::parse(b"short", 5), Err(HeaderError::Short(5)));
    }
}
