//! What two servers have in their gdbm files after the same requests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::tz::TimeZone;
use pyzord_core::{Digest, Operation, Record, Request, Tally, UnixTime};
use pyzord_engines::codec;

use crate::differences::Met;
use crate::exchange::Reply;
use crate::generate::{STORED, stored};
use crate::peer;

/// The differences that show in the store.
pub(crate) const NAMES: [&str; 3] = ["digest-case", "partial-report", "signed-oddities"];

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes a database that has what [`STORED`] says.
pub(crate) fn fill(path: &Path) {
    let entries: Vec<String> = (0..STORED.len())
        .map(|number| {
            format!("{} {}", peer::hex(stored(number).as_bytes()), peer::hex(STORED[number].1.as_bytes()))
        })
        .collect();
    let answers = peer::ask("seed", "UTC", Some(path), &entries);
    assert!(answers.iter().all(|answer| answer == "-"), "{answers:?}");
}

/// Everything in a database, read by Python.
pub(crate) fn read(path: &Path) -> Contents {
    let pair = |line: String| {
        let (key, value) = line.split_once(' ').unwrap();
        (peer::unhex(key), peer::unhex(value))
    };
    peer::ask("dump", "UTC", Some(path), &[]).into_iter().map(pair).collect()
}

/// Which digests only one of the servers has counted, as the replies say.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    python: BTreeSet<String>,
    /// With the difference that is the reason.
    ours: BTreeMap<String, &'static str>,
}

impl Apart {
    /// Takes note of a request that Python answered so, and for which this was promised.
    pub(crate) fn note(&mut self, request: &Request<'_>, python: &Reply, promised: &Reply) {
        let counts = matches!(Operation::parse(request.op), Some(Operation::Report | Operation::Whitelist));
        // As Python has it in memory: without the empty lines of old clients.
        let digests = request.digests().map(|text| text.escape_ascii().to_string().replace("\\n\\n", "\\n"));
        let counted = |code| matches!(code, 200 | 500);
        if !counts || python.code == 200 && promised.code == 200 {
            return;
        }
        // Where both fail, Python has counted those before the unreadable one, ours all others.
        if counted(python.code) && !counted(promised.code) {
            self.python.extend(digests);
        } else if counted(promised.code) {
            let name = if counted(python.code) { "partial-report" } else { "signed-oddities" };
            self.ours.extend(digests.map(|digest| (digest, name)));
        }
    }

    /// Compares the two databases; both servers began after `start`, and have ended at `end`.
    pub(crate) fn compare(self, mut python: Contents, mut ours: Contents, window: (i64, i64), met: &mut Met) {
        python.retain(|key, _| ours.contains_key(key) || !self.python.contains(&shown(key)));
        let cased: Vec<_> = python.keys().filter(|key| is_cased(key)).cloned().collect();
        for key in cased {
            let value = python.remove(&key).unwrap();
            assert_eq!(python.insert(key.to_ascii_lowercase(), value), None);
            met.meet("digest-case");
        }
        ours.retain(|key, _| {
            let name = self.ours.get(&shown(key)).filter(|_| !python.contains_key(key));
            name.inspect(|name| met.meet(name)).is_none()
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

/// Whether two values are the same but for the moment at which the servers counted.
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
