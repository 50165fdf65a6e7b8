//! Helpers that the tests of all engines share.
#![expect(dead_code, reason = "each test uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pyzord_core::{
    Digest, Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, StoreOp, Task, Tick, UnixTime,
};
use tempfile::TempDir;

/// Creates a folder, and returns it with the path of a database in it.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pyzord.db");
    (directory, path)
}

pub(crate) fn digest(n: u64) -> Digest {
    // Spread over all bytes, as the hashes of mails are.
    let mut bytes = [0; 20];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word =
            (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.rotate_left(u32::try_from(index).unwrap() * 9));
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    Digest::new(bytes)
}

pub(crate) fn at(seconds: i64) -> Now {
    Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() }
}

pub(crate) fn call(op: StoreOp, n: u64) -> StoreCall {
    StoreCall::new(digest(n), op)
}

pub(crate) fn execute(store: &mut impl Store, now: Now, calls: &[StoreCall]) -> Vec<StoreAnswer> {
    let mut answers = Vec::new();
    store.execute(now, calls, &mut answers);
    assert_eq!(answers.len(), calls.len());
    answers
}

/// Returns the values of results; panics if one is a failure.
pub(crate) fn successes<T>(results: Vec<Result<T, StoreFailure>>) -> Vec<T> {
    results.into_iter().map(Result::unwrap).collect()
}

/// Reports the digests numbered `range`, in batches.
pub(crate) fn report(store: &mut impl Store, now: Now, range: std::ops::Range<u64>) {
    let calls: Vec<_> = range.map(|n| call(StoreOp::Report, n)).collect();
    for batch in calls.chunks(64) {
        let answers = execute(store, now, batch);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

/// Runs a whole round of expiry, and returns how many slices it took.
pub(crate) fn expire(store: &mut impl Store, limit: i64) -> Result<u32, StoreFailure> {
    let mut slices = 1;
    while store.upkeep(at(limit), Task::Expire(UnixTime::from_seconds(limit)))? == Progress::More {
        slices += 1;
    }
    Ok(slices)
}

/// Returns all keys and values of a database, sorted.
#[cfg(feature = "gdbm")]
pub(crate) fn entries(db: &pyzord_engines::Gdbm) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries: Vec<_> = db.entries().map(Result::unwrap).collect();
    entries.sort();
    entries
}

/// Returns the files beside the database.
pub(crate) fn others(path: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file != path).collect()
}

/// The variable that tells a test process what to do.
pub(crate) const ROLE: &str = "PYZORD_TEST_ROLE";

/// Starts this test program in a process of its own, which runs the ignored test `child`.
pub(crate) fn start(role: &str, path: &Path) -> Child {
    // If a damaged file makes libgdbm loop, it must not fill the disk.
    start_limited(role, path, 524_288)
}

/// Starts it with a limit on the size of its files, in blocks of 512 bytes. Writes beyond the limit fail.
pub(crate) fn start_limited(role: &str, path: &Path, blocks: u32) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("PYZORD_TEST_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Returns the role and the path for this process; `None` in an ordinary run of the tests.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os("PYZORD_TEST_PATH")?.into()))
}

/// Returns the Python interpreter with the Python server, from the virtual environment that `make test`
/// builds.
pub(crate) fn python() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/pyzor-venv");
    let environment = std::env::var_os("PYZOR_VENV").map_or(built, PathBuf::from);
    let python = environment.join("bin/python");
    assert!(python.exists(), "{} is missing: run `make test`", python.display());
    python
}

/// Runs a Python script, and returns its output.
pub(crate) fn run_python(script: &str, path: &Path, zone: &str) -> String {
    let mut python = Command::new(python());
    let output = python.arg("-c").arg(script).arg(path).env("TZ", zone).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Writes keys and values into a gdbm file, with Python.
pub(crate) fn write_raw<'a>(path: &Path, entries: impl IntoIterator<Item = (String, &'a [u8])>) {
    const SCRIPT: &str = "
import sys, dbm.gnu
path, *pairs = sys.argv[1].split('|')
with dbm.gnu.open(path, 'c') as db:
    for pair in pairs:
        key, value = map(bytes.fromhex, pair.split('='))
        db[key] = value
";
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut argument = path.as_os_str().to_owned();
    for (key, value) in entries {
        argument.push(format!("|{}={}", hex(key.as_bytes()), hex(value)));
    }
    run_python(SCRIPT, argument.as_ref(), "UTC");
}

/// Waits for a process to end; kills it and panics after the limit.
pub(crate) fn wait(mut child: Child, limit: Duration) -> (ExitStatus, String) {
    let deadline = now() + limit;
    let mut output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, reader.join().unwrap().unwrap());
        }
        if now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("a process hung; it printed: {}", reader.join().unwrap().unwrap());
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline for what may hang, and how long something took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
