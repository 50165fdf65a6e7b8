//! The first block of a gdbm file, checked before libgdbm sees it.
//!
//! libgdbm trusts much of what it reads here: sizes that do not fit each other can make it write beyond its
//! buffers, abort or never return, and no error of its own comes before that. The layout is that of a machine
//! with 64-bit file offsets, in the machine's own byte order:
//!
//! ```text
//! 0  int    magic            20  int    dir_bits
//! 4  int    block_size       24  int    bucket_size
//! 8  offset dir              28  int    bucket_elems
//! 16 int    dir_size         32  offset next_block
//! 40 the table of free space: int size, int count, offset next_block, entries of { int size, offset address }
//! ```

use std::fmt;

use super::free::FreeSpace;

/// Bytes before the table of free space, in the standard format.
const FIXED: usize = 40;
/// The format that counts its syncs has this much more before the table.
const SYNC_COUNTER: usize = 32;
/// Bytes of the table of free space before its first entry, and of each entry.
const FREE_TABLE: usize = 16;
/// Bytes of an entry of the table of free space: an int, padding, an offset.
const FREE_ENTRY: usize = 16;
/// Bytes of a bucket before its first slot.
pub(super) const BUCKET_FIXED: usize = 112;
/// Bytes of a bucket's slot.
pub(super) const SLOT: usize = 24;
/// Bytes of a directory entry, an offset.
pub(super) const OFFSET: usize = 8;
/// The bits of a hash value.
pub(super) const HASH_BITS: u32 = 31;
/// How many bytes of the file [`Header::parse`] wants to see.
pub(super) const LENGTH: usize = FIXED;

/// A number in the file that cannot be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mismatch {
    pub(super) field: &'static str,
    pub(super) found: i64,
    pub(super) rule: Rule,
}

/// What a number should have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    Exactly(i64),
    Within(i64, i64),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found, rule } = self;
        match rule {
            Rule::Exactly(value) => write!(f, "{field} is {found} where it must be {value}"),
            Rule::Within(least, most) => write!(f, "{field} is {found} where it must be {least} to {most}"),
        }
    }
}

/// Why a file is no database that libgdbm could open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Malformed {
    /// Shorter than any header.
    Short(u64),
    /// It does not begin as gdbm files do.
    Magic(u32),
    /// A gdbm file of a machine with another byte order or other file offsets.
    Foreign,
    /// A field of the header contradicts the others or the file's length.
    Header(Mismatch),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "it is {length} bytes long, and a header has {FIXED}"),
            Self::Magic(magic) => write!(f, "it begins with {magic:#010x}, which no gdbm file does"),
            Self::Foreign => {
                f.write_str("it was written on a machine with another byte order or 32-bit file offsets")
            }
            Self::Header(mismatch) => write!(f, "its header is corrupt: {mismatch}"),
        }
    }
}

/// Checks one number.
pub(super) fn check(field: &'static str, found: i64, rule: Rule) -> Result<(), Mismatch> {
    let right = match rule {
        Rule::Exactly(value) => found == value,
        Rule::Within(least, most) => (least..=most).contains(&found),
    };
    if right { Ok(()) } else { Err(Mismatch { field, found, rule }) }
}

/// The C int at an offset.
pub(super) fn int(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| i32::from_ne_bytes(*bytes).into())
}

/// The file offset at an offset.
pub(super) fn offset(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| i64::from_ne_bytes(*bytes))
}

/// Adds the free space of a table's first `count` entries, all of which must be space of the file.
pub(super) fn read_free(
    entries: &[u8],
    count: i64,
    header: &Header,
    free: &mut FreeSpace,
) -> Result<(), Mismatch> {
    let (least, end) = (signed(header.bucket_size), header.next_block);
    for entry in entries.chunks_exact(FREE_ENTRY).take(usize::try_from(count).unwrap_or(0)) {
        let (size, address) = (int(entry, 0), offset(entry, 8));
        check("the size of free space", size, Rule::Within(0, end))?;
        check("the address of free space", address, Rule::Within(least, end - size))?;
        free.add(address, size);
    }
    Ok(())
}

/// The header of a database, its fields in agreement with each other and with the file's length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) block_size: usize,
    /// Where the directory of buckets is.
    pub(super) directory: u64,
    pub(super) directory_size: usize,
    /// How many leading bits of a hash value number the directory's entries.
    pub(super) directory_bits: u32,
    pub(super) bucket_size: usize,
    pub(super) bucket_slots: usize,
    /// Where allocated space ends.
    pub(super) next_block: i64,
    /// Where the table of free space is in the first block.
    free_table: usize,
}

impl Header {
    /// Reads the first [`LENGTH`] bytes of a file of `length` bytes.
    pub(super) fn parse(start: &[u8], length: u64) -> Result<Self, Malformed> {
        let Some(start) = start.first_chunk::<LENGTH>() else { return Err(Malformed::Short(length)) };
        let free_table = free_table(start)?;
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        fields(start, free_table, length).map_err(Malformed::Header)
    }

    /// Checks the table of free space; `block` is the file's first block.
    pub(super) fn check_free_table(&self, block: &[u8]) -> Result<(), Malformed> {
        let read = self.read_free_table(self.free_table(block), &mut FreeSpace::default());
        read.map(drop).map_err(Malformed::Header)
    }

    /// The table of free space in the file's first block.
    pub(super) fn free_table<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        block.get(self.free_table..).unwrap_or_default()
    }

    /// Bytes of each further table of free space: half the entries of the first, and one.
    pub(super) fn free_block_size(&self) -> usize {
        FREE_TABLE + FREE_ENTRY + self.free_entries() * FREE_ENTRY / 2
    }

    /// Adds the free space of a table, and says where the next is; 0 when there is none.
    pub(super) fn read_free_table(&self, table: &[u8], free: &mut FreeSpace) -> Result<i64, Mismatch> {
        let entries = table.get(FREE_TABLE..).unwrap_or_default();
        let room = signed(entries.len() / FREE_ENTRY);
        check(
            "the size of the table of free space",
            int(table, 0),
            Rule::Exactly(signed(self.free_entries())),
        )?;
        let count = int(table, 4);
        check("the number of its entries", count, Rule::Within(0, room))?;
        read_free(entries, count, self, free)?;
        Ok(offset(table, 8))
    }

    /// Entries of the table of free space in the first block.
    fn free_entries(&self) -> usize {
        self.block_size.saturating_sub(self.free_table + FREE_TABLE) / FREE_ENTRY
    }
}

/// Where the table of free space begins, which depends on the format.
fn free_table(start: &[u8; LENGTH]) -> Result<usize, Malformed> {
    let magic = start.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    match magic {
        0x1357_9ace | 0x1357_9acf => Ok(FIXED),
        0x1357_9ad1 => Ok(FIXED + SYNC_COUNTER),
        0x1357_9acd | 0x1357_9ad0 => Err(Malformed::Foreign),
        _ if matches!(magic.swap_bytes(), 0x1357_9acd..=0x1357_9ad1) => Err(Malformed::Foreign),
        _ => Err(Malformed::Magic(magic)),
    }
}

fn fields(start: &[u8; LENGTH], free_table: usize, length: i64) -> Result<Header, Mismatch> {
    let (block_size, directory) = (int(start, 4), offset(start, 8));
    let (directory_size, directory_bits) = (int(start, 16), int(start, 20));
    let (bucket_size, bucket_slots, next_block) = (int(start, 24), int(start, 28), offset(start, 32));
    check("block_size", block_size, Rule::Within(512, length))?;
    check("dir_bits", directory_bits, Rule::Within(3, 28))?;
    check("dir_size", directory_size, Rule::Exactly(signed(OFFSET) << directory_bits))?;
    check("dir", directory, Rule::Within(block_size, length - directory_size - 1))?;
    let least = signed(BUCKET_FIXED + SLOT);
    check("bucket_size", bucket_size, Rule::Within(least + 1, length))?;
    check("bucket_elems", bucket_slots, Rule::Exactly((bucket_size - least) / signed(SLOT) + 1))?;
    check("next_block", next_block, Rule::Within(block_size, i64::MAX))?;
    // None of these is negative: the checks above say so.
    let size = |value: i64| usize::try_from(value).unwrap_or(0);
    Ok(Header {
        block_size: size(block_size),
        directory: directory.unsigned_abs(),
        directory_size: size(directory_size),
        directory_bits: u32::try_from(directory_bits).unwrap_or(0),
        bucket_size: size(bucket_size),
        bucket_slots: size(bucket_slots),
        next_block,
        free_table,
    })
}

/// A size in memory as a number of the file.
pub(super) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
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

    fn verdict(block: &[u8], length: u64) -> Result<(), Malformed> {
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
            (8, 0, "dir is 0 where it must be 4096 to 12287"),
            (12, 1, "dir is 4294971392 where it must be 4096 to 12287"),
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
            (0xcf9a_5713, Malformed::Foreign),
            (0xd19a_5713, Malformed::Foreign),
            (0x1357_9acd, Malformed::Foreign),
            (0x1357_9ad2, Malformed::Magic(0x1357_9ad2)),
            (0, Malformed::Magic(0)),
        ] {
            put(&mut block, 0, magic);
            assert_eq!(verdict(&block, 16384), Err(expected));
        }
        assert_eq!(Header::parse(b"short", 5), Err(Malformed::Short(5)));
    }
}
