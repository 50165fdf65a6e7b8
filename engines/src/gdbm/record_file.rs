//! An open gdbm file of records.

use std::fs::File;
use std::io;
use std::mem;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use pyzord_core::{Digest, Record};

use super::ffi::{Bytes, Database, GdbmError};
use super::growth::Growth;
use super::hash::hash;
use super::mapping::Mapping;
use super::place::Places;
use super::presence::{Away, FileId};
use super::room::Room;
use super::tail;
use super::write_error::WriteError;
use crate::codec::gdbm::{Unreadable, clear_counts, decode, encode, written_length};

/// Reads and writes records by their keys, and counts them. Syncs what was written when it is dropped.
#[derive(Debug)]
pub(super) struct RecordFile {
    pub(super) database: Database,
    path: PathBuf,
    zone: TimeZone,
    /// How many keys there are; `None` if counting them failed.
    pub(super) count: Option<u64>,
    /// The value to be written; kept for its memory.
    value: Vec<u8>,
    /// Something was written since the last sync.
    pub(super) dirty: bool,
    /// Another descriptor of the open file, to sync it without the engine's lock. It must be closed after the
    /// database: with a POSIX lock, closing any descriptor releases the lock. Fields are dropped in the order
    /// of their declaration.
    pub(super) descriptor: Arc<File>,
    pub(super) mapping: Mapping,
    growth: Growth,
    /// Which file it is, whatever its name.
    id: FileId,
    room: Room,
    pub(super) places: Places,
}

impl RecordFile {
    /// Takes over an open database. `asked` is the mapping that it was opened with: a file that was opened without one is
    /// new, or stays so.
    pub(super) fn new(
        path: PathBuf,
        mut database: Database,
        asked: Mapping,
        descriptor: File,
        count: u64,
    ) -> io::Result<Self> {
        let metadata = descriptor.metadata()?;
        Ok(Self {
            id: FileId::of(&metadata),
            growth: Growth::new(metadata.len(), asked == Mapping::Unmapped),
            mapping: asked.observed(&mut database),
            database,
            path,
            zone: TimeZone::system(),
            count: Some(count),
            value: Vec::new(),
            dirty: false,
            descriptor: Arc::new(descriptor),
            room: Room::default(),
            places: Places::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns why the path does not lead to this file, if it does not.
    pub(super) fn away(&self) -> Option<Away> {
        self.id.away_from(&self.path)
    }

    /// Fails if the path does not lead to this file.
    pub(super) fn check_presence(&self) -> Result<(), Away> {
        self.away().map_or(Ok(()), Err)
    }

    /// Returns the name of the database for logs: its path.
    pub(super) fn name(&self) -> path::Display<'_> {
        self.path.display()
    }

    /// Returns the zone of the local dates in the file.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Counts the keys, which reads every bucket.
    pub(super) fn recount(&mut self) -> Result<u64, GdbmError> {
        let counted = self.database.count();
        self.count = counted.as_ref().ok().copied();
        counted
    }

    /// Returns the value of a key.
    pub(super) fn fetch(&mut self, key: &[u8]) -> Result<Option<Bytes>, GdbmError> {
        let value = self.database.fetch(key)?;
        // libgdbm keeps the buckets in memory, and reads the file for a key that exists only.
        if value.is_some() {
            self.growth.count_read();
        }
        Ok(value)
    }

    /// Checks that there is room for a new record. Writes nothing.
    pub(super) fn probe(&mut self) -> Result<(), GdbmError> {
        self.room.check(&self.descriptor, 0).map_err(GdbmError::no_room)
    }

    /// Decodes a value.
    pub(super) fn decode(&self, value: &[u8]) -> Result<Record, Unreadable> {
        decode(value, &self.zone)
    }

    /// Stores a record, whether the digest has one or not.
    pub(super) fn put(&mut self, digest: Digest, record: &Record) -> Result<(), WriteError> {
        let length = self.fetch(&digest.hex())?.map(|value| value.len());
        self.replace(digest, length, record)
    }

    /// Stores a record. `length` is the length of the value that the digest has, or `None` if it has none.
    pub(super) fn replace(
        &mut self,
        digest: Digest,
        length: Option<usize>,
        record: &Record,
    ) -> Result<(), WriteError> {
        let mut value = mem::take(&mut self.value);
        encode(record, &self.zone, &mut value);
        let stored = self.store(&digest.hex(), length, &value);
        self.value = value;
        stored
    }

    /// Stores a key and its value if the file does not have the key, and returns whether it did not.
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool, WriteError> {
        if self.fetch(key)?.is_some() {
            return Ok(false);
        }
        self.store(key, None, value).map(|()| true)
    }

    /// Stores a key and its record, unless that is one of an erased key or the file has a readable one with the same dates or later ones, or a larger
    /// count.
    pub(super) fn insert_newer(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        let Ok(record) = self.decode(value) else { return Ok(()) };
        if record.reports.count == 0 && record.whitelists.count == 0 {
            return Ok(());
        }
        let Some(existing) = self.fetch(key)? else { return self.store(key, None, value) };
        if self.decode(&existing).is_ok_and(|other| !is_newer(&record, &other)) {
            return Ok(());
        }
        self.store(key, Some(existing.len()), value)
    }

    /// Stores a value. `length` is the length of the one that the key has, or `None` if it has none.
    fn store(&mut self, key: &[u8], length: Option<usize>, value: &[u8]) -> Result<(), WriteError> {
        let mut growth = 0;
        if length.is_none() {
            let place = self.places.find(&self.descriptor, key, self.count.unwrap_or_default())?;
            growth = place.ok_or(WriteError::NoPlace)?;
        }
        // A value of the same length takes the place of the old one, and no more room.
        if length != Some(value.len()) {
            self.room.ensure(&self.descriptor, growth).map_err(GdbmError::no_room)?;
        }
        self.dirty = true;
        self.growth.count_write(length.is_none().then(|| hash(key)));
        self.database.store(key, value)?;
        self.count = self.count.map(|count| count + u64::from(length.is_none()));
        Ok(())
    }

    /// Removes a key, and returns whether it existed. Clears the counts of its record first, as a recovery may find what
    /// was removed.
    pub(super) fn erase(&mut self, key: &[u8]) -> Result<bool, GdbmError> {
        if let Some(value) = self.fetch(key)?
            && written_length(&value) == Some(value.len())
        {
            let mut cleared = value.to_vec();
            clear_counts(&mut cleared);
            self.dirty = true;
            self.database.store(key, &cleared)?;
        }
        self.remove(key)
    }

    /// Removes a key, and returns whether it existed.
    ///
    /// Reserves no room: a removal rarely takes any, and then less than the writes before it have reserved. It
    /// must work on a full disk, as it frees space.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<bool, GdbmError> {
        self.dirty = true;
        let removed = self.database.delete(key)?;
        if removed {
            self.count = self.count.map(|count| count.saturating_sub(1));
        }
        Ok(removed)
    }

    /// Writes everything to the disk.
    pub(super) fn sync_all(&mut self) -> io::Result<()> {
        self.descriptor.sync_all()?;
        self.dirty = false;
        Ok(())
    }

    /// Judges how fast the file grows, which [`wanted_mapping`](Self::wanted_mapping) goes by from then on. Returns whether
    /// that changes.
    pub(super) fn judge_growth(&mut self) -> bool {
        self.descriptor.metadata().is_ok_and(|metadata| self.growth.judge(metadata.len()))
    }

    /// Returns the mapping that the file should have, if it has another one. While many records are removed,
    /// libgdbm's lists of free space grow, and the file with them, so it should not be mapped.
    pub(super) fn wanted_mapping(&mut self, removing: bool) -> Option<Mapping> {
        self.mapping = self.mapping.observed(&mut self.database);
        let suits = self.descriptor.metadata().is_ok_and(|metadata| Mapping::suits(metadata.len()));
        let grows = removing || self.growth.is_fast();
        let wanted = if suits && !grows { Mapping::Mapped } else { Mapping::Unmapped };
        (self.mapping != Mapping::Refused && self.mapping != wanted).then_some(wanted)
    }

    /// Changes the mapping if the file should have another one.
    pub(super) fn change_mapping(&mut self, removing: bool) -> Result<(), GdbmError> {
        let Some(wanted) = self.wanted_mapping(removing) else { return Ok(()) };
        let changed = self.database.map(wanted == Mapping::Mapped);
        match changed {
            Ok(()) => self.mapping = wanted,
            Err(_) if wanted == Mapping::Mapped => self.mapping = Mapping::Refused,
            Err(_) => (),
        }
        changed
    }
}

/// Returns whether a record has later dates than another, and no smaller count.
fn is_newer(record: &Record, other: &Record) -> bool {
    record.latest_activity() > other.latest_activity()
        && record.reports.count >= other.reports.count
        && record.whitelists.count >= other.whitelists.count
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        // A directory that is doubled is put at the end.
        if let Err(error) = tail::mend(&self.descriptor) {
            log::error!("database {}: it ends with its directory and cannot grow: {error}", self.name());
        }
        if self.dirty
            && let Err(error) = self.descriptor.sync_data()
        {
            log::error!("database {}: the last changes may be lost, syncing it failed: {error}", self.name());
        }
    }
}
