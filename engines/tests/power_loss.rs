//! Losses of power: any mixture of the pages before and after some writes, as the disk has them after a sync.
#![cfg(feature = "gdbm")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use common::{at, call, digest, execute, report, run_python, scratch};
use pyzord_core::{Store, StoreOp, Task};
use pyzord_engines::Gdbm;

const NOW: i64 = 1_704_800_000;
/// Records that are on the disk, of which every 10th was removed before the sync.
const OLD: u64 = 3000;
const NEW: u64 = 1500;

/// A sequence of numbers that a seed determines.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Returns what a disk has if each page of `new` was written with a chance of `percent`.
fn mixture(old: &[u8], new: &[u8], page: usize, percent: u64, random: &mut Seeded) -> Vec<u8> {
    let mut mixed = new.to_vec();
    for (index, chunk) in mixed.chunks_mut(page).enumerate() {
        if random.next() % 100 >= percent {
            let at = index * page;
            let before = old.get(at..old.len().min(at + chunk.len())).unwrap_or_default();
            chunk.fill(0);
            chunk[..before.len()].copy_from_slice(before);
        }
    }
    mixed
}

/// Returns how many records of `range` are there with the count 1.
fn found(db: &mut Gdbm, range: impl Iterator<Item = u64>) -> usize {
    range.filter(|n| execute(db, at(NOW), &[call(StoreOp::Read, *n)])[0].unwrap().reports.count == 1).count()
}

fn is_removed(n: &u64) -> bool {
    n.is_multiple_of(10)
}

fn written(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut db = Gdbm::open(path).unwrap();
    report(&mut db, at(NOW), 0..OLD);
    (0..OLD).filter(is_removed).for_each(|n| assert!(db.remove(&digest(n).hex()).unwrap()));
    db.upkeep(at(NOW), Task::Sync).unwrap();
    let synced = fs::read(path).unwrap();
    report(&mut db, at(NOW), OLD..OLD + NEW);
    (synced, fs::read(path).unwrap())
}

/// A record that was on the disk for months was lost, as a new bucket or an old directory did not lead to it any more; up
/// to 65 % of all records were, and the log said `lost 0 records`.
#[test]
fn records_of_the_last_sync_survive() {
    let (_directory, path) = scratch();
    let (synced, now) = written(&path);
    let kept = usize::try_from(OLD - OLD / 10).unwrap();
    for seed in 0..24_u8 {
        let mut random = Seeded(u64::from(seed) * 77 + 1);
        let (page, percent) =
            ([4096, 512][usize::from(seed) % 2], [10, 30, 50, 70, 90, 99][usize::from(seed) % 6]);
        let (_directory, path) = scratch();
        let mut disk = mixture(&synced, &now, page, percent, &mut random);
        if seed % 3 == 2 {
            // The file system has not recorded the new length.
            disk.truncate(synced.len());
        }
        fs::write(&path, disk).unwrap();
        // The system was started since.
        fs::File::options().append(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let mut db = Gdbm::open(&path).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(found(&mut db, (0..OLD).filter(|n| !is_removed(n))), kept, "seed {seed}");
        let back = found(&mut db, (0..OLD).filter(is_removed));
        assert_eq!(back, 0, "seed {seed}: removed records came back");
        // A page of a new record may hold something old.
        let calls: Vec<_> = (0..OLD + NEW).map(|n| call(StoreOp::Report, n)).collect();
        let refused = execute(&mut db, at(NOW), &calls).iter().filter(|answer| answer.is_err()).count();
        assert!(refused < 5, "seed {seed}: {refused} digests are unreadable");
        drop(db);
        let keys = run_python(
            "import sys, dbm.gnu; print(len(dbm.gnu.open(sys.argv[1], 'w').keys()))",
            &path,
            "UTC",
        );
        // A record that lay across two pages may have become one of another digest.
        let keys: u64 = keys.trim().parse().unwrap();
        assert!((OLD + NEW..OLD + NEW + 50).contains(&keys), "seed {seed}: {keys}");
    }
}

/// A file that ends with its directory was refused for ever.
#[test]
fn a_file_that_ends_with_its_directory_opens() {
    let (_directory, path) = scratch();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..1000);
    let mut bytes = fs::read(&path).unwrap();
    let number = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let (directory, size) = (number(&bytes, 8), 4096);
    bytes.truncate(number(&bytes, 32));
    let moved = bytes.len();
    bytes.extend_from_within(directory..directory + size);
    let end = bytes.len();
    bytes[8..16].copy_from_slice(&moved.to_ne_bytes());
    bytes[32..40].copy_from_slice(&end.to_ne_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = Gdbm::open_with(&path, pyzord_engines::Access::Read).unwrap_err();
    assert!(matches!(error.cause, pyzord_engines::OpenCause::Unfinished), "{error}");
    let mut db = Gdbm::open(&path).unwrap();
    assert_eq!(found(&mut db, 0..1000), 1000);
    report(&mut db, at(NOW), 0..2000);
    drop(db);
    let mut db = Gdbm::open(&path).unwrap();
    assert_eq!(found(&mut db, 1000..2000), 1000);
    assert_eq!(common::others(&path).len(), 0, "nothing had to be recovered");
}
