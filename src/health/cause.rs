//! The causes of findings.

use std::path::PathBuf;

use pyzord_core::{BadSignature, IpNet};
use pyzord_runtime::StuckThread;

use super::finding::Level;

/// What is wrong. Its sentence is its `Display`.
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
    /// The kernel drops datagrams: the receive buffer is full.
    KernelDrops { lost: u64, received: u64, sender: Option<Sender> },
    /// The limit of requests drops many datagrams.
    OverLimit { dropped: u64, sender: Option<Sender> },
    /// One network sends more than any mail server does, and there is no limit.
    Flood { rate: u64, sender: Sender },
    /// One network reports much without an account.
    AnonymousReports { reports: u64, network: IpNet },
    /// Many requests of one network prove nothing.
    WrongSignatures { requests: u64, user: String, network: IpNet, why: BadSignature },
    /// A server does not take what is forwarded to it.
    ForwardingFails { server: String, error: String, waiting: u64 },
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
pub(crate) const NAMES: [&str; 25] = [
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
    "kernel-drops",
    "over-limit",
    "flood",
    "anonymous-reports",
    "wrong-signatures",
    "forwarding-fails",
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
            Self::KernelDrops { .. } => "kernel-drops",
            Self::OverLimit { .. } => "over-limit",
            Self::Flood { .. } => "flood",
            Self::AnonymousReports { .. } => "anonymous-reports",
            Self::WrongSignatures { .. } => "wrong-signatures",
            Self::ForwardingFails { .. } => "forwarding-fails",
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
        matches!(self, Self::Overloaded { .. } | Self::SomeFail { .. })
    }
}
