//! Whether the file is mapped into memory.
//!
//! That saves two or three system calls for each record. But libgdbm lets a file grow by one block at a time and maps
//! all of it anew each time, which takes milliseconds for a large one.

use std::sync::{Arc, MutexGuard};

use pyzord_core::StoreFailure;
use rustix::process::{Resource, getrlimit};

use super::Engine;
use super::ffi::Database;
use super::shared::Shared;

/// Files up to this size are mapped.
const MAPPED: u64 = 256 << 20;

/// How libgdbm reads and writes the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mapping {
    Mapped,
    Unmapped,
    /// Unmapped for good: the system had no mapping when libgdbm wanted one. Asked to map the file once more, libgdbm
    /// takes the one that failed for one that is there, and reads from an address where there is nothing.
    Refused,
}

impl Mapping {
    /// Whether a file of this size should be mapped. Where a limit is set to the address space, as by `ulimit -v`, a
    /// mapping may be refused at any time, and libgdbm is not ready for that in all places.
    pub(super) fn suits(length: u64) -> bool {
        length <= MAPPED && getrlimit(Resource::As).current.is_none()
    }

    /// What came of it for a database that was just opened, or written anew by one that had `self`.
    pub(super) fn of(self, database: &mut Database) -> Self {
        match self {
            _ if database.is_mapped() => Self::Mapped,
            Self::Mapped => Self::Refused,
            unmapped => unmapped,
        }
    }
}

impl Engine {
    /// The change that is best for the file's size and what is done to it, if any: removing much makes libgdbm's lists of
    /// free space grow, and with them the file.
    fn wanted_mapping(&mut self) -> Option<Mapping> {
        // It gives a mapping up by itself when the system has no larger one.
        self.mapping = self.mapping.of(&mut self.database);
        let suits = self.file.metadata().is_ok_and(|metadata| Mapping::suits(metadata.len()));
        let wanted = if suits && !self.round.is_removing() { Mapping::Mapped } else { Mapping::Unmapped };
        (self.mapping != Mapping::Refused && self.mapping != wanted).then_some(wanted)
    }

    fn change_mapping(&mut self) -> Result<(), StoreFailure> {
        let Some(wanted) = self.wanted_mapping() else { return Ok(()) };
        match self.database.map(wanted == Mapping::Mapped) {
            Ok(()) => self.mapping = wanted,
            Err(fault) => {
                self.mapping = if wanted == Mapping::Mapped { Mapping::Refused } else { self.mapping };
                return Err(self.failure(&fault));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Has the file mapped or not, as is best now.
    ///
    /// libgdbm syncs the file before it changes this. So what was written is put on the disk before, without the lock,
    /// and again what was written meanwhile; and who waits for the engine then does not wait for the disk.
    pub(super) fn settle_mapping(&self) -> Result<(), StoreFailure> {
        if self.with(|engine| Ok(engine.wanted_mapping()))?.is_none() {
            return Ok(());
        }
        let syncing = self.sync_alone();
        self.write_out(&syncing)?;
        self.write_out(&syncing)?;
        self.alone(Engine::change_mapping)
    }

    /// Puts on the disk what was written.
    ///
    /// libgdbm's own sync keeps the engine until the disk is done, however slow it is. But all that libgdbm
    /// wrote is in the file's pages already, through a shared mapping or a call, and syncing any descriptor of the file
    /// writes those to the disk. So the requests go on meanwhile, and what they change is the next sync's.
    pub(super) fn write_out(&self, _syncing: &MutexGuard<'_, ()>) -> Result<(), StoreFailure> {
        let file = self.with(|engine| {
            engine.dirty = false;
            Ok(Arc::clone(&engine.file))
        })?;
        let Err(error) = file.sync_data() else { return Ok(()) };
        self.with(|engine| {
            engine.dirty = true;
            Err(StoreFailure::new(format!("database {}: syncing it failed: {error}", engine.name())))
        })
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::{Digest, Progress, Record, UnixTime};

    use super::super::open;
    use super::*;
    use crate::access::Access;

    fn shared(folder: &tempfile::TempDir) -> Shared {
        Shared::new(open::open(&folder.path().join("pyzord.db"), Access::Create).unwrap())
    }

    /// Each time the file grew, libgdbm mapped all of it anew: while much was removed from 300 MB, that made requests
    /// wait for 40 ms.
    #[test]
    fn a_file_is_not_mapped_while_expired_records_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        let mut old = Record::default();
        old.reports.updated = Some(UnixTime::from_seconds(1000));
        for number in 0..200 {
            shared.lock().unwrap().put(Digest::new([number; 20]), &old).unwrap();
        }
        let is_mapped = || shared.lock().unwrap().database.is_mapped();
        let (mut slices, mut mapped) = (0, is_mapped());
        assert!(mapped);
        while shared.expire(UnixTime::from_seconds(2000)).unwrap() == Progress::More {
            let removing = shared.lock().unwrap().round.is_removing();
            // What follows the notes of the last slice is the first that removes.
            assert!(mapped || !is_mapped());
            mapped = !removing && is_mapped();
            slices += 1;
        }
        assert!(slices > 4 && !is_mapped());
        assert_eq!(shared.lock().unwrap().records, Some(0));
        shared.sync().unwrap();
        assert!(is_mapped());
    }

    /// The first sync unmapped it, and kept every request waiting until the disk had all of a file that had just been
    /// copied.
    #[test]
    fn a_large_file_is_never_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let large = vec![0; usize::try_from(MAPPED).unwrap()];
        shared(&folder).lock().unwrap().database.store(b"no digest", &large).unwrap();
        let shared = shared(&folder);
        for _ in 0..2 {
            let mut engine = shared.lock().unwrap();
            assert_eq!((engine.database.is_mapped(), engine.mapping), (false, Mapping::Unmapped));
            engine.put(Digest::new([1; 20]), &Record::default()).unwrap();
            drop(engine);
            shared.sync().unwrap();
        }
    }

    /// libgdbm goes on without a mapping when the system has none. Asked for one again, it crashed at the next read.
    #[test]
    fn a_mapping_that_libgdbm_gave_up_is_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        shared.lock().unwrap().database.map(false).unwrap();
        shared.sync().unwrap();
        let mut engine = shared.lock().unwrap();
        assert_eq!(engine.mapping, Mapping::Refused);
        assert!(!engine.database.is_mapped());
    }
}
