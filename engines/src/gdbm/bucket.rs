//! One bucket of a gdbm file: a hash table of slots, each naming a key and its value.
//!
//! ```text
//! 0   int    av_count             free space of its own, up to 6 entries
//! 8   entries of { int size, offset address }
//! 104 int    bucket_bits          how many leading bits of a hash value all its keys share
//! 108 int    count                occupied slots
//! 112 slots of { int hash, 4 bytes of the key, offset address, int key_size, int data_size }
//! ```

use super::free::FreeSpace;
use super::header::{
    BUCKET_FIXED, HASH_BITS, Header, Mismatch, Rule, SLOT, check, int, offset, read_free, signed,
};

/// Entries of a bucket's own table of free space.
const FREE_ENTRIES: i64 = 6;
/// A slot's hash value when the slot is empty.
const VACANT: i64 = -1;

/// What the directory and the file say about one bucket.
pub(super) struct Place<'a> {
    pub(super) header: &'a Header,
    pub(super) address: i64,
    /// Its first entry in the directory, and how many name it.
    pub(super) entry: i64,
    pub(super) entries: i64,
    /// The file's length.
    pub(super) length: i64,
}

impl Place<'_> {
    /// A bucket's address must be one; its bytes can be read then.
    pub(super) fn check_address(&self) -> Result<(), Mismatch> {
        let last = self.length - signed(self.header.bucket_size);
        check("its address", self.address, Rule::Within(signed(self.header.block_size), last))
    }

    /// The place of the whole bucket, of which this is one entry of the directory.
    pub(super) fn whole(self, bucket: &[u8]) -> Result<Self, Mismatch> {
        let (bits, all) = (int(bucket, 104), i64::from(self.header.directory_bits));
        check("bucket_bits", bits, Rule::Within(0, all))?;
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
        check("count", int(bucket, 108), Rule::Exactly(occupied))
    }

    /// Whether a recovery finds a record in it: libgdbm must take it for a bucket then, but does not use its count.
    /// The only bucket of a small file must not be given up for that.
    pub(super) fn has_records(&self, bucket: &[u8]) -> bool {
        let slots = i64::try_from(self.header.bucket_slots).unwrap_or(i64::MAX);
        let fixed = self.check_fixed(bucket, &mut FreeSpace::default());
        let count = fixed.and_then(|()| check("count", int(bucket, 108), Rule::Within(0, slots)));
        count.is_ok() && self.occupied(bucket).any(|slot| self.check_slot(slot).is_ok())
    }

    /// Checks what stands before the slots, but for their count, and adds the bucket's free space to the file's.
    fn check_fixed(&self, bucket: &[u8], free: &mut FreeSpace) -> Result<(), Mismatch> {
        let count = int(bucket, 0);
        check("av_count", count, Rule::Within(0, FREE_ENTRIES))?;
        read_free(bucket.get(8..).unwrap_or_default(), count, self.header, free)?;
        self.check_bits(int(bucket, 104))
    }

    /// Checks that neither the bucket nor a key of it lies in free space.
    pub(super) fn check_used(&self, bucket: &[u8], free: &FreeSpace) -> Result<(), Mismatch> {
        free.check_used("its address", self.address, signed(bucket.len()))?;
        self.occupied(bucket).try_for_each(|slot| {
            let size = int(slot, 16) + int(slot, 20);
            free.check_used("the address of a key", offset(slot, 8), size)
        })
    }

    /// The slots that name a key.
    pub(super) fn occupied<'b>(&self, bucket: &'b [u8]) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let slots = bucket.get(BUCKET_FIXED..).unwrap_or_default();
        slots.chunks_exact(SLOT).take(self.header.bucket_slots).filter(|slot| int(slot, 0) != VACANT)
    }

    /// The directory must name a bucket once for each value of the bits that the bucket leaves open.
    fn check_bits(&self, bits: i64) -> Result<(), Mismatch> {
        let all = i64::from(self.header.directory_bits);
        check("bucket_bits", bits, Rule::Within(0, all))?;
        let span = 1 << (all - bits);
        check("the number of its directory entries", self.entries, Rule::Exactly(span))?;
        check("its first directory entry, by that number,", self.entry % span, Rule::Exactly(0))
    }

    /// An occupied slot must belong into this bucket, and name a key and a value within the file.
    fn check_slot(&self, slot: &[u8]) -> Result<(), Mismatch> {
        let (hash, address, key, value) = (int(slot, 0), offset(slot, 8), int(slot, 16), int(slot, 20));
        check("a hash value", hash, Rule::Within(0, (1 << HASH_BITS) - 1))?;
        let entry = hash >> (HASH_BITS - self.header.directory_bits);
        let entries = Rule::Within(self.entry, self.entry + self.entries - 1);
        check("the directory entry of a hash value", entry, entries)?;
        check("the size of a key", key, Rule::Within(0, self.length))?;
        check("the size of a value", value, Rule::Within(0, self.length))?;
        let last = self.length.saturating_sub(key).saturating_sub(value);
        check("the address of a key", address, Rule::Within(signed(self.header.block_size), last))
    }
}
