//! One bucket of a gdbm file: a hash table whose slots each name a key and its value.
//!
//! ```text
//! 0   int    av_count             free space of its own, up to 6 entries
//! 8   entries of { int size, offset address }
//! 104 int    bucket_bits          how many leading bits of a hash value all its keys share
//! 108 int    count                occupied slots
//! 112 slots of { int hash, 4 bytes of the key, offset address, int key_size, int data_size }
//! ```

use super::format::Expected::{Exactly, Within};
use super::format::{HASH_BITS, Mismatch, check, check_size, int, offset, rest, signed};
use super::free::FreeSpace;
use super::header::{BUCKET_FIXED, Header, SLOT};

/// Entries of a bucket's own table of free space.
const FREE_ENTRIES: i64 = 6;
/// The hash value of an empty slot.
const VACANT: i64 = -1;

/// Where the bits and the count are in a bucket.
pub(super) const BITS: i64 = 104;

/// Returns the two numbers at [`BITS`]: how many bits all keys share, and how many slots are occupied.
pub(super) fn bits_and_count(numbers: &[u8; 8]) -> (i64, i64) {
    (int(numbers, 0), int(numbers, 4))
}

/// What the directory and the file say about one bucket.
pub(super) struct BucketLocation<'a> {
    pub(super) header: &'a Header,
    pub(super) address: i64,
    /// Its first entry in the directory, and how many entries name it.
    pub(super) entry: i64,
    pub(super) entries: i64,
    /// The file's length.
    pub(super) length: i64,
}

/// An occupied slot of a bucket.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) hash: i64,
    /// Where the key is; the value follows it.
    pub(super) address: i64,
    key_size: i64,
    value_size: i64,
}

impl Slot {
    fn parse(slot: &[u8]) -> Self {
        let (key_size, value_size) = (int(slot, 16), int(slot, 20));
        Self { hash: int(slot, 0), address: offset(slot, 8), key_size, value_size }
    }

    /// Returns the sizes of the key and the value.
    pub(super) fn sizes(&self, length: i64) -> Result<[usize; 2], Mismatch> {
        let key = check_size("the size of a key", self.key_size, Within(0, length))?;
        Ok([key, check_size("the size of a value", self.value_size, Within(0, length))?])
    }
}

impl BucketLocation<'_> {
    /// Checks that the bucket lies within the file, so that it can be read.
    pub(super) fn check_address(&self) -> Result<(), Mismatch> {
        let last = self.length - signed(self.header.bucket_size);
        check("its address", self.address, Within(signed(self.header.block_size), last))
    }

    /// Returns the location of the whole bucket, given that of one of its directory entries.
    pub(super) fn whole(self, bucket: &[u8]) -> Result<Self, Mismatch> {
        let (bits, all) = (int(bucket, 104), self.header.directory_bits);
        check("bucket_bits", bits, Within(0, all))?;
        let entries = 1 << (all - bits);
        Ok(Self { entry: self.entry - self.entry % entries, entries, ..self })
    }

    /// Checks a bucket by itself, and adds its free space to the file's.
    pub(super) fn check(&self, bucket: &[u8], free: &mut FreeSpace) -> Result<(), Mismatch> {
        self.check_fixed(bucket, free)?;
        let mut occupied = 0;
        for slot in self.occupied(bucket) {
            self.check_slot(slot)?;
            occupied += 1;
        }
        check("count", int(bucket, 108), Exactly(occupied))
    }

    /// Returns whether a recovery finds a record in the bucket: for that, libgdbm must accept the bucket, but
    /// does not use its count. A small file whose only bucket has a wrong count can be recovered, too.
    pub(super) fn has_records(&self, bucket: &[u8]) -> bool {
        let slots = signed(self.header.bucket_slots);
        let fixed = self.check_fixed(bucket, &mut FreeSpace::default());
        let count = fixed.and_then(|()| check("count", int(bucket, 108), Within(0, slots)));
        count.is_ok() && self.occupied(bucket).any(|slot| self.check_slot(slot).is_ok())
    }

    /// Checks what precedes the slots except for their count, and adds the bucket's free space to the file's.
    pub(super) fn check_fixed(&self, bucket: &[u8], free: &mut FreeSpace) -> Result<(), Mismatch> {
        let count = check_size("av_count", int(bucket, 0), Within(0, FREE_ENTRIES))?;
        self.header.read_free_entries(rest(bucket, 8), count, free)?;
        self.check_bits(int(bucket, 104))
    }

    /// Checks that neither the bucket nor one of its keys lies in free space.
    pub(super) fn check_used(&self, bucket: &[u8], free: &FreeSpace) -> Result<(), Mismatch> {
        free.check_used("its address", self.address, signed(bucket.len()))?;
        self.occupied(bucket).try_for_each(|slot| {
            free.check_used("the address of a key", slot.address, slot.key_size + slot.value_size)
        })
    }

    /// Returns the occupied slots.
    pub(super) fn occupied<'b>(&self, bucket: &'b [u8]) -> impl Iterator<Item = Slot> + use<'b> {
        let slots = rest(bucket, BUCKET_FIXED).chunks_exact(SLOT).take(self.header.bucket_slots);
        slots.map(Slot::parse).filter(|slot| slot.hash != VACANT)
    }

    /// Checks that the directory names the bucket once for each value of the bits that the bucket leaves
    /// open.
    fn check_bits(&self, bits: i64) -> Result<(), Mismatch> {
        let all = self.header.directory_bits;
        check("bucket_bits", bits, Within(0, all))?;
        let span = 1 << (all - bits);
        check("the number of its directory entries", self.entries, Exactly(span))?;
        check("its first directory entry, by that number,", self.entry % span, Exactly(0))
    }

    /// Checks that an occupied slot belongs into this bucket, and names a key and a value within the file.
    pub(super) fn check_slot(&self, slot: Slot) -> Result<(), Mismatch> {
        check("a hash value", slot.hash, Within(0, (1 << HASH_BITS) - 1))?;
        let entry = slot.hash >> (HASH_BITS - self.header.directory_bits);
        let entries = Within(self.entry, self.entry + self.entries - 1);
        check("the directory entry of a hash value", entry, entries)?;
        slot.sizes(self.length)?;
        let last = self.length.saturating_sub(slot.key_size).saturating_sub(slot.value_size);
        check("the address of a key", slot.address, Within(signed(self.header.block_size), last))
    }
}
