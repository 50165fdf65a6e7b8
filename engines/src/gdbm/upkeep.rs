//! Upkeep of an engine that serves meanwhile: syncs, the mapping, expiry and recovery.

use std::sync::{Arc, MutexGuard};

use pyzord_core::{Progress, StoreFailure, UnixTime};

use super::engine::FileEngine;
use super::error::FileError;
use super::expire::Slice;
use super::mapping::Mapping;
use super::rewrite;
use super::shared::SharedEngine;

impl SharedEngine {
    /// Writes to the disk what changed since the last sync.
    pub(super) fn sync(&self) -> Result<(), StoreFailure> {
        let syncing = self.lock_sync();
        if self.with(|engine| Ok(engine.file.dirty))? {
            self.write_out(&syncing)?;
        }
        drop(syncing);
        self.settle_mapping()
    }

    /// Removes the expired records of one slice, and ends the round with the last slice.
    pub(super) fn expire(&self, limit: UnixTime) -> Result<Progress, StoreFailure> {
        if self.with(|engine| Ok(engine.round.is_removing() && engine.file.mapping == Mapping::Mapped))? {
            self.settle_mapping()?;
        }
        match self.with(|engine| engine.expire(limit))? {
            Slice::More => Ok(Progress::More),
            Slice::Last { worth_reorganizing: false } => Ok(Progress::Done),
            Slice::Last { worth_reorganizing: true } => self.reorganize().map(|()| Progress::Done),
        }
    }

    /// Replaces the file by a smaller one.
    pub(super) fn reorganize(&self) -> Result<(), StoreFailure> {
        self.with(|engine| engine.with_file(rewrite::reorganize))
    }

    /// Recovers the database if an error while serving made that necessary.
    pub(super) fn recover_once(&self) -> Result<(), StoreFailure> {
        if self.with(FileEngine::must_recover)? { self.with(FileEngine::recover) } else { Ok(()) }
    }

    /// Maps the file, or removes its mapping, as is best now.
    ///
    /// libgdbm syncs the file before it changes this. So the file is synced before without the lock, twice,
    /// as it is written meanwhile: libgdbm then has little left to sync, and requests that wait for the
    /// engine do not wait for the disk.
    fn settle_mapping(&self) -> Result<(), StoreFailure> {
        if self.with(|engine| Ok(engine.file.wanted_mapping(engine.round.is_removing())))?.is_none() {
            return Ok(());
        }
        let syncing = self.lock_sync();
        self.write_out(&syncing)?;
        self.write_out(&syncing)?;
        self.with(|engine| {
            let removing = engine.round.is_removing();
            engine.with_file(|file| file.change_mapping(removing))
        })
    }

    /// Syncs the file without the engine's lock.
    ///
    /// libgdbm's own sync keeps the engine until the disk is done, however slow it is. But what libgdbm wrote
    /// is in the file's pages when its call returns, through a shared mapping or a system call, and a sync of
    /// any descriptor of the file writes them to the disk. Requests go on meanwhile; the next sync writes
    /// what they change.
    fn write_out(&self, _syncing: &MutexGuard<'_, ()>) -> Result<(), StoreFailure> {
        let file = self.with(|engine| {
            engine.file.dirty = false;
            Ok(Arc::clone(&engine.file.descriptor))
        })?;
        let Err(error) = file.sync_data() else { return Ok(()) };
        self.with(|engine| {
            engine.file.dirty = true;
            engine.with_file(|_| Err(FileError::Sync(error)))
        })
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::{Digest, Record};

    use super::super::mapping::LARGEST;
    use super::super::open::open;
    use super::*;
    use crate::access::Access;

    fn shared(folder: &tempfile::TempDir) -> SharedEngine {
        let file = open(&folder.path().join("pyzord.db"), Access::Create).unwrap();
        SharedEngine::new(FileEngine::new(file))
    }

    /// Each time the file grew, libgdbm mapped all of it anew: while much was removed from 300 MB, that made
    /// requests wait for 40 ms.
    #[test]
    fn a_file_is_not_mapped_while_expired_records_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        let mut old = Record::default();
        old.reports.updated = Some(UnixTime::from_seconds(1000));
        for number in 0..200 {
            shared.lock().unwrap().file.put(Digest::new([number; 20]), &old).unwrap();
        }
        let is_mapped = || shared.lock().unwrap().file.database.is_mapped();
        let (mut slices, mut mapped) = (0, is_mapped());
        assert!(mapped);
        while shared.expire(UnixTime::from_seconds(2000)).unwrap() == Progress::More {
            let removing = shared.lock().unwrap().round.is_removing();
            // The slice after the last one that collects is the first that removes.
            assert!(mapped || !is_mapped());
            mapped = !removing && is_mapped();
            slices += 1;
        }
        assert!(slices > 4 && !is_mapped());
        assert_eq!(shared.lock().unwrap().file.count, Some(0));
        shared.sync().unwrap();
        assert!(is_mapped());
    }

    /// The first sync unmapped it, and kept every request waiting until the disk had all of a file that had
    /// just been copied.
    #[test]
    fn a_large_file_is_never_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let large = vec![0; usize::try_from(LARGEST).unwrap()];
        shared(&folder).lock().unwrap().file.database.store(b"no digest", &large).unwrap();
        let shared = shared(&folder);
        for _ in 0..2 {
            let mut engine = shared.lock().unwrap();
            assert_eq!((engine.file.database.is_mapped(), engine.file.mapping), (false, Mapping::Unmapped));
            engine.file.put(Digest::new([1; 20]), &Record::default()).unwrap();
            drop(engine);
            shared.sync().unwrap();
        }
    }

    /// libgdbm goes on without a mapping when the system has none. Asked for one again, it crashed at the
    /// next read.
    #[test]
    fn a_mapping_that_libgdbm_gave_up_is_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        shared.lock().unwrap().file.database.map(false).unwrap();
        shared.sync().unwrap();
        let mut engine = shared.lock().unwrap();
        assert_eq!(engine.file.mapping, Mapping::Refused);
        assert!(!engine.file.database.is_mapped());
    }
}
