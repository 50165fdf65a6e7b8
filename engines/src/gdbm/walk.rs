//! Reads every key and value of a database that is written to meanwhile.
//!
//! libgdbm's own walk goes from key to key. If a bucket is split or loses a key meanwhile, its keys move, and
//! the walk misses some. So this walk reads the file itself, in the order of the hash values: each bucket
//! whole and at one moment. Buckets are split but never joined, so each ends where another begins.
//!
//! What libgdbm wrote is in the file's pages when its call returns. These are the pages that are read here,
//! mapped or not.

use std::fs::File;
use std::sync::Arc;
use std::vec;

use pyzord_core::StoreFailure;

use super::bucket::{BucketLocation, Slot};
use super::error::FileError;
use super::format::{self, HASH_BITS, Mismatch, OFFSET, block, offset, signed};
use super::free::FreeSpace;
use super::header::{self, Header};
use super::inspect::{Damage, InspectError};
use super::shared::SharedEngine;

/// The hash value after the last one.
const END: i64 = 1 << HASH_BITS;
/// About how many keys are read at once. Requests wait meanwhile, and a bucket of a file with large blocks
/// has thousands of keys.
const SLICE: usize = 128;

/// All keys and values of a [`Gdbm`](super::Gdbm), in no order. Ends after the first failure.
///
/// A key that exists during the whole walk is returned once; one that is stored or removed meanwhile, at most
/// once.
#[derive(Debug)]
pub struct Entries {
    shared: Arc<SharedEngine>,
    /// The rest of the last slice.
    slice: vec::IntoIter<KeyValue>,
    /// The first hash value that is not read yet.
    next: i64,
    failed: bool,
}

/// A key and its value.
type KeyValue = (Vec<u8>, Vec<u8>);

impl Entries {
    pub(super) fn new(shared: Arc<SharedEngine>) -> Self {
        Self { shared, slice: Vec::new().into_iter(), next: 0, failed: false }
    }

    /// Returns a walk that goes on where this one failed.
    pub(super) fn resumed(self) -> Self {
        Self { failed: false, ..self }
    }

    fn read_slice(&mut self) -> Result<(), StoreFailure> {
        let from = self.next;
        let file = self.shared.with(|engine| Ok(Arc::clone(&engine.file.descriptor)))?;
        // Brings the pages into memory, so that requests do not wait for the disk in the second read. That
        // one reports any error.
        drop(read_slice(&file, from));
        let (slice, next) = self.shared.with(|engine| {
            engine.check_damage()?;
            engine.with_file(|file| read_slice(&file.descriptor, from))
        })?;
        (self.slice, self.next) = (slice.into_iter(), next);
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<KeyValue, StoreFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.slice.next() {
                return Some(Ok(entry));
            }
            if self.failed || self.next >= END {
                return None;
            }
            if let Err(failure) = self.read_slice() {
                self.failed = true;
                return Some(Err(failure));
            }
        }
    }
}

/// The walk of a scan that takes several calls. A clone begins a walk of its own.
#[derive(Debug, Default)]
pub(super) struct Scan(Option<Entries>);

impl Scan {
    /// Returns the walk that is under way.
    pub(super) fn take(&mut self) -> Option<Entries> {
        self.0.take()
    }

    /// Keeps a walk for the next call.
    pub(super) fn pause(&mut self, walk: Entries) {
        self.0 = Some(walk);
    }
}

impl Clone for Scan {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Reads keys and values of the bucket that the hash value `from` belongs to: those with this hash value or a
/// larger one, but about a slice at most. Returns them, and the first hash value that was not read.
fn read_slice(file: &File, from: i64) -> Result<(Vec<KeyValue>, i64), FileError> {
    let length = format::length(file)?;
    let header = Header::parse(&block(file, 0, header::LENGTH)?, length);
    let header = header.map_err(InspectError::Header)?;
    let shift = HASH_BITS - header.directory_bits;
    let entry = from >> shift;
    let address = offset(&block(file, header.directory.saturating_add(entry * signed(OFFSET)), OFFSET)?, 0);
    let location = BucketLocation { header: &header, address, entry, entries: 1, length };
    let damaged = |mismatch: Mismatch| Damage::Bucket { address, mismatch };
    location.check_address().map_err(damaged)?;
    let bytes = block(file, address, header.bucket_size)?;
    let location = location.whole(&bytes).map_err(damaged)?;
    location.check(&bytes, &mut FreeSpace::default()).map_err(damaged)?;
    let mut slots: Vec<Slot> = location.occupied(&bytes).filter(|slot| slot.hash >= from).collect();
    slots.sort_unstable_by_key(|slot| slot.hash);
    // Keys with the same hash value are read together.
    let next = slots.get(SLICE).map_or((location.entry + location.entries) << shift, |slot| slot.hash + 1);
    let entries = slots.into_iter().take_while(|slot| slot.hash < next);
    let read = |slot: Slot| {
        let [key, value] = slot.sizes(length).map_err(damaged)?;
        let mut key_and_value = block(file, slot.address, key + value)?;
        let value = key_and_value.split_off(key);
        Ok((key_and_value, value))
    };
    Ok((entries.map(read).collect::<Result<_, FileError>>()?, next))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use pyzord_core::{Digest, Record};

    use super::super::store::Gdbm;

    fn key(number: u16) -> Digest {
        let mut bytes = [0; 20];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Digest::new(bytes)
    }

    /// What happens between two steps of a walk.
    #[derive(Clone, Debug)]
    enum Event {
        Store(std::ops::Range<u16>),
        Remove(std::ops::Range<u16>),
        Reorganize,
    }

    fn event() -> impl Strategy<Value = Event> {
        let range = (0_u16..5000, 1_u16..600).prop_map(|(from, count)| from..from + count);
        prop_oneof![
            6 => range.clone().prop_map(Event::Store),
            6 => range.prop_map(Event::Remove),
            1 => Just(Event::Reorganize),
        ]
    }

    fn do_to(store: &Gdbm, event: Event) {
        match event {
            Event::Store(range) => {
                range.for_each(|number| store.put(key(number), &Record::default()).unwrap());
            }
            // The numbers that are divisible by 7 stay.
            Event::Remove(range) => range.filter(|number| number % 7 != 0).for_each(|number| {
                store.remove(&key(number).hex()).unwrap();
            }),
            Event::Reorganize => store.shared.reorganize().unwrap(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// libgdbm's walk, from one key to the next, missed keys when their bucket was split or lost a key
        /// meanwhile.
        #[test]
        fn what_is_there_all_the_time_is_found_once(
            at_first in 1_u16..3000,
            events in proptest::collection::vec((1_usize..400, event()), 0..12),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let store = Gdbm::open(&folder.path().join("pyzord.db")).unwrap();
            do_to(&store, Event::Store(0..at_first));
            let mut found = BTreeMap::<Vec<u8>, u32>::new();
            let mut walk = store.entries();
            for (steps, event) in events {
                for entry in walk.by_ref().take(steps) {
                    *found.entry(entry.unwrap().0).or_default() += 1;
                }
                do_to(&store, event);
            }
            walk.for_each(|entry| *found.entry(entry.unwrap().0).or_default() += 1);
            for number in (0..at_first).filter(|number| number % 7 == 0) {
                prop_assert_eq!(found.get(&key(number).hex()[..]), Some(&1), "{}", number);
            }
            prop_assert!(found.values().all(|times| *times == 1));
        }
    }
}
