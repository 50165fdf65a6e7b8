//! Whether a file has a place for one more key.
//!
//! libgdbm splits a full bucket by one more bit of the hash values, again and again until the new key fits, and doubles
//! the directory of buckets each time that its bits do not suffice. Keys with equal hash values can never be split: the
//! directory grows to gigabytes, then libgdbm refuses every call. As a client can write such keys, each new key is
//! judged before libgdbm sees it: one that would make the directory larger than the number of records justifies is
//! refused, and nothing else.

use std::fs::File;
use std::io;

use super::bucket::{self, BucketLocation};
use super::format::{self, HASH_BITS, OFFSET, array, block, offset, signed};
use super::hash::{common_bits, hash};
use super::header::{self, Header};

/// The directory may always have so many bits. It then has 512 KiB, and is written in a tenth of a millisecond.
const LEAST_BITS: i64 = 16;
/// How many more bits it may have than a directory with one entry for each full bucket. Digests of mails need two more
/// if a bucket has 16 slots, and one more if it has 166. libgdbm writes the whole directory at each split, so a larger
/// one makes every server slow.
const SPARE_BITS: i64 = 4;
/// libgdbm's limit, less one.
const MOST_BITS: i64 = 26;

/// Finds places for new keys of one file.
///
/// It must learn of each new key: then it knows when libgdbm moves the directory, and reads the header only after that.
#[derive(Debug, Default)]
pub(super) struct Places {
    header: Option<Header>,
    /// For each entry of the directory, how many keys can be stored into its bucket before it must be read again. The
    /// entries of one bucket share its free slots evenly. It is never too large: a bucket gains keys here only.
    free: Vec<u8>,
}

impl Places {
    /// Judges a key that the file does not have yet; the file has so many records. Returns how many bytes a split of
    /// its bucket adds to the file, 0 for none; `None` if there is no place for the key.
    pub(super) fn find(&mut self, file: &File, key: &[u8], records: u64) -> io::Result<Option<u64>> {
        let header = match &self.header {
            Some(header) => header,
            None => self.header.insert(read_header(file)?),
        };
        // A larger directory has other entries.
        if signed(self.free.len()) != 1 << header.directory_bits {
            self.free.clear();
            self.free.resize(1 << header.directory_bits, 0);
        }
        let hash = hash(key);
        let entry = hash >> (HASH_BITS - header.directory_bits);
        if take_one(&mut self.free, entry) {
            return Ok(Some(0));
        }
        let address = offset(&array::<OFFSET>(file, header.directory + entry * signed(OFFSET))?, 0);
        let bits_and_count = array(file, address.saturating_add(bucket::BITS))?;
        let (bits, count) = bucket::bits_and_count(&bits_and_count);
        let slots = signed(header.bucket_slots);
        // One entry for each value of the bits that the bucket leaves open.
        let entries = 1 << (header.directory_bits - bits).clamp(0, header.directory_bits);
        share(&mut self.free, entry, entries, slots - count);
        if count < slots {
            take_one(&mut self.free, entry);
            return Ok(Some(0));
        }
        let location = BucketLocation { header, address, entry, entries: 1, length: format::length(file)? };
        location.check_address().map_err(invalid)?;
        let bytes = block(file, address, header.bucket_size)?;
        let needed = bits_needed(location.occupied(&bytes).map(|slot| slot.hash), hash, bits, slots);
        if needed > most_bits(records, slots).max(header.directory_bits) {
            return Ok(None);
        }
        let directories: i64 = (header.directory_bits + 1..=needed).map(|bits| signed(OFFSET) << bits).sum();
        let buckets = 2 * (needed - bits).max(0) * signed(header.bucket_size);
        self.header = None;
        Ok(Some((directories + buckets).unsigned_abs()))
    }
}

/// Takes one of the free slots that an entry of the directory is known to have, and returns whether there was one.
fn take_one(free: &mut [u8], entry: i64) -> bool {
    let known = usize::try_from(entry).ok().and_then(|entry| free.get_mut(entry));
    known.is_some_and(|known| {
        let any = *known > 0;
        *known = known.saturating_sub(1);
        any
    })
}

/// Gives each of the entries of a bucket, of which `entry` is one, its share of the free slots.
fn share(free: &mut [u8], entry: i64, entries: i64, slots: i64) {
    let share = u8::try_from((slots / entries).clamp(0, u8::MAX.into())).unwrap_or_default();
    let first = entry - entry % entries;
    let range = usize::try_from(first).ok().zip(usize::try_from(first + entries).ok());
    if let Some(shared) = range.and_then(|(first, end)| free.get_mut(first..end)) {
        shared.fill(share);
    }
}

/// Returns how many bits a full bucket must be split by before it has a free slot for a hash value.
fn bits_needed(hashes: impl Iterator<Item = i64>, hash: i64, bits: i64, slots: i64) -> i64 {
    let mut common: Vec<i64> = hashes.map(|other| common_bits(hash, other)).collect();
    common.sort_unstable_by_key(|bits| -bits);
    // All but the last of as many as fill a bucket may stay with the new key.
    let last = usize::try_from(slots - 1).ok().and_then(|last| common.get(last));
    last.map_or(0, |common| common + 1).max(bits + 1)
}

/// Returns how many bits the directory of a file with so many records may have.
fn most_bits(records: u64, slots: i64) -> i64 {
    let buckets = records / slots.unsigned_abs().max(1);
    let full = i64::from(u64::BITS - buckets.leading_zeros());
    (full + SPARE_BITS).clamp(LEAST_BITS, MOST_BITS)
}

fn read_header(file: &File) -> io::Result<Header> {
    Header::parse(&block(file, 0, header::LENGTH)?, format::length(file)?).map_err(invalid)
}

/// libgdbm has read the same bucket just before, and found no damage.
fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use pyzord_core::{Digest, Now, Record, Store, StoreCall, StoreError, StoreOp, Task, Tick, UnixTime};

    use super::super::hash::tests::colliding;
    use super::super::open::open;
    use super::super::rewrite::{RewriteError, recover, reorganize};
    use super::super::store::Gdbm;
    use super::super::write_error::WriteError;
    use super::*;
    use crate::access::Access;

    /// The slots of a bucket in blocks of 4096 bytes.
    const SLOTS: usize = 166;
    const NOW: Now =
        Now { wall: UnixTime::from_seconds(1_704_800_000), tick: Tick::new(std::time::Duration::ZERO) };

    /// Returns digests whose hash values begin with so many zero bits. Fifty of them have one value.
    fn similar(bits: i64, count: usize) -> Vec<Digest> {
        let numbered = (0_u64..).map(|number| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            bytes[16..].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
            Digest::new(bytes).hex()
        });
        let begins = |hex: &[u8; 40]| hash(hex) >> (HASH_BITS - bits) == 0;
        let alike = |hex: [u8; 40]| {
            // Characters that are 24 apart are shifted alike.
            let swapped = move |bits: u32| {
                let mut hex = hex;
                (0..16).filter(|index| bits >> index & 1 == 1).for_each(|index| hex.swap(index, index + 24));
                hex
            };
            let all: BTreeSet<_> = (0..1 << 16).map(swapped).take(1000).collect();
            all.into_iter().take(50)
        };
        let found = numbered.filter(begins).flat_map(alike).take(count);
        found.map(|hex| Digest::parse(&hex).unwrap()).collect()
    }

    fn report(
        store: &mut Gdbm,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Vec<Result<Record, StoreError>> {
        let calls: Vec<_> =
            digests.into_iter().map(|digest| StoreCall::new(digest, StoreOp::Report)).collect();
        let mut answers = Vec::new();
        calls.chunks(7).for_each(|calls| store.execute(NOW, calls, &mut answers));
        answers
    }

    fn length(path: &Path) -> u64 {
        fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_bucket_is_split_until_the_new_key_fits() {
        let at = |bits: i64| 1 << (HASH_BITS - bits);
        // Keys that have 0, 3, 5 and all bits in common with the new one.
        for (slots, bits, needed) in [(4, 0, 1), (3, 0, 4), (2, 0, 6), (1, 0, 32), (4, 2, 3), (5, 7, 8)] {
            let hashes = [at(1), at(4), at(6), 0].into_iter();
            assert_eq!(bits_needed(hashes, 0, bits, slots), needed, "{slots} slots, {bits} bits");
        }
    }

    #[test]
    fn free_slots_are_shared_by_the_entries_of_a_bucket() {
        let mut free = vec![0; 8];
        share(&mut free, 6, 4, 11);
        assert_eq!(free, [0, 0, 0, 0, 2, 2, 2, 2]);
        assert_eq!([(); 3].map(|()| take_one(&mut free, 6)), [true, true, false]);
        share(&mut free, 1, 1, 1000);
        assert_eq!(free, [0, 255, 0, 0, 2, 2, 0, 2]);
        share(&mut free, 1, 2, 0);
        assert!(!take_one(&mut free, 0) && !take_one(&mut free, 1) && !take_one(&mut free, 8));
    }

    /// What is known of the buckets must not outlive a split or a removal.
    #[test]
    fn what_is_known_is_never_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(&folder.path().join("pyzord.db"), Access::Create).unwrap();
        for (number, digest) in similar(1, 6000).into_iter().enumerate() {
            file.put(digest, &Record::default()).unwrap();
            if number % 3 == 0 {
                file.remove(&digest.hex()).unwrap();
            }
            let header = read_header(&file.descriptor).unwrap();
            let entry = hash(&digest.hex()) >> (HASH_BITS - header.directory_bits);
            let at = header.directory + entry * signed(OFFSET);
            let address = offset(&array::<OFFSET>(&file.descriptor, at).unwrap(), 0);
            let (_, count) =
                bucket::bits_and_count(&array(&file.descriptor, address + bucket::BITS).unwrap());
            let known = file.places.free.get(usize::try_from(entry).unwrap()).copied().unwrap_or_default();
            assert!(i64::from(known) <= signed(header.bucket_slots) - count, "{number}: {known}");
        }
    }

    #[test]
    fn the_directory_is_bounded_by_the_number_of_records() {
        let bits = [0, 100_000, 1_000_000, 10_000_000, u64::MAX].map(|records| most_bits(records, 166));
        assert_eq!(bits, [16, 16, 17, 20, 26]);
    }

    /// 167 reports of digests with one hash value made libgdbm double its directory up to 1.6 GB, and then refuse every
    /// call of every client.
    #[test]
    fn only_what_collides_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        let mut store = Gdbm::open(&path).unwrap();
        for round in 0..2 {
            let answers = report(&mut store, colliding(300));
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), SLOTS);
            assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(StoreError::NoPlace)));
            assert!(report(&mut store, similar(0, 2000)).iter().all(Result::is_ok));
            store.upkeep(NOW, Task::Sync).unwrap();
            assert_eq!(store.record_count(NOW), Some(2000 + SLOTS as u64));
            assert!(length(&path) < 2 << 20, "{} bytes", length(&path));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was damaged");
            if round == 0 {
                drop(store);
                store = Gdbm::open(&path).unwrap();
            }
        }
        // A place that becomes free is used.
        let mut stored = colliding(300).filter(|digest| report(&mut store.clone(), [*digest])[0].is_ok());
        assert!(store.remove(&stored.next().unwrap().hex()).unwrap());
        let answers = report(&mut store, colliding(400).skip(300));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    }

    /// Hash values that are equal in 25 of 31 bits were all stored, in a file of 1 GB that did not open again.
    #[test]
    fn similar_hash_values_make_no_large_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        let mut store = Gdbm::open(&path).unwrap();
        let answers = report(&mut store, similar(LEAST_BITS, 200));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), SLOTS);
        assert!(report(&mut store, similar(1, 2000)).iter().all(Result::is_ok));
        assert!(length(&path) < 4 << 20, "{} bytes", length(&path));
        drop(store);
        Gdbm::open(&path).unwrap();
    }

    /// Python's server stores such keys, so a file may have more of them than a rewrite has places for.
    #[test]
    fn a_rewrite_does_not_grow_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        let mut file = open(&path, Access::Create).unwrap();
        for digest in similar(LEAST_BITS + 1, SLOTS + 30) {
            file.database.store(&digest.hex(), b"1,1,None,None,0,None,None").unwrap();
        }
        assert!(length(&path) > 1 << 20);
        let before = fs::read(&path).unwrap();
        assert!(matches!(reorganize(&mut file), Err(RewriteError::Write(WriteError::NoPlace))));
        assert!(fs::read(&path).unwrap() == before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        recover(&mut file).unwrap();
        assert_eq!(file.count, Some(SLOTS as u64));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the backup has all of them");
        assert!(length(&path) < 2 << 20);
    }
}
