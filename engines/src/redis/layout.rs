//! The two forms in which records are stored, and the commands on them.

use ::redis::Value;
use jiff::tz::TimeZone;
use pyzord_core::{CleanupAge, Digest, Record, UnixTime};

use super::client::complaint;
use super::request::{Request, Script};
use crate::codec;
use crate::codec::number::push_number;
use crate::codec::redis::FIELDS;

/// How records are stored.
#[derive(Debug)]
pub(super) enum Form {
    /// A hash of six fields.
    Hash { put: Script },
    /// A text with dates in local time, as the first Pyzor servers wrote it.
    Text { zone: TimeZone },
}

/// A form, and what commands on it need.
#[derive(Debug)]
pub(super) struct Layout {
    form: Form,
    count: Script,
    /// Seconds until a record that nobody writes to expires, as text; `0` is never.
    age: Vec<u8>,
    /// What a command is made of; kept for its memory.
    key: Vec<u8>,
    stamp: Vec<u8>,
    times: Vec<u8>,
}

/// Why there is no record in a reply.
#[derive(Debug)]
pub(super) enum Problem {
    /// What is stored is no record, and was left as it is.
    Unreadable(String),
    /// The server refused this command; others may work.
    Refused(String),
    /// The server can do nothing for now, or it is not the one to ask any more.
    Away(String),
}

impl Layout {
    pub(super) fn hash(age: Option<CleanupAge>) -> Self {
        let form = Form::Hash { put: Script::new(include_str!("put.lua")) };
        Self::new(form, include_str!("count.lua"), age)
    }

    pub(super) fn text(zone: TimeZone, age: Option<CleanupAge>) -> Self {
        Self::new(Form::Text { zone }, include_str!("count_v0.lua"), age)
    }

    fn new(form: Form, count: &'static str, age: Option<CleanupAge>) -> Self {
        let mut text = Vec::new();
        // Redis refuses a time to live that does not fit its clock in milliseconds: 30 million years are enough.
        push_number(age.map_or(0, CleanupAge::seconds).min(1 << 50), &mut text);
        Self {
            form,
            count: Script::new(count),
            age: text,
            key: Vec::new(),
            stamp: Vec::new(),
            times: Vec::new(),
        }
    }

    /// What the keys of records begin with; the digest follows.
    pub(super) fn prefix(&self) -> &'static str {
        match self.form {
            Form::Hash { .. } => "pyzord.digest_v1.",
            Form::Text { .. } => "pyzord.digest.",
        }
    }

    /// The key of a digest's record.
    pub(super) fn key(&mut self, digest: Digest) -> &[u8] {
        self.key.clear();
        self.key.extend_from_slice(self.prefix().as_bytes());
        self.key.extend_from_slice(&digest.hex());
        &self.key
    }

    /// Adds the command that reads a record.
    ///
    /// A hash is asked for its six fields rather than for all: whatever else somebody may have put there cannot
    /// make the reply long.
    pub(super) fn read(&mut self, digest: Digest, request: &mut Request) {
        let hash = matches!(self.form, Form::Hash { .. });
        let key = self.key(digest);
        if hash {
            let [a, b, c, d, e, f] = FIELDS.map(str::as_bytes);
            request.command(&[b"HMGET", key, a, b, c, d, e, f]);
        } else {
            request.command(&[b"GET", key]);
        }
    }

    /// Takes note of the time that the counts of a batch are given.
    pub(super) fn stamp(&mut self, now: UnixTime) {
        self.stamp.clear();
        match &self.form {
            Form::Hash { .. } => push_number(now.seconds().max(0).cast_unsigned(), &mut self.stamp),
            Form::Text { zone } => codec::redis_v0::push_date(now, zone, &mut self.stamp),
        }
    }

    /// Adds the command that counts reports (`r`) or whitelistings (`wl`), at the time of the stamp.
    pub(super) fn count(&mut self, kind: &str, digest: Digest, times: u32, request: &mut Request) {
        self.key(digest);
        self.times.clear();
        push_number(times.into(), &mut self.times);
        request.script(&self.count, &self.key, &[kind.as_bytes(), &self.stamp, &self.age, &self.times]);
    }

    /// Adds the command that stores a record whole.
    pub(super) fn put(&mut self, digest: Digest, record: &Record, request: &mut Request) {
        self.key(digest);
        match &self.form {
            Form::Hash { put } => {
                let values = codec::redis::encode(record).map(|value| value.to_string());
                let mut arguments = vec![&*self.age];
                for (name, value) in FIELDS.iter().zip(&values) {
                    arguments.extend([name.as_bytes(), value.as_bytes()]);
                }
                request.script(put, &self.key, &arguments);
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

    /// The record in the reply to a read; `None` when there is nothing.
    pub(super) fn record(&self, reply: &Value) -> Result<Option<Record>, Problem> {
        match (&self.form, reply) {
            (Form::Hash { .. }, Value::Array(values)) => hash(values),
            (Form::Text { .. }, Value::Nil) => Ok(None),
            (Form::Text { zone }, Value::BulkString(value)) => codec::redis_v0::decode(value, zone)
                .map(Some)
                .map_err(|why| Problem::Unreadable(why.to_string())),
            _ => Err(problem(reply)),
        }
    }

    /// The record as it is read when it was put.
    pub(super) fn rounded(&self, record: &Record) -> Record {
        let read = match &self.form {
            Form::Hash { .. } => {
                let values = codec::redis::encode(record).map(|value| value.to_string());
                codec::redis::decode(values.each_ref().map(|value| Some(value.as_bytes()))).ok()
            }
            Form::Text { zone } => {
                let mut value = Vec::new();
                codec::redis_v0::encode(record, zone, &mut value);
                codec::redis_v0::decode(&value, zone).ok()
            }
        };
        read.unwrap_or(*record)
    }
}

/// Whether a count was done, as the scripts say it.
pub(super) fn counted(reply: &Value) -> Result<(), Problem> {
    match reply {
        Value::Int(1) => Ok(()),
        Value::Int(_) => Err(Problem::Unreadable("a field is not of a known form".into())),
        _ => Err(problem(reply)),
    }
}

/// Whether a record was stored.
pub(super) fn stored(reply: &Value) -> Result<(), Problem> {
    match reply {
        Value::Int(_) | Value::Okay => Ok(()),
        _ => Err(problem(reply)),
    }
}

/// What a reply means that is not the one that was asked for.
pub(super) fn problem(reply: &Value) -> Problem {
    let Value::ServerError(error) = reply else {
        return Problem::Away("a reply that nobody asked for".into());
    };
    let text = complaint(error);
    match error.code() {
        "WRONGTYPE" => Problem::Unreadable("it is of another type".into()),
        // A replica that was the master moments ago, above all: the address may lead to the new one by now.
        "READONLY" | "MASTERDOWN" | "LOADING" | "BUSY" | "NOAUTH" => Problem::Away(text),
        _ => Problem::Refused(text),
    }
}

fn hash(values: &[Value]) -> Result<Option<Record>, Problem> {
    let mut fields = [None; FIELDS.len()];
    for (field, value) in fields.iter_mut().zip(values) {
        *field = match value {
            Value::BulkString(value) => Some(value.as_slice()),
            _ => None,
        };
    }
    if fields.iter().all(Option::is_none) {
        return Ok(None);
    }
    codec::redis::decode(fields).map(Some).map_err(|why| Problem::Unreadable(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_are_sorted_by_whom_they_concern() {
        let table = [
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "unreadable"),
            ("READONLY You can't write against a read only replica.", "away"),
            ("LOADING Redis is loading the dataset in memory", "away"),
            ("MASTERDOWN Link with MASTER is down", "away"),
            ("BUSY Redis is busy running a script.", "away"),
            ("NOAUTH Authentication required.", "away"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "refused"),
            ("MISCONF Redis is configured to save RDB snapshots", "refused"),
            ("NOPERM this user has no permissions", "refused"),
            ("NOSCRIPT No matching script.", "refused"),
            ("ERR unknown command", "refused"),
        ];
        for (text, expected) in table {
            let reply = ::redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
            let sorted = match problem(&reply) {
                Problem::Unreadable(_) => "unreadable",
                Problem::Refused(cause) => {
                    assert_eq!(cause, text);
                    "refused"
                }
                Problem::Away(cause) => {
                    assert_eq!(cause, text);
                    "away"
                }
            };
            assert_eq!(sorted, expected, "{text}");
        }
        assert!(matches!(problem(&Value::Int(3)), Problem::Away(_)));
    }
}
