//! The two layouts in which records are stored, and the commands on them.

use std::time::Duration;

use jiff::tz::TimeZone;
use pyzord_core::{CleanupAge, Digest, MAX_CLOCK_DIFFERENCE, Mark, Record, Tally, UnixTime};

use super::reply::{self, ReplyError, Unreadable};
use super::request::{Request, Script};
use super::resp::{Elements, Reply};
use crate::bug::bug;
use crate::change::{Change, RecordEdit, TallyEdit};
use crate::codec;
use crate::codec::number::push_number;
use crate::codec::redis::FIELDS;
use crate::record_store::Exchange;

/// What stands in the place of a digest in the key of a probe.
const PROBE: &[u8] = b"probe";
/// The same in the key of a read that finds nothing.
const ABSENT: &[u8] = b"absent";
/// The key of a probe of the right to marks, which begins as they do.
const MARK_PROBE: &[u8] = b"pyzord.digest_marks.probe";
/// How long a mark stays: as long as a signature is valid at any of several servers. The client's clock may be ahead of
/// that of the server which counts, and the clock of another one behind it.
const MARK_AGE: Duration = Mark::LIFE.saturating_add(MAX_CLOCK_DIFFERENCE);

/// How records are stored.
#[derive(Debug)]
pub(super) enum Form {
    /// A hash of six fields.
    Hash { put: Script },
    /// A text with dates in local time, as the first Pyzor servers wrote it.
    Text { zone: TimeZone },
}

/// A form, and what its commands need.
#[derive(Debug)]
pub(super) struct Layout {
    form: Form,
    count: Script,
    change: Script,
    exchange: Script,
    probe: Script,
    set_mark: Script,
    /// Seconds until a record expires to which nothing is written, as text; `0` is never.
    age: Vec<u8>,
    /// Seconds until a mark expires, as text.
    life: Vec<u8>,
    /// Parts of the command at hand; kept for their memory.
    key: Vec<u8>,
    mark: Vec<u8>,
    stamp: Vec<u8>,
    horizon: Vec<u8>,
    times: Vec<u8>,
}

impl Layout {
    /// Returns the layout `redis`.
    pub(super) fn hash(age: Option<CleanupAge>) -> Self {
        let form = Form::Hash { put: Script::new(include_str!("put.lua")) };
        let change = concat!(include_str!("change_hash.lua"), include_str!("change.lua"));
        let scripts = [
            include_str!("count.lua"),
            change,
            include_str!("exchange.lua"),
            include_str!("probe.lua"),
            include_str!("mark.lua"),
        ];
        Self::new(form, scripts, age)
    }

    /// Returns the layout `redis_v0`, with dates in this zone.
    pub(super) fn text(zone: TimeZone, age: Option<CleanupAge>) -> Self {
        let change = concat!(include_str!("change_text.lua"), include_str!("change.lua"));
        let scripts = [
            include_str!("count_v0.lua"),
            change,
            include_str!("exchange_v0.lua"),
            include_str!("probe_v0.lua"),
            include_str!("mark_v0.lua"),
        ];
        Self::new(Form::Text { zone }, scripts, age)
    }

    fn new(form: Form, scripts: [&'static str; 5], age: Option<CleanupAge>) -> Self {
        let [count, change, exchange, probe, set_mark] = scripts.map(Script::new);
        let mut text = Vec::new();
        // Redis refuses a time to live that does not fit its clock in milliseconds. This is 36 million years.
        push_number(age.map_or(0, CleanupAge::seconds).min(1 << 50), &mut text);
        let mut life = Vec::new();
        push_number(MARK_AGE.as_secs(), &mut life);
        Self {
            form,
            count,
            change,
            exchange,
            probe,
            set_mark,
            age: text,
            life,
            key: Vec::new(),
            mark: Vec::new(),
            stamp: Vec::new(),
            horizon: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Returns the prefix of the keys of records; the digest follows it.
    pub(super) fn prefix(&self) -> &'static str {
        match self.form {
            Form::Hash { .. } => "pyzord.digest_v1.",
            Form::Text { .. } => "pyzord.digest.",
        }
    }

    /// Returns the key of a digest's record.
    pub(super) fn key(&mut self, digest: Digest) -> &[u8] {
        self.key.clear();
        self.key.extend_from_slice(self.prefix().as_bytes());
        self.key.extend_from_slice(&digest.hex());
        &self.key
    }

    /// Adds the command that reads a record.
    ///
    /// Asks for the six fields of a hash, as any other fields in it could make the reply long.
    pub(super) fn read(&mut self, digest: Digest, request: &mut Request) {
        self.key(digest);
        self.read_key(request);
    }

    fn read_key(&self, request: &mut Request) {
        if let Form::Hash { .. } = self.form {
            let [a, b, c, d, e, f] = FIELDS.map(str::as_bytes);
            request.command(&[b"HMGET", &self.key, a, b, c, d, e, f]);
        } else {
            request.command(&[b"GET", &self.key]);
        }
    }

    /// Sets the time of the counts that follow.
    pub(super) fn stamp(&mut self, now: UnixTime) {
        for (time, text) in [(now, &mut self.stamp), (now.horizon(), &mut self.horizon)] {
            text.clear();
            match &self.form {
                Form::Hash { .. } => push_number(time.seconds().max(0).cast_unsigned(), text),
                Form::Text { zone } => codec::redis_v0::push_date(time, zone, text),
            }
        }
    }

    /// Adds the command that counts reports (`r`) or whitelistings (`wl`) at the time of the last stamp; with a mark, only
    /// if the mark is new.
    pub(super) fn count(
        &mut self,
        kind: &str,
        digest: Digest,
        times: u32,
        mark: Option<Mark>,
        request: &mut Request,
    ) {
        self.key(digest);
        self.times.clear();
        push_number(times.into(), &mut self.times);
        let arguments = [kind.as_bytes(), &self.stamp, &self.age, &self.times, &self.horizon, &self.life];
        if let Some(mark) = mark {
            push_mark(&self.key, mark, &mut self.mark);
            request.script(&self.count, &self.key, Some(&self.mark), &arguments);
        } else {
            let [arguments @ .., _] = &arguments;
            request.script(&self.count, &self.key, None, arguments);
        }
    }

    /// Adds the command that sets a mark alone, to `pending`, `counted` or `none`.
    pub(super) fn set_mark(&mut self, digest: Digest, mark: Mark, to: &str, request: &mut Request) {
        self.key(digest);
        push_mark(&self.key, mark, &mut self.mark);
        request.script(&self.set_mark, &self.mark, None, &[to.as_bytes(), &self.life]);
    }

    /// Adds a command that fails where a count would. Its key begins as those of records do, and is gone at once. A tag
    /// chooses the slot of the key in a cluster.
    pub(super) fn probe(&mut self, tag: Option<u32>, request: &mut Request) {
        self.set_key(PROBE, tag);
        request.script(&self.probe, &self.key, None, &[&self.age]);
    }

    /// Adds the same for the key of a mark.
    pub(super) fn probe_marks(&mut self, tag: Option<u32>, request: &mut Request) {
        self.mark.clear();
        self.mark.extend_from_slice(MARK_PROBE);
        push_tag(tag, &mut self.mark);
        request.script(&self.probe, &self.mark, None, &[&self.age]);
    }

    /// Adds a command that reads a key which never exists, in the slot of this tag.
    pub(super) fn read_tagged(&mut self, tag: u32, request: &mut Request) {
        self.set_key(ABSENT, Some(tag));
        self.read_key(request);
    }

    /// Returns how the keys of probes go on behind the prefix.
    pub(super) fn probe_name(&self) -> &'static [u8] {
        PROBE
    }

    /// Returns whether there may be records of an older layout beside those of this one.
    pub(super) fn has_old_layout(&self) -> bool {
        matches!(self.form, Form::Hash { .. })
    }

    fn set_key(&mut self, name: &[u8], tag: Option<u32>) {
        self.key.clear();
        self.key.extend_from_slice(self.prefix().as_bytes());
        self.key.extend_from_slice(name);
        push_tag(tag, &mut self.key);
    }

    /// Adds the command that stores a whole record.
    pub(super) fn put(&mut self, digest: Digest, record: &Record, request: &mut Request) {
        self.key(digest);
        match &self.form {
            Form::Hash { put } => {
                let values = self.fields(record);
                let mut arguments = vec![&*self.age];
                for (name, value) in FIELDS.iter().zip(&values) {
                    arguments.extend([name.as_bytes(), value.as_bytes()]);
                }
                request.script(put, &self.key, None, &arguments);
            }
            Form::Text { zone } => {
                let mut value = Vec::new();
                codec::redis_v0::encode(record, zone, &mut value);
                if self.age == b"0" {
                    request.command(&[b"SET", &self.key, &value]);
                } else {
                    request.command(&[b"SETEX", &self.key, &self.age, &value]);
                }
            }
        }
    }

    /// Adds the command that changes a record.
    pub(super) fn change(&mut self, digest: Digest, change: &Change, request: &mut Request) {
        self.key(digest);
        let (how, now, values) = match change {
            Change::Merge(record) => ("merge", String::new(), self.fields(record)),
            Change::Set(RecordEdit { reports, whitelists, now }) => {
                let [r_count, r_last] = self.edit(*reports);
                let [wl_count, wl_last] = self.edit(*whitelists);
                let values = [r_count, String::new(), r_last, wl_count, String::new(), wl_last];
                ("set", self.date(*now), values)
            }
        };
        let mut arguments = vec![&*self.age, how.as_bytes(), now.as_bytes()];
        arguments.extend(values.iter().map(String::as_bytes));
        request.script(&self.change, &self.key, None, &arguments);
    }

    /// Returns a count and a last date as the fields have them; what stays is empty.
    fn edit(&self, TallyEdit { count, last }: TallyEdit) -> [String; 2] {
        let count = count.map(|count| count.min(Tally::MAX).to_string());
        [count.unwrap_or_default(), last.map(|last| self.date(last)).unwrap_or_default()]
    }

    /// Returns a date as a field has it.
    fn date(&self, date: UnixTime) -> String {
        let reports = Tally { updated: Some(date), ..Tally::default() };
        let [_, _, updated, ..] = self.fields(&Record { reports, ..Record::default() });
        updated
    }

    /// Returns the six fields of a record as text, in the order of [`FIELDS`].
    fn fields(&self, record: &Record) -> [String; 6] {
        match &self.form {
            Form::Hash { .. } => codec::redis::encode(record).map(|value| value.to_string()),
            Form::Text { zone } => {
                let mut text = Vec::new();
                codec::redis_v0::encode(record, zone, &mut text);
                let mut fields = text.split(|byte| *byte == b',').map(String::from_utf8_lossy);
                std::array::from_fn(|_| fields.next().unwrap_or_default().into_owned())
            }
        }
    }

    /// Adds the command that changes a record if it is the expected one.
    pub(super) fn exchange(&mut self, change: &Exchange, request: &mut Request) {
        self.key(change.digest);
        let mut values = self.values(&change.expected);
        values.extend(change.new.iter().flat_map(|new| self.values(new)));
        let mut arguments = vec![&*self.age];
        arguments.extend(values.iter().map(Vec::as_slice));
        request.script(&self.exchange, &self.key, None, &arguments);
    }

    /// Returns the values of a record as they are stored.
    fn values(&self, record: &Record) -> Vec<Vec<u8>> {
        match &self.form {
            Form::Hash { .. } => {
                codec::redis::encode(record).map(|value| value.to_string().into_bytes()).to_vec()
            }
            Form::Text { zone } => {
                let mut value = Vec::new();
                codec::redis_v0::encode(record, zone, &mut value);
                vec![value]
            }
        }
    }

    /// Returns the record in the reply to a read; `None` if there is none.
    pub(super) fn record(&self, reply: Reply<'_>) -> Result<Option<Record>, ReplyError> {
        match (&self.form, reply) {
            (Form::Hash { .. }, Reply::Array(values)) => hash(values),
            (Form::Text { .. }, Reply::Nil) => Ok(None),
            (Form::Text { zone }, Reply::Text(value)) => {
                Ok(Some(codec::redis_v0::decode(value, zone).map_err(Unreadable::Text)?))
            }
            _ => Err(reply::error(reply)),
        }
    }

    /// Returns the record as it is read after it was put.
    pub(super) fn rounded(&self, record: &Record) -> Record {
        let read = match &self.form {
            Form::Hash { .. } => {
                let values = codec::redis::encode(record).map(|value| value.to_string());
                codec::redis::decode(values.each_ref().map(|value| Some(value.as_bytes())))
                    .map_err(Unreadable::Hash)
            }
            Form::Text { zone } => {
                let mut value = Vec::new();
                codec::redis_v0::encode(record, zone, &mut value);
                codec::redis_v0::decode(&value, zone).map_err(Unreadable::Text)
            }
        };
        read.unwrap_or_else(|why| {
            bug(format_args!("{record:?} was encoded, and cannot be decoded: {why}"));
            *record
        })
    }
}

/// Writes the key of a mark.
///
/// The braces put it into the slot of its record in a cluster. No pattern for records matches it.
fn push_mark(record: &[u8], mark: Mark, key: &mut Vec<u8>) {
    key.clear();
    for part in [&b"pyzord.digest_marks.{"[..], record, b"}.", &mark.signature.hex(), b"."] {
        key.extend_from_slice(part);
    }
    push_number(mark.place.into(), key);
}

/// Writes the tag that chooses a key's slot.
fn push_tag(tag: Option<u32>, key: &mut Vec<u8>) {
    if let Some(tag) = tag {
        key.push(b'{');
        push_number(tag.into(), key);
        key.push(b'}');
    }
}

/// Decodes the six fields of a hash; `None` if none of them exists.
fn hash(values: Elements<'_>) -> Result<Option<Record>, ReplyError> {
    let mut fields = [None; FIELDS.len()];
    if values.len() != fields.len() {
        return Err(ReplyError::Unexpected);
    }
    for (field, value) in fields.iter_mut().zip(values.iter()) {
        *field = match value {
            Reply::Text(value) => Some(value),
            Reply::Nil => None,
            _ => return Err(ReplyError::Unexpected),
        };
    }
    if fields.iter().all(Option::is_none) {
        return Ok(None);
    }
    Ok(Some(codec::redis::decode(fields).map_err(Unreadable::Hash)?))
}
