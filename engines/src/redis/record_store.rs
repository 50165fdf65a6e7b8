//! Whole records, and all of them: what a migration needs.

use ::redis::Value;
use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::Redis;
use super::deadline::Deadline;
use super::layout::{Problem, problem, stored};
use super::request::Request;
use crate::record_store::{EntryError, RecordStore, StoredEntry};

/// How many records one trip takes, and about how many keys one step of a scan returns.
const SLICE: usize = 250;

/// Where a scan is.
#[derive(Debug)]
pub(super) struct Cursor(Vec<u8>);

impl Default for Cursor {
    fn default() -> Self {
        Self(b"0".to_vec())
    }
}

/// One step of a scan.
pub(super) struct Page {
    /// Where to go on; `0` after the last page.
    pub(super) cursor: Vec<u8>,
    pub(super) keys: Vec<Vec<u8>>,
}

/// Adds the command that takes one step of a scan.
pub(super) fn scan(cursor: &[u8], pattern: &str, slice: usize, request: &mut Request) {
    request.command(&[b"SCAN", cursor, b"MATCH", pattern.as_bytes(), b"COUNT", slice.to_string().as_bytes()]);
}

/// The page in the reply to that command.
pub(super) fn page(reply: Option<Value>) -> Result<Page, Problem> {
    let reply = reply.unwrap_or(Value::Nil);
    let Value::Array(parts) = reply else { return Err(problem(&reply)) };
    let Ok([Value::BulkString(cursor), Value::Array(keys)]) = <[Value; 2]>::try_from(parts) else {
        return Err(Problem::Away("a reply that nobody asked for".into()));
    };
    let keys =
        keys.into_iter().filter_map(|key| if let Value::BulkString(key) = key { Some(key) } else { None });
    Ok(Page { cursor, keys: keys.collect() })
}

impl Redis {
    /// Sends the request and returns its replies.
    fn ask(&mut self) -> Result<&[Value], StoreFailure> {
        self.replies.clear();
        let client = self.link.wait(|| self.dial.connect());
        let outcome = client.and_then(|client| {
            client.exchange(&self.request, Deadline::after(self.exchange), &mut self.replies)
        });
        match outcome {
            Ok(()) => Ok(&self.replies),
            Err(cause) => {
                self.link.close();
                // Another process may be there when the server is back, with another order of its keys.
                self.cursor = Cursor::default();
                Err(self.failure(&cause))
            }
        }
    }

    fn failure(&self, cause: &str) -> StoreFailure {
        StoreFailure::new(format!("{}: {cause}", self.link.name()))
    }

    fn problem(&self, problem: Problem) -> StoreFailure {
        let (Problem::Unreadable(cause) | Problem::Refused(cause) | Problem::Away(cause)) = problem;
        self.failure(&cause)
    }

    /// One trip for at most a slice; all of its results are the same failure when the trip failed.
    fn slice<T>(
        &mut self,
        length: usize,
        results: &mut Vec<Result<T, StoreFailure>>,
        read: impl Fn(&Self, &Value) -> Result<T, Problem>,
    ) {
        if let Err(failure) = self.ask() {
            return results.extend((0..length).map(|_| Err(failure.clone())));
        }
        let read = |reply| read(self, reply).map_err(|problem| self.problem(problem));
        results.extend(self.replies.iter().map(read));
    }

    /// What the scan found at these keys; nothing where a record has expired meanwhile.
    fn entries(&mut self, keys: &[Vec<u8>], found: &mut Vec<StoredEntry>) -> Result<(), StoreFailure> {
        let prefix = self.layout.prefix().as_bytes();
        let names: Vec<&[u8]> = keys.iter().map(|key| key.strip_prefix(prefix).unwrap_or(key)).collect();
        let digests: Vec<Option<Digest>> = names.iter().map(|name| digest(name)).collect();
        self.request.clear();
        digests.iter().flatten().for_each(|digest| self.layout.read(*digest, &mut self.request));
        if self.request.replies() > 0 {
            self.ask()?;
        }
        let mut replies = self.replies.iter();
        for (name, digest) in names.iter().zip(digests) {
            let record = match digest {
                None => Err("its key is not a digest of 40 hex digits in lower case".into()),
                Some(digest) => match replies.next().map(|reply| self.layout.record(reply)) {
                    Some(Ok(Some(record))) => Ok((digest, record)),
                    Some(Ok(None)) | None => continue,
                    Some(Err(Problem::Unreadable(why))) => Err(format!("it is unreadable: {why}")),
                    Some(Err(problem)) => return Err(self.problem(problem)),
                },
            };
            found.push(StoredEntry {
                key: String::from_utf8_lossy(name).into_owned(),
                record: record.map_err(|cause: String| EntryError::new(cause)),
            });
        }
        Ok(())
    }
}

impl RecordStore for Redis {
    /// A scan whose connection broke begins again at the start.
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let pattern = format!("{}*", self.layout.prefix());
        self.request.clear();
        scan(&self.cursor.0, &pattern, SLICE, &mut self.request);
        self.ask()?;
        let Page { cursor, keys } = page(self.replies.pop()).map_err(|problem| self.problem(problem))?;
        let before = found.len();
        self.entries(&keys, found).inspect_err(|_| found.truncate(before))?;
        let done = cursor == b"0";
        self.cursor = Cursor(cursor);
        Ok(if done { Progress::Done } else { Progress::More })
    }

    /// What is put expires when nothing was written to it for the engine's [`CleanupAge`](pyzord_core::CleanupAge)
    /// from now on.
    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        for slice in records.chunks(SLICE) {
            self.request.clear();
            slice.iter().for_each(|(digest, record)| self.layout.put(*digest, record, &mut self.request));
            self.slice(slice.len(), results, |_, reply| stored(reply));
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        for slice in digests.chunks(SLICE) {
            self.request.clear();
            slice.iter().for_each(|digest| self.layout.read(*digest, &mut self.request));
            self.slice(slice.len(), results, |engine, reply| {
                engine.layout.record(reply).map(Option::unwrap_or_default)
            });
        }
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        for slice in digests.chunks(SLICE) {
            self.request.clear();
            for digest in slice {
                self.request.command(&[b"DEL", self.layout.key(*digest)]);
            }
            let mut results = Vec::new();
            self.slice(slice.len(), &mut results, |_, reply| stored(reply));
            results.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// All keys of the database, those of others included.
    fn estimate(&mut self) -> Option<u64> {
        self.request.clear();
        self.request.command(&[b"DBSIZE"]);
        match self.ask().ok()?.first()? {
            Value::Int(count) => u64::try_from(*count).ok(),
            _ => None,
        }
    }

    fn rounded(&self, record: &Record) -> Record {
        self.layout.rounded(record)
    }
}

/// The digest in a key. One in upper case is none: the server looks for it in lower case, and would never find it.
fn digest(name: &[u8]) -> Option<Digest> {
    Digest::parse(name).filter(|digest| digest.hex() == name)
}
