//! Whole records, for migrations and operators.

use std::collections::HashSet;

use pyzord_core::{Digest, Progress, Record, StoreFailure};

use super::super::layout::Layout;
use super::super::record_store::{CHANGES, Cause, SLICE, digest};
use super::super::reply::{Counting, ReplyError, changed, counted, stored};
use super::super::request::Request;
use super::engine::Cluster;
use super::scan::{Answer, Home, Question, Scan, Step};
use super::slice::{Effect, Outcome};
use super::slot::Slot;
use crate::change::{Change, ChangeError};
use crate::record_store::{EntryError, Exchange, RecordStore, StoredEntry, key_text};

/// How often slots are looked for that have moved since they were asked for.
const MOST_MOVES: usize = 20;

impl Cluster {
    fn slots(&mut self, digests: impl Iterator<Item = Digest>) -> Vec<Slot> {
        digests.map(|digest| Slot::of(self.layout.key(digest))).collect()
    }

    /// Makes results of what became of commands.
    fn results<T>(&self, outcomes: Vec<Outcome<T>>, results: &mut Vec<Result<T, StoreFailure>>) {
        results.extend(
            outcomes.into_iter().map(|outcome| outcome.into_result().map_err(|why| self.failure(why))),
        );
    }

    /// Takes the keys of the next slots.
    fn step(&mut self, scan: &mut Scan) -> Result<(), StoreFailure> {
        let mut left = scan.next_slots();
        let count = left.len();
        let mut found = Vec::new();
        for _ in 0..MOST_MOVES {
            if left.is_empty() {
                break;
            }
            let keys = left.iter().map(|(slot, _)| Question::Keys(*slot, None));
            let homes = left.iter().map(|(slot, tag)| Question::Home(*slot, *tag));
            // The keys before the question after the home, on the same connection.
            let answers = self.answers(keys.chain(homes).collect())?;
            let (keys, homes) = answers.split_at(left.len());
            let mut moved = Vec::new();
            let mut moving = Vec::new();
            for ((slot, keys), home) in left.iter().zip(keys).zip(homes) {
                match (keys, home) {
                    (Answer::Keys(keys), Answer::Home(Home::Here)) => found.extend_from_slice(keys),
                    (Answer::Keys(keys), Answer::Home(Home::Moving(host))) => {
                        moving.push((Question::Keys(slot.0, Some(host.clone())), keys.clone()));
                    }
                    _ => moved.push(*slot),
                }
            }
            self.follow_moving(moving, &mut found)?;
            left = moved;
        }
        if !left.is_empty() {
            return Err(self.failure("its slots move faster than they are read".to_owned()));
        }
        let prefix = self.layout.prefix().as_bytes();
        let is_record = |key: &Vec<u8>| {
            key.strip_prefix(prefix).is_some_and(|name| !name.starts_with(self.layout.probe_name()))
        };
        scan.found(count, found.into_iter().filter(is_record), SLICE);
        Ok(())
    }

    /// Adds the keys of slots that move: those that the master has, and those that the other node has, each once.
    fn follow_moving(
        &mut self,
        moving: Vec<(Question, Vec<Vec<u8>>)>,
        found: &mut Vec<Vec<u8>>,
    ) -> Result<(), StoreFailure> {
        if moving.is_empty() {
            return Ok(());
        }
        let (questions, keys): (Vec<_>, Vec<_>) = moving.into_iter().unzip();
        let mut seen: HashSet<Vec<u8>> = keys.into_iter().flatten().collect();
        for answer in self.answers(questions)? {
            if let Answer::Keys(keys) = answer {
                seen.extend(keys);
            }
        }
        found.extend(seen);
        Ok(())
    }

    fn answers(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, StoreFailure> {
        let limits = self.router.limits();
        let mut step = Step::new(questions, &mut self.layout);
        self.router.run(None, limits, &mut step);
        let answers: Result<Vec<_>, _> = step.answers.into_iter().collect();
        answers.map_err(|why| self.failure(why))
    }

    /// Appends the entries with these keys; nothing for a record that has expired meanwhile.
    fn entries(&mut self, keys: &[Vec<u8>], found: &mut Vec<StoredEntry>) -> Result<(), StoreFailure> {
        let prefix = self.layout.prefix().as_bytes();
        let names: Vec<&[u8]> = keys.iter().map(|key| key.strip_prefix(prefix).unwrap_or(key)).collect();
        let digests: Vec<Option<Digest>> = names.iter().map(|name| digest(name)).collect();
        let asked: Vec<Digest> = digests.iter().flatten().copied().collect();
        let mut outcomes = self.read(&asked).into_iter();
        for (name, digest) in names.iter().zip(digests) {
            let record = match digest {
                None => Err(EntryError::new(Cause::Key)),
                Some(digest) => match outcomes.next() {
                    Some(Outcome::Answer(Ok(Some(record)))) => Ok((digest, record)),
                    Some(Outcome::Answer(Ok(None))) => continue,
                    Some(Outcome::Answer(Err(ReplyError::Unreadable(why)))) => {
                        Err(EntryError::new(Cause::Value(why)))
                    }
                    Some(Outcome::Answer(Err(error))) => return Err(self.failure(error.to_string())),
                    Some(Outcome::Refused(why) | Outcome::InDoubt(why)) => return Err(self.failure(why)),
                    None => return Err(self.failure(ReplyError::Unexpected.to_string())),
                },
            };
            found.push(StoredEntry { key: key_text(name), record });
        }
        Ok(())
    }

    /// Reads the records of digests.
    fn read(&mut self, digests: &[Digest]) -> Vec<Outcome<Option<Record>>> {
        let slots = self.slots(digests.iter().copied());
        let read = |index: usize, layout: &mut Layout, request: &mut Request| {
            if let Some(digest) = digests.get(index) {
                layout.read(*digest, request);
            }
        };
        self.send(None, slots, Effect::Reads, read, Layout::record)
    }
}

impl RecordStore for Cluster {
    /// Records come once each, although slots move meanwhile.
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let mut scan = self.scan.take().unwrap_or_else(Scan::new);
        let before = found.len();
        let scanned = self.scan_slice(&mut scan, found);
        let over = scan.is_over();
        if scanned.is_err() || !over {
            self.scan = Some(scan);
        }
        scanned.inspect_err(|_| found.truncate(before))?;
        Ok(if over { Progress::Done } else { Progress::More })
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        for records in records.chunks(SLICE) {
            let slots = self.slots(records.iter().map(|(digest, _)| *digest));
            let command = |index: usize, layout: &mut Layout, request: &mut Request| {
                if let Some((digest, record)) = records.get(index) {
                    layout.put(*digest, record, request);
                }
            };
            let outcomes = self.send(None, slots, Effect::Writes, command, |_, reply| stored(reply));
            self.results(outcomes, results);
        }
    }

    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        for (done, slice) in changes.chunks(CHANGES).enumerate() {
            let before = results.len();
            self.change_slice(slice, results);
            let failed = results.iter().skip(before).find_map(|result| match result {
                Err(ChangeError::InDoubt(failure) | ChangeError::Away(failure)) => Some(failure.clone()),
                _ => None,
            });
            if let Some(failure) = failed {
                let left = changes.len() - (done * CHANGES + slice.len()).min(changes.len());
                return results.extend((0..left).map(|_| Err(ChangeError::Away(failure.clone()))));
            }
        }
    }

    fn exchange(&mut self, changes: &[Exchange], results: &mut Vec<Result<bool, StoreFailure>>) {
        for changes in changes.chunks(SLICE) {
            let slots = self.slots(changes.iter().map(|change| change.digest));
            let command = |index: usize, layout: &mut Layout, request: &mut Request| {
                if let Some(change) = changes.get(index) {
                    layout.exchange(change, request);
                }
            };
            let outcomes = self.send(None, slots, Effect::Changes, command, |_, reply| changed(reply));
            self.results(outcomes, results);
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        for digests in digests.chunks(SLICE) {
            let records = self.read(digests).into_iter().map(Outcome::into_result);
            results.extend(records.map(|record| match record {
                Ok(record) => Ok(record.unwrap_or_default()),
                Err(why) => Err(self.failure(why)),
            }));
        }
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        for digests in digests.chunks(SLICE) {
            let slots = self.slots(digests.iter().copied());
            let command = |index: usize, layout: &mut Layout, request: &mut Request| {
                if let Some(digest) = digests.get(index) {
                    request.command(&[b"DEL", layout.key(*digest)]);
                }
            };
            let outcomes = self.send(None, slots, Effect::Writes, command, |_, reply| stored(reply));
            let mut results = Vec::new();
            self.results(outcomes, &mut results);
            results.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Counts all keys of the cluster, those of others included.
    fn estimate(&mut self) -> Option<u64> {
        self.count_keys(None)
    }

    fn rounded(&self, record: &Record) -> Record {
        self.layout.rounded(record)
    }
}

impl Cluster {
    fn scan_slice(&mut self, scan: &mut Scan, found: &mut Vec<StoredEntry>) -> Result<(), StoreFailure> {
        if scan.keys.is_empty() {
            self.step(scan)?;
        }
        let count = scan.keys.len().min(SLICE);
        let keys: Vec<Vec<u8>> = scan.keys.iter().take(count).cloned().collect();
        self.entries(&keys, found)?;
        scan.keys.drain(..count);
        Ok(())
    }

    fn change_slice(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        let slots = self.slots(changes.iter().map(|(digest, _)| *digest));
        let change = |index: usize, layout: &mut Layout, request: &mut Request| {
            if let Some((digest, change)) = changes.get(index) {
                layout.change(*digest, change, request);
            }
        };
        let outcomes = self.send(None, slots, Effect::Changes, change, |_, reply| counted(reply));
        results.extend(outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Refused(why) => Err(ChangeError::Away(self.failure(why))),
            Outcome::InDoubt(why) => Err(ChangeError::InDoubt(self.failure(why))),
            Outcome::Answer(Ok(Counting::Counted)) => Ok(()),
            // A change has no mark.
            Outcome::Answer(
                Ok(Counting::AlreadyCounted | Counting::Pending) | Err(ReplyError::Unexpected),
            ) => Err(ChangeError::InDoubt(self.failure(ReplyError::Unexpected.to_string()))),
            Outcome::Answer(Err(error @ (ReplyError::Away(_) | ReplyError::Redirected(_)))) => {
                Err(ChangeError::Away(self.failure(error.to_string())))
            }
            Outcome::Answer(Err(error)) => Err(ChangeError::Refused(self.failure(error.to_string()))),
        }));
    }
}
