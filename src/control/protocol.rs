//! What both sides of the control socket agree on: its lines and their limits.

use std::fmt;

use log::LevelFilter;
use pyzord_core::{Digest, Record, UnixTime};
use pyzord_engines::{Change, RecordEdit, TallyEdit};
use thiserror::Error;

use crate::csv::{self, RecordError, RecordLine};
use crate::settings::{level_word, log_level};

/// The first line of a server that accepts a connection. It names the version of the protocol.
pub(super) const GREETING: &str = "pyzord control 1";
/// The most bytes of a request's line.
pub(super) const MAX_REQUEST: u64 = 1024;
/// The most bytes of a line of a reply.
pub(super) const MAX_REPLY: u64 = 4096;
/// The most bytes of a line with a document.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;
/// The verb of a line that the server logs: what the operator has changed in the database. The rest is any text.
pub(super) const NOTE: &str = "note";
/// What stands for a number that stays.
const KEPT: &str = "-";
/// The most characters of a key, a cause or a note in a reply, of up to four bytes each: two of them fit into a line.
const MAX_TEXT: usize = 400;

/// Returns the beginning of a text without the characters that end a line or a field.
pub(super) fn one_line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MAX_TEXT).map(printable).collect()
}

/// A request. It is displayed as its line without the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ControlRequest {
    Scan,
    Fetch(Digest),
    Put(Digest, Record),
    Change(Digest, Change),
    Remove(Digest),
    Round(Digest, Record),
    Report(Digest),
    Whitelist(Digest),
    Estimate,
    Sync,
    Expire(UnixTime),
    /// The file of the database that the requests above are about.
    Database,
    Status,
    Reload,
    Stop,
    LogLevel(LevelFilter),
}

impl ControlRequest {
    /// Parses a line without its end.
    pub(super) fn parse(line: &str) -> Result<Self, ControlRequestError> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let digest = || Digest::parse(rest.as_bytes()).ok_or(ControlRequestError::Digest);
        match verb {
            "scan" => Ok(Self::Scan),
            "fetch" => digest().map(Self::Fetch),
            "put" => Ok(csv::parse(rest).map(|(digest, record)| Self::Put(digest, record))?),
            "merge" => {
                Ok(csv::parse(rest).map(|(digest, record)| Self::Change(digest, Change::Merge(record)))?)
            }
            "set" => parse_edit(rest).map(|(digest, edit)| Self::Change(digest, Change::Set(edit))),
            "remove" => digest().map(Self::Remove),
            "round" => Ok(csv::parse(rest).map(|(digest, record)| Self::Round(digest, record))?),
            "report" => digest().map(Self::Report),
            "whitelist" => digest().map(Self::Whitelist),
            "estimate" => Ok(Self::Estimate),
            "sync" => Ok(Self::Sync),
            "expire" => parse_time(rest).map(Self::Expire),
            "database" => Ok(Self::Database),
            "status" => Ok(Self::Status),
            "reload" => Ok(Self::Reload),
            "stop" => Ok(Self::Stop),
            "log-level" => log_level(rest).map(Self::LogLevel).ok_or(ControlRequestError::Level),
            _ => Err(ControlRequestError::Verb),
        }
    }
}

impl fmt::Display for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scan => f.write_str("scan"),
            Self::Fetch(digest) => write!(f, "fetch {digest}"),
            Self::Put(digest, record) => write!(f, "put {}", RecordLine(*digest, record)),
            Self::Change(digest, Change::Merge(record)) => write!(f, "merge {}", RecordLine(*digest, record)),
            Self::Change(digest, Change::Set(RecordEdit { reports, whitelists, now })) => {
                write!(f, "set {digest}")?;
                for TallyEdit { count, last } in [reports, whitelists] {
                    let words =
                        [count.map(|count| count.to_string()), last.map(|last| last.micros().to_string())];
                    words.iter().try_for_each(|word| write!(f, " {}", word.as_deref().unwrap_or(KEPT)))?;
                }
                write!(f, " {}", now.micros())
            }
            Self::Remove(digest) => write!(f, "remove {digest}"),
            Self::Round(digest, record) => write!(f, "round {}", RecordLine(*digest, record)),
            Self::Report(digest) => write!(f, "report {digest}"),
            Self::Whitelist(digest) => write!(f, "whitelist {digest}"),
            Self::Estimate => f.write_str("estimate"),
            Self::Sync => f.write_str("sync"),
            Self::Expire(limit) => write!(f, "expire {}", limit.micros()),
            Self::Database => f.write_str("database"),
            Self::Status => f.write_str("status"),
            Self::Reload => f.write_str("reload"),
            Self::Stop => f.write_str("stop"),
            Self::LogLevel(level) => write!(f, "log-level {}", level_word(*level)),
        }
    }
}

/// How a server has ended: the last line to an operator that stops it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StopOutcome {
    /// All that was received is answered, and all that was counted is in the database.
    Stopped,
    /// It has ended with an error, which the log has.
    Failed,
    /// It has ended with threads that wait for the database.
    Overdue,
}

impl StopOutcome {
    const ALL: [Self; 3] = [Self::Stopped, Self::Failed, Self::Overdue];

    /// Parses the word that it is displayed as.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.to_string() == word)
    }
}

impl fmt::Display for StopOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Overdue => "overdue",
        })
    }
}

/// Parses the words of a `set`.
fn parse_edit(rest: &str) -> Result<(Digest, RecordEdit), ControlRequestError> {
    let words: Vec<&str> = rest.split(' ').collect();
    let &[digest, r_count, r_last, wl_count, wl_last, now] = words.as_slice() else {
        return Err(ControlRequestError::Edit);
    };
    let digest = Digest::parse(digest.as_bytes()).ok_or(ControlRequestError::Digest)?;
    let now = parse_time(now)?;
    let (reports, whitelists) = (parse_tally(r_count, r_last)?, parse_tally(wl_count, wl_last)?);
    Ok((digest, RecordEdit { reports, whitelists, now }))
}

fn parse_tally(count: &str, last: &str) -> Result<TallyEdit, ControlRequestError> {
    let count = (count != KEPT).then(|| count.parse().map_err(|_| ControlRequestError::Edit));
    let last = (last != KEPT).then(|| parse_time(last));
    Ok(TallyEdit { count: count.transpose()?, last: last.transpose()? })
}

fn parse_time(word: &str) -> Result<UnixTime, ControlRequestError> {
    word.parse().map(UnixTime::from_micros).map_err(|_| ControlRequestError::Time)
}

/// Why a line is not a request.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum ControlRequestError {
    #[error("there is no such request")]
    Verb,
    #[error("a digest is 40 hex digits")]
    Digest,
    #[error("set has a digest, two counts with their dates, and a time")]
    Edit,
    #[error("a time is a number of microseconds")]
    Time,
    #[error("a level is debug, info, warning or error")]
    Level,
    #[error(transparent)]
    Record(#[from] RecordError),
}

#[cfg(test)]
mod tests {
    use pyzord_core::Tally;

    use super::*;

    #[test]
    fn a_request_that_is_written_is_parsed_again() {
        let time = Some(UnixTime::from_micros(1_700_000_000_250_000));
        let digest = Digest::new([7; 20]);
        let reports = Tally { count: 5, entered: time, updated: time };
        let record = Record { reports, ..Record::default() };
        let edit = |tally: TallyEdit| RecordEdit {
            reports: tally,
            whitelists: TallyEdit::default(),
            now: UnixTime::from_micros(9),
        };
        for request in [
            ControlRequest::Change(digest, Change::Merge(record)),
            ControlRequest::Change(
                digest,
                Change::Set(edit(TallyEdit { count: Some(u64::MAX), last: time })),
            ),
            ControlRequest::Change(
                digest,
                Change::Set(edit(TallyEdit { count: None, last: Some(UnixTime::from_micros(-7)) })),
            ),
            ControlRequest::Scan,
            ControlRequest::Fetch(digest),
            ControlRequest::Put(digest, record),
            ControlRequest::Remove(digest),
            ControlRequest::Round(digest, record),
            ControlRequest::Report(digest),
            ControlRequest::Whitelist(digest),
            ControlRequest::Estimate,
            ControlRequest::Sync,
            ControlRequest::Expire(UnixTime::from_micros(-5)),
            ControlRequest::Database,
            ControlRequest::Status,
            ControlRequest::Reload,
            ControlRequest::Stop,
            ControlRequest::LogLevel(LevelFilter::Warn),
        ] {
            let line = request.to_string();
            assert!((line.len() as u64) < MAX_REQUEST, "{line}");
            assert_eq!(ControlRequest::parse(&line), Ok(request), "{line}");
        }
    }
}
