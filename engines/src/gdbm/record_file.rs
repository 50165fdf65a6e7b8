//! An open gdbm file of records.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{self, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use pyzord_core::{Digest, Record};

use super::ffi::{Bytes, Database, GdbmError};
use super::mapping::Mapping;
use super::rewrite::{self, Recovery, RewriteError};
use super::room::Room;
use crate::codec::gdbm::{Unreadable, decode, encode};

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
    room: Room,
}

impl RecordFile {
    /// Takes over an open database. `asked` is the mapping that it was opened with.
    pub(super) fn new(
        path: PathBuf,
        mut database: Database,
        asked: Mapping,
        descriptor: File,
        count: u64,
    ) -> Self {
        Self {
            mapping: asked.observed(&mut database),
            database,
            path,
            zone: TimeZone::system(),
            count: Some(count),
            value: Vec::new(),
            dirty: false,
            descriptor: Arc::new(descriptor),
            room: Room::default(),
        }
    }

    /// Returns the name of the database for logs: its path.
    pub(super) fn name(&self) -> path::Display<'_> {
        self.path.display()
    }

    /// Returns the zone of the local dates in the file.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the value of a key.
    pub(super) fn fetch(&mut self, key: &[u8]) -> Result<Option<Bytes>, GdbmError> {
        self.database.fetch(key)
    }

    /// Checks that there is room for a new record. Writes nothing.
    pub(super) fn probe(&mut self) -> Result<(), GdbmError> {
        self.room.check(&self.descriptor).map_err(GdbmError::no_room)
    }

    /// Decodes a value.
    pub(super) fn decode(&self, value: &[u8]) -> Result<Record, Unreadable> {
        decode(value, &self.zone)
    }

    /// Stores a record, whether the digest has one or not.
    pub(super) fn put(&mut self, digest: Digest, record: &Record) -> Result<(), GdbmError> {
        let length = self.fetch(&digest.hex())?.map(|value| value.len());
        self.replace(digest, length, record)
    }

    /// Stores a record. `length` is the length of the value that the digest has, or `None` if it has none.
    pub(super) fn replace(
        &mut self,
        digest: Digest,
        length: Option<usize>,
        record: &Record,
    ) -> Result<(), GdbmError> {
        encode(record, &self.zone, &mut self.value);
        // A value of the same length takes the place of the old one, and no more room.
        if length != Some(self.value.len()) {
            self.room.ensure(&self.descriptor).map_err(GdbmError::no_room)?;
        }
        self.dirty = true;
        self.database.store(&digest.hex(), &self.value)?;
        self.count = self.count.map(|count| count + u64::from(length.is_none()));
        Ok(())
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

    /// Replaces the file by a smaller one.
    pub(super) fn reorganize(&mut self) -> Result<(), RewriteError> {
        let reorganized = rewrite::reorganize(&mut self.database, &self.path);
        self.follow()?;
        reorganized?;
        log::info!("database {}: reorganized, to give the freed space back", self.name());
        Ok(())
    }

    /// Recovers the file, or finds that libgdbm had no need to stop: a full disk leaves the same state as
    /// damage.
    pub(super) fn recover(&mut self) -> Result<Recovery, RewriteError> {
        log::warn!(
            "database {}: libgdbm gave it up; it will be checked and, if damaged, recovered",
            self.name()
        );
        let recovered = rewrite::recover(&mut self.database, &self.path, &self.descriptor, false);
        self.follow()?;
        let recovery = recovered?;
        let count = self.database.count();
        if let Err(error) = &count {
            log::warn!("database {}: its records cannot be counted: {error}", self.name());
        }
        self.count = count.ok();
        recovery.log(&self.path);
        Ok(recovery)
    }

    /// Returns the mapping that the file should have, if it has another one. While many records are removed,
    /// libgdbm's lists of free space grow, and the file with them, so it should not be mapped.
    pub(super) fn wanted_mapping(&mut self, removing: bool) -> Option<Mapping> {
        self.mapping = self.mapping.observed(&mut self.database);
        let suits = self.descriptor.metadata().is_ok_and(|metadata| Mapping::suits(metadata.len()));
        let wanted = if suits && !removing { Mapping::Mapped } else { Mapping::Unmapped };
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

    /// After a rewrite, successful or not, the database may be a new file under the old name: uses that one.
    fn follow(&mut self) -> io::Result<()> {
        let id = |file: &Metadata| (file.dev(), file.ino());
        if id(&fs::metadata(&self.path)?) != id(&self.descriptor.metadata()?) {
            self.descriptor = Arc::new(self.database.file()?);
            self.room = Room::default();
            self.mapping = self.mapping.observed(&mut self.database);
        }
        Ok(())
    }
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        if self.dirty
            && let Err(error) = self.descriptor.sync_data()
        {
            log::error!("database {}: the last changes may be lost, syncing it failed: {error}", self.name());
        }
    }
}
