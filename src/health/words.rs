//! The sentences of causes.

use std::fmt;

use pyzord_core::BadSignature;

use super::cause::{Cause, Sender, SlowPart};

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
    /// Writes what others do to the server.
    fn fmt_warning(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelDrops { lost, received, sender } => {
                let all = lost.saturating_add(*received);
                write!(
                    f,
                    "{lost} of {all} datagrams were lost in ten seconds, as the receive buffer was full"
                )?;
                from(f, *sender, "those received")
            }
            Self::OverLimit { dropped, sender } => {
                write!(f, "RequestRate drops {dropped} datagrams in ten seconds")?;
                from(f, *sender, "them")
            }
            Self::Flood { rate, sender } => write!(
                f,
                "{} sends {rate} datagrams a second, {} % of all, and has no limit",
                sender.network, sender.share
            ),
            Self::AnonymousReports { reports, network } => {
                write!(f, "{network} has reported {reports} digests without an account in ten seconds")
            }
            Self::WrongSignatures { requests, user, network, why } => {
                let why = match why {
                    BadSignature::UnknownUser => "there is no such account",
                    BadSignature::Timestamp => "the clocks differ by more than 300 seconds",
                    _ => "the keys differ",
                };
                write!(
                    f,
                    "{requests} requests from {network} got 401 in ten seconds, the last of user {user}: {why}"
                )
            }
            Self::ForwardingFails { server, error, waiting } => {
                write!(f, "forwarding to {server} fails: {error}; {waiting} digests wait")
            }
            other => other.fmt_inner(f),
        }
    }

    /// Writes what the server finds in itself.
    fn fmt_inner(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
                write!(
                    f,
                    "the database has records that cannot be read; requests for one that got 500: {calls}"
                )
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
            // `fmt` and `fmt_warning` have the others.
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
