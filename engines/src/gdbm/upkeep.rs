//! Upkeep of an engine that serves meanwhile: syncs, the mapping, expiry and recovery.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use pyzord_core::{Progress, StoreFailure, UnixTime};

use super::engine::FileEngine;
use super::error::FileError;
use super::expire::Slice;
use super::mapping::Mapping;
use super::rewrite;
use super::shared::SharedEngine;

/// How long a sync may take before libgdbm does one that requests wait for.
const BRIEF: Duration = Duration::from_millis(100);
/// How many syncs are tried before that.
const ATTEMPTS: u32 = 3;

impl SharedEngine {
    /// Writes to the disk what changed since the last sync, and maps the file or not, as suits what was done since then.
    pub(super) fn sync(&self) -> Result<(), StoreFailure> {
        let syncing = self.lock_sync();
        if self.with(|engine| Ok(engine.file.dirty))? {
            self.write_out(&syncing)?;
        }
        drop(syncing);
        self.with(|engine| Ok(engine.file.judge_growth()))?;
        self.settle_mapping()
    }

    /// Maps the file, or removes its mapping, if what was done since the last judgement asks for that. If the disk does
    /// not keep up, the next sync tries again.
    pub(super) fn judge_mapping(&self) -> Result<(), StoreFailure> {
        if self.with(|engine| Ok(engine.file.judge_growth()))? { self.settle_mapping() } else { Ok(()) }
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
    /// libgdbm syncs the file before it changes this, with the engine's lock held. So the file is synced before without
    /// the lock, again and again, as it is written meanwhile: libgdbm then has little left to sync. On a disk that does
    /// not keep up with what clients write, the mapping stays as it is, and the next judgement tries again.
    fn settle_mapping(&self) -> Result<(), StoreFailure> {
        let wanted = |engine: &mut FileEngine| {
            let removing = engine.round.is_removing();
            Ok((removing, engine.file.wanted_mapping(removing)))
        };
        let (removing, Some(_)) = self.with(wanted)? else { return Ok(()) };
        let syncing = self.lock_sync();
        self.write_out(&syncing)?;
        if !self.write_out_briefly(&syncing)? && !removing {
            return Ok(());
        }
        self.with(|engine| {
            let removing = engine.round.is_removing();
            engine.with_file(|file| file.change_mapping(removing))
        })
    }

    /// Syncs the file without the engine's lock until a sync is brief, as the next one is then. Returns whether it was.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounds what requests wait for; records never see this clock"
    )]
    fn write_out_briefly(&self, syncing: &MutexGuard<'_, ()>) -> Result<bool, StoreFailure> {
        for _ in 0..ATTEMPTS {
            let began = Instant::now();
            self.write_out(syncing)?;
            if began.elapsed() <= BRIEF {
                return Ok(true);
            }
        }
        Ok(false)
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
    use std::ops::Range;

    use pyzord_core::{Digest, Record};

    use super::super::mapping::LARGEST;
    use super::super::open::open;
    use super::super::store::Gdbm;
    use super::*;
    use crate::access::Access;
    use crate::record_store::RecordStore;

    /// Opens a database that exists, and is mapped if it is not too large.
    fn shared(folder: &tempfile::TempDir) -> SharedEngine {
        let path = folder.path().join("pyzord.db");
        drop(open(&path, Access::Create).unwrap());
        SharedEngine::new(FileEngine::new(open(&path, Access::Create).unwrap()))
    }

    fn is_mapped(shared: &SharedEngine) -> bool {
        shared.lock().unwrap().file.database.is_mapped()
    }

    fn digest(number: u32) -> Digest {
        let mut bytes = [0; 20];
        for (rotated, chunk) in (0..).step_by(5).zip(bytes.chunks_mut(4)) {
            chunk.copy_from_slice(
                &(number + 1).wrapping_mul(0x9e37_79b9_u32.rotate_left(rotated)).to_be_bytes(),
            );
        }
        Digest::new(bytes)
    }

    fn put(shared: &SharedEngine, numbers: Range<u32>) {
        let mut engine = shared.lock().unwrap();
        numbers.for_each(|number| engine.file.put(digest(number), &Record::default()).unwrap());
    }

    /// Reads records until a sync maps the file. Returns the number of syncs.
    fn syncs_until_mapped(shared: &SharedEngine, records: u32) -> Option<u32> {
        (1..100).find(|_| {
            for number in 0..records {
                let value = shared.lock().unwrap().file.fetch(&digest(number).hex()).unwrap();
                assert!(value.is_some(), "{number}");
            }
            shared.sync().unwrap();
            is_mapped(shared)
        })
    }

    /// A report of a new digest took twice the time of another one, and page faults slowed all calls beside it.
    #[test]
    fn a_file_is_not_mapped_while_it_grows() {
        const RECORDS: u32 = 3000;
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        for round in 0..3 {
            assert!(is_mapped(&shared));
            put(&shared, round * RECORDS..(round + 1) * RECORDS);
            assert!(is_mapped(&shared), "a request does not wait for the disk");
            shared.sync().unwrap();
            assert!(!is_mapped(&shared));
            let again = syncs_until_mapped(&shared, (round + 1) * RECORDS);
            assert!(again >= Some(12), "mapped again after {again:?} syncs");
            // The next change must wait as long.
            (0..12).for_each(|_| shared.sync().unwrap());
        }
        assert_eq!(shared.lock().unwrap().file.recount().unwrap(), u64::from(3 * RECORDS));
    }

    #[test]
    fn a_new_file_is_mapped_once_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("pyzord.db"), Access::Create).unwrap();
        let shared = SharedEngine::new(FileEngine::new(file));
        for number in 0..3 {
            put(&shared, number * 3000..(number + 1) * 3000);
            shared.sync().unwrap();
            assert!(!is_mapped(&shared));
        }
        assert!(syncs_until_mapped(&shared, 9000).is_some());
    }

    /// A migration syncs the file only when it has stored all.
    #[test]
    fn a_file_is_not_mapped_during_a_migration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        drop(open(&path, Access::Create).unwrap());
        let mut gdbm = Gdbm::open(&path).unwrap();
        let records: Vec<_> = (0..6000).map(|number| (digest(number), Record::default())).collect();
        let mut mapped = vec![is_mapped(&gdbm.shared)];
        for slice in records.chunks(500) {
            let mut results = Vec::new();
            RecordStore::put(&mut gdbm, slice, &mut results);
            assert!(results.iter().all(Result::is_ok));
            mapped.push(is_mapped(&gdbm.shared));
        }
        assert!(mapped[0] && mapped[6..].iter().all(|mapped| !mapped), "{mapped:?}");
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
        let is_mapped = || is_mapped(&shared);
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
