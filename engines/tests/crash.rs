//! Processes that are killed, processes that hold the file, and damaged files.
#![cfg(feature = "gdbm")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    at, call, digest, entries, execute, expire, others, report, role, scratch, start, start_limited, wait,
};
use pyzord_core::{Store, StoreCall, StoreOp, Task};
use pyzord_engines::{Access, Gdbm, OpenCause};

const NOW: i64 = 1_704_800_000;
/// How many calls a batch of the killed process has.
const BATCH: u64 = 16;

/// Does what another test wants done in a process of its own.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn child() {
    let Some((role, path)) = role() else { return };
    // Ends the line that the test runner has begun with this test's name.
    say("");
    match role.split_once(' ').unwrap_or((&role, "")) {
        ("hold", _) => hold(&path),
        ("write", first) => write(&path, first.parse().unwrap(), |db, batch| {
            if batch % 50 == 49 {
                sync(db);
            }
        }),
        ("turns", first) => write(&path, first.parse().unwrap(), take_turns),
        ("mutate", rounds) => mutate(&path, rounds),
        ("report", _) => report_all(&path),
        other => panic!("{other:?}"),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

fn hold(path: &Path) {
    let _db = Gdbm::open(path).unwrap();
    say("open");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_database_that_another_process_has_open_is_refused() {
    let (_directory, path) = scratch();
    let mut holder = start("hold", &path);
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap() == "open"));
    for result in [Gdbm::open(&path), Gdbm::open_with(&path, Access::Read)] {
        let error = result.unwrap_err();
        assert!(matches!(error.cause, OpenCause::InUse));
        let expected =
            format!("database {} is in use by another process (a running pyzord?)", path.display());
        assert_eq!(error.to_string(), expected);
    }
    drop(holder.stdin.take());
    assert!(lines.all(|line| line.is_ok()));
    assert!(holder.wait().unwrap().success());
    Gdbm::open(&path).unwrap();
}

/// The lock must outlive the descriptors that the engine opens and closes beside libgdbm's own.
#[test]
fn the_lock_outlives_syncs_recoveries_and_reorganizations() {
    let (_directory, path) = scratch();
    let mut db = Gdbm::open(&path).unwrap();
    report(&mut db, at(NOW), 0..2000);
    db.upkeep(at(NOW), Task::Sync).unwrap();
    assert!(matches!(Gdbm::open(&path).unwrap_err().cause, OpenCause::InUse));
    expire(&mut db, NOW + 1).unwrap();
    assert_eq!(entries(&db).len(), 0);
    assert!(matches!(Gdbm::open(&path).unwrap_err().cause, OpenCause::InUse));
    drop(db);
    Gdbm::open(&path).unwrap();
}

/// Reports batch after batch. Some digests exist and some are new, so that the file grows. Batch `n` reports
/// the digests from `n * BATCH / 2` on. `between` is called after each batch.
fn write(path: &Path, first: u64, mut between: impl FnMut(&mut Gdbm, u64)) {
    let mut db = Gdbm::open(path).unwrap();
    for batch in first.. {
        let calls: Vec<StoreCall> = batch_digests(batch).map(|n| call(StoreOp::Report, n)).collect();
        assert!(execute(&mut db, at(NOW), &calls).iter().all(Result::is_ok));
        say(&format!("done {batch}"));
        between(&mut db, batch);
    }
}

fn sync(db: &mut Gdbm) {
    db.upkeep(at(NOW), Task::Sync).unwrap();
}

/// Syncs now and then, so that the file is not mapped after it has grown, and is again after it was read.
fn take_turns(db: &mut Gdbm, batch: u64) {
    let calls: Vec<StoreCall> = (0..1000).map(|n| call(StoreOp::Read, n)).collect();
    match batch % 40 {
        19 => sync(db),
        39 => {
            for _ in 0..26 {
                execute(db, at(NOW), &calls);
                sync(db);
            }
        }
        _ => return,
    }
    if let Ok(maps) = fs::read_to_string("/proc/self/maps") {
        say(if maps.contains("/pyzord.db") { "mapped" } else { "unmapped" });
    }
}

fn batch_digests(batch: u64) -> std::ops::Range<u64> {
    batch * BATCH / 2..batch * BATCH / 2 + BATCH
}

/// How often processes are killed, each in the middle of its work.
fn kills(usual: u64) -> u64 {
    std::env::var("PYZORD_TEST_KILLS").map_or(usual, |count| count.parse().unwrap())
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    assert_kills_lose_nothing("write", kills(60));
}

/// Some of it was written through a mapping, and some was not.
#[test]
fn a_process_that_is_killed_while_its_mapping_comes_and_goes_loses_nothing() {
    let states = assert_kills_lose_nothing("turns", kills(30));
    let changes = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
    println!("the mapping changed {changes} times");
    assert!(states.is_empty() || changes > 10, "{states:?}");
}

/// Each kill -9 at any moment leaves a database that opens by itself and has every acknowledged count. Returns what
/// else the processes said.
fn assert_kills_lose_nothing(role: &str, kills: u64) -> Vec<String> {
    let (_directory, path) = scratch();
    let mut said = Vec::new();
    let (mut next, mut recoveries) = (0, 0);
    let mut least: Vec<u64> = Vec::new();
    let mut most: Vec<u64> = Vec::new();
    for round in 0..kills {
        let mut writer = start(&format!("{role} {next}"), &path);
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let wanted = next + 1 + round * 37 % 101;
        let mut last = None;
        // The writer is in some later batch when it is killed; its output until then is read after that.
        for line in lines {
            let line = line.unwrap();
            let Some(batch) = line.strip_prefix("done ").map(|batch| batch.parse::<u64>().unwrap()) else {
                said.extend(line.ends_with("mapped").then_some(line));
                continue;
            };
            last = Some(batch);
            if batch == wanted {
                writer.kill().unwrap();
            }
        }
        assert!(!writer.wait().unwrap().success());
        let last = last.unwrap();
        for batch in next..=last + 1 {
            for n in batch_digests(batch).map(|n| usize::try_from(n).unwrap()) {
                let size = most.len().max(n + 1);
                most.resize(size, 0);
                least.resize(size, 0);
                most[n] += 1;
                least[n] += u64::from(batch <= last);
            }
        }
        next = last + 2;
        let backups = others(&path).len();
        let mut db = Gdbm::open(&path).unwrap();
        recoveries += others(&path).len() - backups;
        for (n, (least, most)) in (0..).zip(least.iter_mut().zip(&mut most)) {
            let count = execute(&mut db, at(NOW), &[call(StoreOp::Read, n)])[0].unwrap().reports.count;
            assert!(
                (*least..=*most).contains(&count),
                "round {round}, digest {n}: {count}, not {least} to {most}"
            );
            (*least, *most) = (count, count);
        }
    }
    println!("{recoveries} of {kills} kills left a file that was recovered");
    said
}

/// Changes the count of one bucket by one.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let address = |at: usize, bytes: &[u8]| {
        usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let bucket = address(address(8, &bytes), &bytes);
    // The bits, then the count, follow a table of free space: 8 bytes and 6 elements of 16.
    let count = bucket + 8 + 6 * 16 + 4;
    bytes[count] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Reports digests to a file that may not grow without limit, until a hundred were refused.
fn report_all(path: &Path) {
    let mut db = Gdbm::open(path).unwrap();
    let (mut n, mut refused) = (0, 0);
    while refused < 100 {
        match execute(&mut db, at(NOW), &[call(StoreOp::Report, n)])[0] {
            Ok(_) => say(&format!("done {n}")),
            Err(_) => refused += 1,
        }
        n += 1;
        // What is stored can be read all the time, without any upkeep.
        let first = execute(&mut db, at(NOW), &[call(StoreOp::Read, 0)])[0].unwrap();
        assert_eq!(first.reports.count, 1);
    }
    expire(&mut db, 0).unwrap();
}

/// libgdbm 1.23 loses a whole bucket if it has no room to split it, and refuses all calls after that.
#[test]
fn a_file_that_cannot_grow_loses_nothing_and_is_read() {
    // In blocks of 512 bytes.
    for limit in (2500..4500).step_by(171) {
        let (_directory, path) = scratch();
        let (status, printed) = wait(start_limited("report", &path, limit), Duration::from_secs(60));
        assert!(status.success(), "{limit} blocks: {status}: {printed}");
        let done: Vec<u64> =
            printed.lines().filter_map(|line| line.strip_prefix("done ")?.parse().ok()).collect();
        assert!(done.len() > 100, "{limit} blocks: {printed}");
        let mut db = Gdbm::open(&path).unwrap();
        assert_eq!(others(&path).len(), 0, "{limit} blocks: nothing had to be recovered");
        assert_eq!(entries(&db).len(), done.len(), "{limit} blocks");
        for n in done {
            let count = execute(&mut db, at(NOW), &[call(StoreOp::Read, n)])[0].unwrap().reports.count;
            assert_eq!(count, 1, "{limit} blocks, digest {n}");
        }
    }
}

/// A file whose only bucket had a wrong count was refused, though every record was there: a young database,
/// killed at the wrong moment, did not start again.
#[test]
fn the_only_bucket_is_recovered() {
    let (_directory, path) = scratch();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..50);
    damage(&path);
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 50);
    assert_eq!(others(&path).len(), 1, "the backup");
}

/// A recovery renamed the file and then the new one to its name. After a kill between the two, the next start
/// found no file, and created an empty database.
#[test]
fn a_recovery_has_a_file_under_the_name_at_every_moment() {
    const RECOVERIES: usize = 60;
    let (_directory, path) = scratch();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..1000);
    let watching = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let _stop = Unset(&watching);
        let missing = scope.spawn(|| {
            let looks = (0_u64..).take_while(|_| watching.load(Ordering::Relaxed));
            looks.filter(|_| !path.exists()).count()
        });
        for recoveries in 1..=RECOVERIES {
            damage(&path);
            drop(Gdbm::open(&path).unwrap());
            assert_eq!(others(&path).len(), recoveries, "a backup each");
        }
        watching.store(false, Ordering::Relaxed);
        assert_eq!(missing.join().unwrap(), 0, "times without a file");
    });
}

/// Clears a flag when it is dropped, also by a panic.
struct Unset<'a>(&'a AtomicBool);

impl Drop for Unset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A process that is killed in a recovery leaves a second name of the file, and a part of the new one.
#[test]
fn an_interrupted_recovery_is_begun_anew() {
    let (directory, path) = scratch();
    report(&mut Gdbm::open(&path).unwrap(), at(NOW), 0..2000);
    damage(&path);
    let backup = directory.path().join("pyzord.db.~1~");
    fs::hard_link(&path, &backup).unwrap();
    fs::write(directory.path().join("pyzord.db.a1B2c3"), &fs::read(&path).unwrap()[..10_000]).unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(entries(&Gdbm::open(&path).unwrap()).len(), 2000);
    assert_eq!(fs::read(&backup).unwrap(), before);
    assert_eq!(others(&path).len(), 2, "no second backup");
}

/// Creates the file that is mutated: large enough for several buckets and a list of free space.
fn specimen(path: &Path, records: u64) {
    let mut db = Gdbm::open(path).unwrap();
    report(&mut db, at(NOW), 0..records);
    for n in (0..records).step_by(3) {
        assert!(db.remove(&digest(n).hex()).unwrap());
    }
}

/// A small random number generator, so that a mutation can be repeated from its seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % limit as u64).unwrap()
    }
}

/// Damages a file in one of the ways in which disks, crashes and people do.
fn spoil(bytes: &mut Vec<u8>, seed: u64) -> String {
    let mut random = Seeded(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random.below(2);
    let length = bytes.len();
    let address =
        |at: usize| usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let directory = address(8);
    let bucket = address(directory + 8 * random.below(512));
    match seed % 10 {
        0 => flip(bytes, 0, 56, &mut random),
        1 => flip(bytes, 0, 4096, &mut random),
        2 => flip(bytes, directory, 4096, &mut random),
        3 => flip(bytes, bucket, 112, &mut random),
        4 => flip(bytes, bucket, 4096, &mut random),
        5 => flip(bytes, 0, length, &mut random),
        6 => cut(bytes, random.below(length)),
        7 => fill(bytes, random.below(length), 1 + random.below(8192)),
        8 => overwrite(bytes, [0, bucket][random.below(2)], &mut random),
        _ => copy_block(bytes, &mut random),
    }
}

fn flip(bytes: &mut [u8], from: usize, size: usize, random: &mut Seeded) -> String {
    let at = from + random.below(size);
    bytes[at] ^= 1 << random.below(8);
    format!("a bit at {at}")
}

fn cut(bytes: &mut Vec<u8>, keep: usize) -> String {
    bytes.truncate(keep);
    format!("cut to {keep}")
}

fn fill(bytes: &mut [u8], from: usize, size: usize) -> String {
    let end = bytes.len().min(from + size);
    bytes[from..end].fill(0);
    format!("zeros from {from} to {end}")
}

fn overwrite(bytes: &mut [u8], block: usize, random: &mut Seeded) -> String {
    let at = block + 4 * random.below(28);
    let value = [0_u32, 1, u32::MAX, 0x7fff_ffff, 0x8000_0000][random.below(5)];
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    format!("{value:#x} at {at}")
}

fn copy_block(bytes: &mut [u8], random: &mut Seeded) -> String {
    let blocks = bytes.len() / 4096;
    let (from, to) = (4096 * random.below(blocks), 4096 * random.below(blocks));
    bytes.copy_within(from..from + 4096, to);
    format!("the block at {from} over that at {to}")
}

/// Opens mutated files and works on them as a server does; prints each mutation before it is tried.
fn mutate(specimen: &Path, seeds: &str) {
    let (from, to) = seeds.split_once('-').unwrap();
    let sound = fs::read(specimen).unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        let (_directory, path) = scratch();
        let mut bytes = sound.clone();
        let what = spoil(&mut bytes, seed);
        fs::write(&path, &bytes).unwrap();
        say(&format!("try {seed}: {what}"));
        let (verdict, kept) = match Gdbm::open(&path) {
            Err(error) => {
                assert_eq!(fs::read(&path).unwrap(), bytes, "a file that is refused is left as it is");
                assert!(!error.to_string().contains('\n'));
                (format!("refused: {error}"), 0)
            }
            Ok(db) => (
                if others(&path).is_empty() { "opened".to_owned() } else { "recovered".to_owned() },
                work(db),
            ),
        };
        say(&format!("done {seed}: {verdict}, {kept} records"));
    }
}

/// Does everything that a server does with a database; returns how many records it had.
fn work(mut db: Gdbm) -> usize {
    let kept = db.entries().filter(Result::is_ok).count();
    let calls: Vec<StoreCall> = (0..1500).map(|n| call(StoreOp::Report, n)).collect();
    for batch in calls.chunks(64) {
        assert_eq!(execute(&mut db, at(NOW), batch).len(), batch.len());
    }
    let _ = db.upkeep(at(NOW), Task::Sync);
    // Several times, as one round may find the damage that the next upkeep recovers.
    for _ in 0..3 {
        let _ = expire(&mut db, NOW + 1);
    }
    for batch in calls.chunks(64) {
        assert_eq!(execute(&mut db, at(NOW), batch).len(), batch.len());
    }
    kept
}

/// Every mutated file gives a clean error, or opens, serves and expires, without a crash or a hang.
#[test]
fn mutated_files_neither_crash_nor_hang() {
    const PROCESSES: u64 = 12;
    let each =
        std::env::var("PYZORD_TEST_MUTATIONS").map_or(100, |count| count.parse::<u64>().unwrap() / PROCESSES);
    let (_directory, path) = scratch();
    specimen(&path, 1000);
    let mut tally = [("refused", 0), ("opened", 0), ("recovered", 0)];
    for process in 0..PROCESSES {
        let seeds = format!("mutate {}-{}", process * each, (process + 1) * each);
        let (status, printed) = wait(start(&seeds, &path), Duration::from_secs(120 + each / 4));
        assert!(
            status.success(),
            "{status}: {}",
            printed.lines().rfind(|line| line.starts_with("try ")).unwrap_or("?")
        );
        for (verdict, count) in &mut tally {
            *count += printed
                .lines()
                .filter(|line| line.starts_with("done ") && line.contains(&format!(": {verdict}")))
                .count();
        }
        if std::env::var_os("PYZORD_TEST_SHOW").is_some() {
            println!("{printed}");
        }
    }
    println!("{tally:?}");
    assert_eq!(tally.iter().map(|(_, count)| *count as u64).sum::<u64>(), PROCESSES * each);
}
