//! The causes of findings, and their words.

use std::fmt;
use std::path::PathBuf;

use pyzord_core::IpNet;
use pyzord_runtime::StuckThread;

use super::finding::Level;

/// What is wrong. The words of the sentence are its `Display`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// A thread of the server does not get on.
    Stuck(StuckThread),
    /// The file system of a file is full.
    DiskFull { what: &'static str, path: PathBuf, free: u64 },
    /// The folder of a file cannot be looked at.
    NoFolder { what: &'static str, path: PathBuf, error: String },
    /// A file system does not answer.
    DiskSilent,
    /// The database was not asked yet.
    NotAsked,
    /// The database does not answer a read, for this reason if it is known.
    DatabaseSilent { place: Place, error: Option<String> },
    /// The database answers reads, and refuses counts for this reason.
    RefusesCounts { place: Place, error: String },
    /// All real checks fail, and the probe does not know why.
    ChecksFail,
    /// All real reports and whitelistings fail, and the probe does not know why.
    CountsFail,
    /// The limit of requests drops many datagrams.
    OverLimit { dropped: u64, sender: Option<Sender> },
    /// One network sends more than any mail server does, and there is no limit.
    Flood { rate: u64, sender: Sender },
    /// Too many requests wait for the database.
    Overloaded { refused: u64 },
    /// A part of the requests fails.
    SomeFail { failed: u64, requests: u64 },
    /// Replies are slow.
    Slow { slow: u64, requests: u64, part: SlowPart },
    /// The file system of a file has little room left.
    DiskNearlyFull { what: &'static str, path: PathBuf, free: u64, total: u64 },
    /// The database has lost most of its records.
    RecordsVanished { before: u64, now: u64 },
    /// Requests asked for records that cannot be read.
    Unreadable { calls: u64 },
    /// The machine's clock has jumped by this number of seconds.
    ClockSet { seconds: i64 },
    /// Log lines could not be written.
    LogLinesLost { lines: u64 },
    /// Requests or log lines are missing because of a bug.
    InternalErrors { errors: u64 },
}

/// Where the database is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In a file that is where it should be.
    File,
    /// In a file that is not at its path.
    RemovedFile,
    /// On a database server.
    Server,
}

/// A network that sends a large part of what is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sender {
    pub(crate) network: IpNet,
    /// Its share, in percent.
    pub(crate) share: u64,
}

/// The part of the server that is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlowPart {
    Database,
    /// Requests wait for a thread or for the processor.
    Queue,
}

/// The names of all causes, for metrics.
pub(crate) const NAMES: [&str; 21] = [
    "stuck",
    "disk-full",
    "no-folder",
    "disk-silent",
    "starting",
    "database-silent",
    "database-removed",
    "database-refuses-counts",
    "checks-fail",
    "counts-fail",
    "over-limit",
    "flood",
    "overloaded",
    "some-requests-fail",
    "slow",
    "disk-nearly-full",
    "records-vanished",
    "unreadable-records",
    "clock-set",
    "log-lines-lost",
    "internal-errors",
];

impl Cause {
    /// Returns the name of the cause, one of [`NAMES`].
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Stuck(_) => "stuck",
            Self::DiskFull { .. } => "disk-full",
            Self::NoFolder { .. } => "no-folder",
            Self::DiskSilent => "disk-silent",
            Self::NotAsked => "starting",
            Self::DatabaseSilent { .. } => "database-silent",
            Self::RefusesCounts { place: Place::RemovedFile, .. } => "database-removed",
            Self::RefusesCounts { .. } => "database-refuses-counts",
            Self::ChecksFail => "checks-fail",
            Self::CountsFail => "counts-fail",
            Self::OverLimit { .. } => "over-limit",
            Self::Flood { .. } => "flood",
            Self::Overloaded { .. } => "overloaded",
            Self::SomeFail { .. } => "some-requests-fail",
            Self::Slow { .. } => "slow",
            Self::DiskNearlyFull { .. } => "disk-nearly-full",
            Self::RecordsVanished { .. } => "records-vanished",
            Self::Unreadable { .. } => "unreadable-records",
            Self::ClockSet { .. } => "clock-set",
            Self::LogLinesLost { .. } => "log-lines-lost",
            Self::InternalErrors { .. } => "internal-errors",
        }
    }

    pub(crate) const fn level(&self) -> Level {
        match self {
            Self::Stuck(_)
            | Self::DiskFull { .. }
            | Self::NoFolder { .. }
            | Self::DiskSilent
            | Self::NotAsked
            | Self::DatabaseSilent { .. }
            | Self::RefusesCounts { .. }
            | Self::ChecksFail
            | Self::CountsFail => Level::Failed,
            _ => Level::Warning,
        }
    }

    /// Whether a server that fails has this for no other reason.
    pub(super) const fn follows_from_failures(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::SomeFail { .. } | Self::Slow { .. })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(thread) => thread.fmt(f),
            Self::DiskFull { what, path, free } => {
                write!(f, "the disk of {what} {} is full: {} are free", path.display(), Size(*free))
            }
            Self::NoFolder { what, path, error } => {
                write!(f, "the folder of {what} {} cannot be looked at: {error}", path.display())
            }
            Self::DiskSilent => f.write_str("a disk does not answer"),
            Self::NotAsked => f.write_str("the database was not asked yet"),
            Self::DatabaseSilent { error: None, .. } => f.write_str("the database does not answer"),
            Self::DatabaseSilent { error: Some(error), .. } => {
                write!(f, "the database does not answer: {error}")
            }
            Self::RefusesCounts { error, .. } => write!(f, "the database refuses counts: {error}"),
            Self::ChecksFail => f.write_str("all checks fail"),
            Self::CountsFail => f.write_str("no report or whitelisting is counted"),
            other => other.fmt_warning(f),
        }
    }
}

impl Cause {
    fn fmt_warning(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { dropped, sender } => {
                write!(f, "RequestRate drops {dropped} datagrams in ten seconds")?;
                from(f, *sender, "them")
            }
            Self::Flood { rate, sender } => write!(
                f,
                "{} sends {rate} datagrams a second, {} % of all, and has no limit",
                sender.network, sender.share
            ),
            Self::Overloaded { refused } => write!(
                f,
                "the database is too slow for the load: {refused} requests got 500 in ten seconds, as too many wait"
            ),
            Self::SomeFail { failed, requests } => {
                write!(f, "{failed} of {requests} requests got 500 in ten seconds")
            }
            Self::Slow { slow, requests, part } => {
                let part = match part {
                    SlowPart::Database => "the database is slow",
                    SlowPart::Queue => "requests wait in a queue, and the database is quick",
                };
                write!(
                    f,
                    "replies are slow: {slow} of {requests} took more than a quarter of a second; {part}"
                )
            }
            Self::DiskNearlyFull { what, path, free, total } => write!(
                f,
                "the disk of {what} {} is nearly full: {} of {} are free",
                path.display(),
                Size(*free),
                Size(*total)
            ),
            Self::RecordsVanished { before, now } => {
                write!(f, "the database has lost most of its records: {before} before, {now} now")
            }
            Self::Unreadable { calls } => {
                write!(f, "the database has records that cannot be read: {calls} requests for one got 500")
            }
            Self::ClockSet { seconds } => {
                let way = if *seconds < 0 { "back" } else { "forward" };
                write!(
                    f,
                    "the clock was set {way} by {} seconds, or the machine slept",
                    seconds.unsigned_abs()
                )
            }
            Self::LogLinesLost { lines } => write!(f, "{lines} log lines were lost in ten seconds"),
            Self::InternalErrors { errors } => {
                write!(f, "a bug of the server has cost requests or log lines: {errors} internal errors")
            }
            _ => Ok(()),
        }
    }
}

/// Writes the network that is behind something, if one is.
fn from(f: &mut fmt::Formatter<'_>, sender: Option<Sender>, what: &str) -> fmt::Result {
    match sender {
        Some(Sender { network, share }) => write!(f, "; {network} sends {share} % of {what}"),
        None => f.write_str("; no network sends most of them"),
    }
}

/// A number of bytes, for the operator.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut size = self.0 / 1024;
        let mut units = UNITS.iter();
        let mut unit = units.next().unwrap_or(&"KiB");
        for larger in units {
            if size < 10 * 1024 {
                break;
            }
            (size, unit) = (size / 1024, larger);
        }
        write!(f, "{size} {unit}")
    }
}
