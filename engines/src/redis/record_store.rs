//! Whole records, for migrations and operators.

use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::connection::ExchangeError;
use super::engine::{Single, TripError};
use super::reply::{Counting, ReplyError, Unreadable, changed, counted, number, stored};
use super::resp::Reply;
use super::scan::{Cursor, Page};
use crate::change::{Change, ChangeError};
use crate::failure::failure;
use crate::record_store::{EntryError, Exchange, RecordStore, StoredEntry, key_text};

/// How many records one round trip takes, and about how many keys one step of a scan returns.
pub(super) const SLICE: usize = 250;

/// How many changes one round trip takes: each has a script of 4 kB.
pub(super) const CHANGES: usize = 64;

/// Why an entry holds no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("its key is not a digest of 40 hex digits in lower case")]
    Key,
    #[error("it is unreadable: {0}")]
    Value(Unreadable),
}

impl Single {
    /// Sends the request and reads its replies.
    fn ask(&mut self) -> Result<(), StoreFailure> {
        self.wait_for_trip().map_err(|error| self.trip_failure(error))
    }

    /// Closes a connection whose round trip failed, and returns the failure.
    fn trip_failure(&mut self, error: TripError) -> StoreFailure {
        self.connection.close();
        // The server may be another process when it is back, which orders its keys differently.
        self.cursor = Cursor::default();
        failure(self.connection.name(), error)
    }

    fn reply_failure(&self, error: ReplyError) -> StoreFailure {
        failure(self.connection.name(), error)
    }

    /// Sends the request, whose commands are about `length` records, and appends a result for each. If the
    /// round trip fails, its failure is the result of each.
    fn slice<T>(
        &mut self,
        length: usize,
        results: &mut Vec<Result<T, StoreFailure>>,
        read: impl Fn(&Self, Reply<'_>) -> Result<T, ReplyError>,
    ) {
        if let Err(failure) = self.ask() {
            return results.extend((0..length).map(|_| Err(failure.clone())));
        }
        let read = |reply| read(self, reply).map_err(|error| self.reply_failure(error));
        results.extend(self.replies.iter().map(read));
    }

    /// Does the same for commands that write: a record that is not on as many replicas as wanted has failed.
    fn writing_slice<T>(
        &mut self,
        length: usize,
        results: &mut Vec<Result<T, StoreFailure>>,
        read: impl Fn(&Self, Reply<'_>) -> Result<T, ReplyError>,
    ) {
        let Some(replicas) = self.replicas else { return self.slice(length, results, read) };
        replicas.wait(&mut self.request);
        if let Err(failure) = self.ask() {
            return results.extend((0..length).map(|_| Err(failure.clone())));
        }
        let not_replicated = self.read_wait(replicas);
        let read = |reply| read(self, reply).map_err(|error| self.reply_failure(error));
        results.extend(self.replies.iter().take(length).map(|reply| match &not_replicated {
            Some(cause) => read(reply).and(Err(failure(self.connection.name(), cause.to_string()))),
            None => read(reply),
        }));
    }

    /// Sends the request, whose commands are changes, and appends a result for each that was answered.
    fn change_slice(
        &mut self,
        length: usize,
        results: &mut Vec<Result<(), ChangeError>>,
    ) -> Result<(), TripError> {
        if let Some(replicas) = self.replicas {
            replicas.wait(&mut self.request);
        }
        let trip = self.wait_for_trip();
        let replicas = self.replicas.filter(|_| trip.is_ok());
        let not_replicated = replicas.and_then(|replicas| self.read_wait(replicas));
        let read = |reply| match counted(reply) {
            Ok(Counting::Counted) => not_replicated.as_ref().map_or(Ok(()), |cause| {
                Err(ChangeError::InDoubt(failure(self.connection.name(), cause.to_string())))
            }),
            // A change has no mark.
            Ok(Counting::AlreadyCounted | Counting::Pending) | Err(ReplyError::Unexpected) => {
                Err(ChangeError::InDoubt(self.reply_failure(ReplyError::Unexpected)))
            }
            Err(error @ ReplyError::Away(_)) => Err(ChangeError::Away(self.reply_failure(error))),
            Err(error) => Err(ChangeError::Refused(self.reply_failure(error))),
        };
        results.extend(self.replies.iter().take(length).map(read));
        trip
    }

    /// Appends the entries with these keys; nothing for a record that has expired meanwhile.
    fn entries(&mut self, keys: &[Vec<u8>], found: &mut Vec<StoredEntry>) -> Result<(), StoreFailure> {
        let prefix = self.layout.prefix().as_bytes();
        // A key without the prefix does not match the pattern; its whole name shows it.
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
                None => Err(EntryError::new(Cause::Key)),
                Some(digest) => {
                    let reply = replies.next().ok_or(ReplyError::Unexpected);
                    match reply.and_then(|reply| self.layout.record(reply)) {
                        Ok(Some(record)) => Ok((digest, record)),
                        Ok(None) => continue,
                        Err(ReplyError::Unreadable(why)) => Err(EntryError::new(Cause::Value(why))),
                        Err(error) => return Err(self.reply_failure(error)),
                    }
                }
            };
            found.push(StoredEntry { key: key_text(name), record });
        }
        Ok(())
    }
}

impl RecordStore for Single {
    /// A scan whose connection was lost begins again at the start.
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let pattern = format!("{}*", self.layout.prefix());
        self.request.clear();
        self.cursor.scan(&pattern, SLICE, &mut self.request);
        self.ask()?;
        let page = Page::read(self.replies.first()).map_err(|error| self.reply_failure(error))?;
        let before = found.len();
        self.entries(&page.keys, found).inspect_err(|_| found.truncate(before))?;
        let progress = if page.next.is_some() { Progress::More } else { Progress::Done };
        self.cursor = page.next.unwrap_or_default();
        Ok(progress)
    }

    /// The records expire if nothing is written to them for the engine's
    /// [`CleanupAge`](pyzord_core::CleanupAge) from now on.
    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        for slice in records.chunks(SLICE) {
            self.request.clear();
            // The script is short, and a proxy may send each key to another server.
            self.request.spell_scripts(true);
            slice.iter().for_each(|(digest, record)| self.layout.put(*digest, record, &mut self.request));
            self.writing_slice(slice.len(), results, |_, reply| stored(reply));
        }
    }

    /// Gives the records a new time to live, as [`put`](Self::put) does.
    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        let mut left = changes.len();
        for slice in changes.chunks(CHANGES) {
            self.request.clear();
            self.request.spell_scripts(true);
            slice.iter().for_each(|(digest, change)| self.layout.change(*digest, change, &mut self.request));
            let before = results.len();
            let trip = self.change_slice(slice.len(), results);
            let answered = results.len() - before;
            left -= answered;
            let Err(error) = trip else { continue };
            let sent = matches!(&error, TripError::Exchange(ExchangeError { sent: true, .. }));
            let doubtful = if sent { slice.len() - answered } else { 0 };
            let failure = self.trip_failure(error);
            results.extend((0..doubtful).map(|_| Err(ChangeError::InDoubt(failure.clone()))));
            results.extend((doubtful..left).map(|_| Err(ChangeError::Away(failure.clone()))));
            return;
        }
    }

    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        for slice in changes.chunks(SLICE) {
            self.request.clear();
            self.request.spell_scripts(true);
            slice.iter().for_each(|change| self.layout.exchange(change, &mut self.request));
            self.writing_slice(slice.len(), results, |_, reply| changed(reply));
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        for slice in digests.chunks(SLICE) {
            self.request.clear();
            slice.iter().for_each(|digest| self.layout.read(*digest, &mut self.request));
            self.slice(slice.len(), results, |engine, reply| {
                Ok(engine.layout.record(reply)?.unwrap_or_default())
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
            self.writing_slice(slice.len(), &mut results, |_, reply| stored(reply));
            results.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Counts all keys of the database, those of others included.
    fn estimate(&mut self) -> Option<u64> {
        self.request.clear();
        self.request.command(&[b"DBSIZE"]);
        let counted =
            self.ask().and_then(|()| number(self.replies.first()).map_err(|error| self.reply_failure(error)));
        counted.inspect_err(|failure| log::debug!("{failure}")).ok()
    }

    fn rounded(&self, record: &Record) -> Record {
        self.layout.rounded(record)
    }
}

/// Parses the digest in a key. Upper case is refused: the server looks for lower case, and does not find such
/// a key.
pub(super) fn digest(name: &[u8]) -> Option<Digest> {
    Digest::parse(name).filter(|digest| digest.hex() == name)
}
