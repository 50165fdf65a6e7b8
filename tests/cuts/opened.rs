//! The records that a database has after a cut.

use std::collections::BTreeMap;
use std::path::Path;

use pyzord_core::{Progress, Record, StoreFailure};
use pyzord_cuts::{OpenFailure, Opened};
use pyzord_engines::registry::{Access, open_store};

/// The most records that are read by their digests as well.
const FETCHED: usize = 2000;

/// Opens a database as a server does, and reads all records by a scan, and some by their digests. A record that cannot be
/// read is left out.
pub(crate) fn counts(engine: &str, path: &Path) -> Opened {
    let mut store = open_store(engine, path.to_str().unwrap(), Access::Create, None)
        .map_err(|error| OpenFailure::Refused(error.into()))?;
    let (mut found, mut scanned) = (Vec::new(), BTreeMap::new());
    while store.scan(&mut found).map_err(|error| OpenFailure::Unreadable(error.into()))? == Progress::More {}
    for entry in found {
        if let Ok((digest, record)) = entry.record {
            scanned.insert(digest, record.reports.count);
        }
    }
    let digests: Vec<_> = scanned.keys().copied().take(FETCHED).collect();
    let mut records: Vec<Result<Record, StoreFailure>> = Vec::new();
    store.fetch(&digests, &mut records);
    for (digest, record) in digests.iter().zip(records) {
        let record = record.map_err(|error| OpenFailure::Unreadable(error.into()))?;
        assert_eq!(scanned.get(digest), Some(&record.reports.count), "{digest}");
    }
    Ok(scanned.into_iter().map(|(digest, count)| (digest.to_string(), count)).collect())
}
