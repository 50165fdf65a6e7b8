//! Every key and value of a database, while it is written to.
//!
//! libgdbm's own walk goes from key to key. A bucket that is split or has a key removed meanwhile has its keys in other
//! places, and the walk misses some. So this one reads the file: bucket by bucket, each whole and at one moment, in the
//! order of the hash values. Buckets are split but never joined, so where the one before ended another begins.
//!
//! What libgdbm wrote is in the file's pages when a call of it returns, and where the file is mapped, those are the pages
//! that are read here.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::vec;

use pyzord_core::StoreFailure;

use super::bucket::Place;
use super::free::FreeSpace;
use super::header::{self, HASH_BITS, Header, Mismatch, OFFSET, int, offset, signed};
use super::inspect::{Hopeless, block};
use super::shared::Shared;

/// The hash value behind the last one.
const END: i64 = 1 << HASH_BITS;
/// About how many keys are read at once; requests wait meanwhile. A bucket of a file with large blocks has thousands.
const SOME: usize = 128;

/// All keys and values of a [`Gdbm`](super::Gdbm), in no order. It ends after the first failure.
///
/// Each key that is there all the time comes once; one that is stored or removed meanwhile, at most once.
#[derive(Debug)]
pub struct Entries {
    shared: Arc<Shared>,
    /// What is left of what was read last.
    read: vec::IntoIter<Entry>,
    /// The first hash value that was not read yet.
    next: i64,
    failed: bool,
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

impl Entries {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, read: Vec::new().into_iter(), next: 0, failed: false }
    }

    /// Goes on where it failed.
    pub(super) fn again(self) -> Self {
        Self { failed: false, ..self }
    }

    fn read_on(&mut self) -> Result<(), StoreFailure> {
        let from = self.next;
        // What has to come from the disk is there the second time, when requests wait.
        let file = self.shared.with(|engine| Ok(Arc::clone(&engine.file)))?;
        let _ = some(&file, from);
        let (entries, next) = self.shared.with(|engine| {
            if engine.damaged {
                return Err(StoreFailure::new(format!(
                    "database {}: it is damaged, and not recovered yet",
                    engine.name()
                )));
            }
            let read = some(&engine.file, from);
            read.map_err(|broken| StoreFailure::new(format!("database {}: {broken}", engine.name())))
        })?;
        (self.read, self.next) = (entries.into_iter(), next);
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StoreFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.read.next() {
                return Some(Ok(entry));
            }
            if self.failed || self.next >= END {
                return None;
            }
            if let Err(failure) = self.read_on() {
                self.failed = true;
                return Some(Err(failure));
            }
        }
    }
}

/// The keys and values of the bucket that a hash value belongs to, from that value on and not too many, and the first
/// hash value behind them.
fn some(file: &File, from: i64) -> Result<(Vec<Entry>, i64), Broken> {
    let length = file.metadata()?.len();
    // The directory may be the last thing in the file, if only for a moment; libgdbm would not open it so.
    let header = Header::parse(&block(file, 0, header::LENGTH)?, length.saturating_add(1))?;
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let shift = HASH_BITS - header.directory_bits;
    let entry = from >> shift;
    let address = header.directory.saturating_add(entry.unsigned_abs() * signed(OFFSET).unsigned_abs());
    let address = offset(&block(file, address, OFFSET)?, 0);
    let place = Place { header: &header, address, entry, entries: 1, length };
    let damaged = |mismatch| Broken::Bucket(address, mismatch);
    place.check_address().map_err(damaged)?;
    let bytes = block(file, address.unsigned_abs(), header.bucket_size)?;
    let place = place.whole(&bytes).map_err(damaged)?;
    place.check(&bytes, &mut FreeSpace::default()).map_err(damaged)?;
    let hash = |slot: &[u8]| int(slot, 0);
    let mut slots: Vec<&[u8]> = place.occupied(&bytes).filter(|slot| hash(slot) >= from).collect();
    slots.sort_unstable_by_key(|slot| hash(slot));
    // Keys of one hash value are read together.
    let next = slots.get(SOME).map_or((place.entry + place.entries) << shift, |slot| hash(slot) + 1);
    let entries = slots.into_iter().take_while(|slot| hash(slot) < next).map(|slot| read(file, slot));
    Ok((entries.collect::<io::Result<_>>()?, next))
}

/// The key and the value that a slot names.
fn read(file: &File, slot: &[u8]) -> io::Result<Entry> {
    let size = |at| usize::try_from(int(slot, at)).unwrap_or(0);
    let mut key = block(file, offset(slot, 8).unsigned_abs(), size(16) + size(20))?;
    let value = key.split_off(size(16));
    Ok((key, value))
}

/// Why a bucket cannot be read.
#[derive(Debug)]
enum Broken {
    File(Hopeless),
    /// Its address in the file, and what is wrong with it.
    Bucket(i64, Mismatch),
}

impl<E: Into<Hopeless>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(hopeless) => hopeless.fmt(f),
            Self::Bucket(address, mismatch) => write!(f, "in its bucket at {address}, {mismatch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use pyzord_core::{Digest, Record};

    use super::super::Gdbm;

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
            Event::Reorganize => store.shared.alone(super::super::Engine::reorganize).unwrap(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// libgdbm's walk, from one key to the next, missed keys when their bucket was split or lost a key meanwhile.
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
