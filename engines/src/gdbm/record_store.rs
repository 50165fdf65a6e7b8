//! Whole records and all of them, for migrations.

use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::{Entries, Gdbm};
use crate::codec;
use crate::record_store::{RecordStore, StoredEntry};

/// How many entries one call of a scan finds.
const SLICE: usize = 512;

/// A scan on its way through the file. A clone begins its own.
#[derive(Debug, Default)]
pub(super) struct Scan(Option<Entries>);

impl Clone for Scan {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Gdbm {
    fn found(&self, key: &[u8], value: &[u8]) -> StoredEntry {
        let record = Digest::parse(key).ok_or("the key is not a digest".to_owned()).and_then(|digest| {
            let decoded = codec::gdbm::decode(value, &self.zone);
            decoded.map(|record| (digest, record)).map_err(|why| format!("the record is unreadable: {why}"))
        });
        StoredEntry { key: String::from_utf8_lossy(key).into_owned(), record }
    }
}

impl RecordStore for Gdbm {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let mut walk = self.scan.0.take().unwrap_or_else(|| self.entries());
        for _ in 0..SLICE {
            match walk.next() {
                Some(Ok((key, value))) => found.push(self.found(&key, &value)),
                Some(Err(failure)) => {
                    self.scan.0 = Some(walk.again());
                    return Err(failure);
                }
                None => return Ok(Progress::Done),
            }
        }
        self.scan.0 = Some(walk);
        Ok(Progress::More)
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        results.extend(records.iter().map(|(digest, record)| Gdbm::put(self, *digest, record)));
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        let fetch = |digest: &Digest| {
            self.shared.with(|engine| {
                let stored = engine.database.fetch(&digest.hex()).map_err(|fault| engine.failure(&fault))?;
                let decoded =
                    stored.map_or(Ok(Record::default()), |value| codec::gdbm::decode(&value, &engine.zone));
                decoded.map_err(|why| StoreFailure::new(format!("the record is unreadable: {why}")))
            })
        };
        results.extend(digests.iter().map(fetch));
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        digests.iter().try_for_each(|digest| Gdbm::remove(self, &digest.hex()).map(drop))
    }

    fn estimate(&mut self) -> Option<u64> {
        self.shared.with(|engine| engine.database.count().map_err(|fault| engine.failure(&fault))).ok()
    }

    /// A local date of the hour that a change of the clocks repeats comes back as the first of the two.
    fn rounded(&self, record: &Record) -> Record {
        let mut value = Vec::new();
        codec::gdbm::encode(record, &self.zone, &mut value);
        codec::gdbm::decode(&value, &self.zone).unwrap_or(*record)
    }
}
