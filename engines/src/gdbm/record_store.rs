//! Whole records, for migrations and operators.

use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::engine::FileEngine;
use super::store::Gdbm;
use crate::bug::bug;
use crate::change::{Change, ChangeError};
use crate::codec::gdbm::{Unreadable, decode, encode};
use crate::record_store::{EntryError, RecordStore, StoredEntry, key_text};

/// How many entries one call of a scan finds.
const SLICE: usize = 512;

/// Why an entry holds no record.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the key is not a digest")]
    Key,
    #[error("the key has digits in upper case, which no server looks for")]
    Case,
    #[error("the record is unreadable: {0}")]
    Value(Unreadable),
}

impl Gdbm {
    fn entry(&self, key: &[u8], value: &[u8]) -> StoredEntry {
        let record = digest(key).and_then(|digest| {
            decode(value, &self.zone).map(|record| (digest, record)).map_err(Cause::Value)
        });
        StoredEntry { key: key_text(key), record: record.map_err(EntryError::new) }
    }

    fn fetch_one(&self, digest: Digest) -> Result<Record, StoreFailure> {
        let stored = self.shared.with(|engine| engine.with_file(|file| file.fetch(&digest.hex())))?;
        let Some(value) = stored else { return Ok(Record::default()) };
        decode(&value, &self.zone).map_err(|why| StoreFailure::new(Cause::Value(why)))
    }
}

impl Gdbm {
    /// Maps the file, or removes its mapping, as suits what was stored: a migration syncs at its end only.
    fn judge_mapping(&self) {
        if let Err(failure) = self.shared.judge_mapping() {
            log::warn!("{failure}");
        }
    }

    /// Reads, changes and stores a record while no other handle can use the file.
    fn change_one(&self, digest: Digest, change: &Change) -> Result<(), ChangeError> {
        let mut in_doubt = false;
        let changed = self.shared.with(|engine| {
            engine.check_known_presence()?;
            let fetch = |engine: &mut FileEngine| engine.with_file(|file| file.fetch(&digest.hex()));
            let stored = fetch(engine)?;
            let stored = stored.as_deref();
            let old = stored.map_or(Ok(Record::default()), |value| decode(value, &self.zone));
            let old = old.map_err(|why| StoreFailure::new(Cause::Value(why)))?;
            let new = change.apply(&old);
            if new == old {
                return Ok(());
            }
            let written = engine.with_file(|file| file.replace(digest, stored.map(<[u8]>::len), &new));
            // A write that failed may have changed the file.
            in_doubt = written.is_err() && !fetch(engine).is_ok_and(|now| now.as_deref() == stored);
            written
        });
        changed.map_err(if in_doubt { ChangeError::InDoubt } else { ChangeError::Refused })
    }
}

impl RecordStore for Gdbm {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let mut walk = self.scan.take().unwrap_or_else(|| self.entries());
        for _ in 0..SLICE {
            match walk.next() {
                Some(Ok((key, value))) => found.push(self.entry(&key, &value)),
                Some(Err(failure)) => {
                    self.scan.pause(walk.resumed());
                    return Err(failure);
                }
                None => return Ok(Progress::Done),
            }
        }
        self.scan.pause(walk);
        Ok(Progress::More)
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        if let Err(away) = self.check_presence() {
            results.extend(records.iter().map(|_| Err(away.clone())));
            return;
        }
        results.extend(records.iter().map(|(digest, record)| self.put_unchecked(*digest, record)));
        self.judge_mapping();
    }

    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        if let Err(away) = self.check_presence() {
            results.extend(changes.iter().map(|_| Err(ChangeError::Away(away.clone()))));
            return;
        }
        results.extend(changes.iter().map(|(digest, change)| self.change_one(*digest, change)));
        self.judge_mapping();
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        results.extend(digests.iter().map(|digest| self.fetch_one(*digest)));
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        // The records are not cleared first: a migration that is killed in between would find other counts when it is run
        // again, and store them in place of the right ones.
        self.check_presence()?;
        digests.iter().try_for_each(|digest| {
            self.shared.with(|engine| {
                engine.check_known_presence()?;
                engine.with_file(|file| file.remove(&digest.hex()).map(drop))
            })
        })
    }

    fn estimate(&mut self) -> Option<u64> {
        let counted = self.shared.with(|engine| engine.with_file(|file| file.database.count()));
        counted.inspect_err(|failure| log::debug!("{failure}")).ok()
    }

    /// A local date in an hour that a change of the clocks repeats is read as the first of the two.
    fn rounded(&self, record: &Record) -> Record {
        let mut value = Vec::new();
        encode(record, &self.zone, &mut value);
        decode(&value, &self.zone).unwrap_or_else(|why| {
            bug(format_args!("`{}` was written, and cannot be read: {why}", value.escape_ascii()));
            *record
        })
    }
}

/// Parses a key. One in upper case is another key than the one that the server looks for, which can be there too.
fn digest(key: &[u8]) -> Result<Digest, Cause> {
    let digest = Digest::parse(key).ok_or(Cause::Key)?;
    if digest.hex() == key { Ok(digest) } else { Err(Cause::Case) }
}
