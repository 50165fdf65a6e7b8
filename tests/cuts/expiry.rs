//! Databases with records that expire.

use std::path::Path;

use pyzord_core::{Digest, Record, Tally, UnixTime};
use pyzord_cuts::{Bounds, Files, Ledger};
use pyzord_engines::registry::{Access, open_store};

use crate::harness::digest;

/// The options for records of these dates.
pub(crate) const OPTIONS: [&str; 6] =
    ["--cleanup-age", "1000000", "--cleanup-max-offset", "0", "--cleanup-max-share", "100"];

/// Records that have expired: so many that a database is worth being made smaller.
const EXPIRED: u32 = 100_000;
/// Records that do not expire.
const LASTING: u32 = 1000;

/// Returns the files of a database, and what must be and may be in it.
pub(crate) fn database(engine: &str, file: &str) -> (Files, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    let mut store = open_store(engine, path.to_str().unwrap(), Access::Create, None).unwrap();
    let (mut records, mut ledger) = (Vec::new(), Ledger::new());
    for number in 0..EXPIRED + LASTING {
        // In the middle of the others.
        let lasts = number % (EXPIRED / LASTING + 1) == 0;
        let updated = Some(UnixTime::from_seconds(if lasts { 4_000_000_000 } else { 1_000_000_000 }));
        let key = digest(number.wrapping_mul(2_654_435_761) | 1 << 31);
        let reports = Tally { count: 3, entered: updated, updated };
        records.push((Digest::parse(key.as_bytes()).unwrap(), Record { reports, ..Record::default() }));
        ledger.insert(key, Bounds { promised: if lasts { 3 } else { 0 }, acknowledged: 0, most: 3 });
    }
    records.sort_by_key(|(digest, _)| *digest);
    let mut results = Vec::new();
    store.put(&records, &mut results);
    assert!(results.iter().all(Result::is_ok));
    drop(store);
    (pyzord_cuts::read(Path::new(folder.path())).unwrap(), ledger)
}
