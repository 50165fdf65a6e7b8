//! The gdbm files of the two servers after the same requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::tz::TimeZone;
use pyzord_core::{Digest, Operation, Record, Request, Tally, UnixTime};
use pyzord_engines::codec;

use crate::differences::Coverage;
use crate::exchange::Reply;
use crate::generate::{STORED, stored};
use crate::peer;

/// The differences in the database.
pub(crate) const NAMES: [&str; 3] = ["digest-case", "partial-report", "signed-oddities"];

/// Keys and values of a gdbm file.
pub(crate) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Creates a database with the records of [`STORED`].
pub(crate) fn fill(path: &Path) {
    let entries: Vec<String> = (0..STORED.len())
        .map(|number| {
            format!("{} {}", peer::hex(stored(number).as_bytes()), peer::hex(STORED[number].1.as_bytes()))
        })
        .collect();
    let answers = peer::ask("seed", "UTC", Some(path), &entries);
    assert!(answers.iter().all(|answer| answer == "-"), "{answers:?}");
}

/// Reads all records of a database, by Python.
pub(crate) fn read(path: &Path) -> Contents {
    let pair = |line: String| {
        let (key, value) = line.split_once(' ').unwrap();
        (peer::unhex(key), peer::unhex(value))
    };
    peer::ask("dump", "UTC", Some(path), &[]).into_iter().map(pair).collect()
}

/// The digests that only one of the servers has counted, according to the replies.
#[derive(Debug, Default)]
pub(crate) struct Diverging {
    python: BTreeSet<String>,
    /// With the name of the difference.
    ours: BTreeMap<String, &'static str>,
}

impl Diverging {
    /// Records the digests of a request with these replies, if only one server counts them.
    pub(crate) fn note(&mut self, request: &Request<'_>, python: &Reply, predicted: &Reply) {
        let counts = matches!(Operation::parse(request.op), Some(Operation::Report | Operation::Whitelist));
        // Python removes the empty lines of old clients.
        let digests = request.digests().map(|text| text.escape_ascii().to_string().replace("\\n\\n", "\\n"));
        let counted = |code| matches!(code, 200 | 500);
        if !counts || python.code == 200 && predicted.code == 200 {
            return;
        }
        // If both fail, Python has counted the digests before the unreadable one; this server has counted all others.
        if counted(python.code) && !counted(predicted.code) {
            self.python.extend(digests);
        } else if counted(predicted.code) {
            let name = if counted(python.code) { "partial-report" } else { "signed-oddities" };
            self.ours.extend(digests.map(|digest| (digest, name)));
        }
    }

    /// Compares the two databases. `window` is the time in which the servers ran.
    pub(crate) fn compare(
        self,
        mut python: Contents,
        mut ours: Contents,
        window: (i64, i64),
        coverage: &mut Coverage,
    ) {
        python.retain(|key, _| ours.contains_key(key) || !self.python.contains(&shown(key)));
        let cased: Vec<_> = python.keys().filter(|key| is_cased(key)).cloned().collect();
        for key in cased {
            let value = python.remove(&key).unwrap();
            assert_eq!(python.insert(key.to_ascii_lowercase(), value), None);
            coverage.hit("digest-case");
        }
        ours.retain(|key, _| {
            let name = self.ours.get(&shown(key)).filter(|_| !python.contains_key(key));
            name.inspect(|name| coverage.hit(name)).is_none()
        });
        assert_eq!(names(&python), names(&ours));
        for ((key, a), b) in python.iter().zip(ours.values()) {
            assert!(a == b || same(a, b, window), "{}: {a:?} {b:?}", shown(key));
        }
    }
}

fn names(contents: &Contents) -> Vec<String> {
    contents.keys().map(|key| shown(key)).collect()
}

fn shown(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn is_cased(key: &[u8]) -> bool {
    Digest::parse(key).is_some_and(|digest| digest.hex() != *key)
}

/// Returns whether two values are equal except for the time of counts in this run.
fn same(a: &[u8], b: &[u8], (start, end): (i64, i64)) -> bool {
    let read = |value| codec::gdbm::decode(value, &TimeZone::system()).ok();
    let (Some(a), Some(b)) = (read(a), read(b)) else { return false };
    let fresh = |date: UnixTime| date.seconds() >= start && date.seconds() <= end;
    let date = |a: Option<UnixTime>, b: Option<UnixTime>| match (a, b) {
        (Some(a), Some(b)) => a == b || fresh(a) && fresh(b),
        (a, b) => a == b,
    };
    let tally =
        |a: Tally, b: Tally| a.count == b.count && date(a.entered, b.entered) && date(a.updated, b.updated);
    let pair = |a: Record, b: Record| tally(a.reports, b.reports) && tally(a.whitelists, b.whitelists);
    pair(a, b)
}
