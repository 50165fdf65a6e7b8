//! Why no sentinel leads to a master.

use super::super::connection::ConnectionError;
use super::super::reply::Refusal;
use super::super::resp::Malformed;
use super::super::role::Role;
use crate::hosts::Host;

/// How many sentinels a message names.
const MOST_TOLD: usize = 5;

/// No sentinel leads to the master. Its message says what each of them says.
#[derive(Debug, thiserror::Error)]
#[error("no sentinel leads to the master of {service}: {}", told(faults))]
pub(in super::super) struct NoMaster {
    pub(super) service: String,
    /// In the order of the DSN.
    pub(super) faults: Vec<Fault>,
}

/// Why one sentinel does not lead to a master.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) sentinel: Host,
    pub(super) cause: FaultCause,
}

/// Why a sentinel does not lead to a master. Its message follows the sentinel's address.
#[derive(Debug, thiserror::Error)]
pub(super) enum FaultCause {
    #[error("cannot be asked: {}", of_sentinel(.0))]
    Connection(ConnectionError),
    #[error("does not answer in time")]
    Slow,
    #[error("was not asked, as the others used up the time")]
    NoTime,
    #[error("does not know this service")]
    UnknownService,
    #[error("says: {}", with_remedy(.0))]
    Refused(Refusal),
    #[error("is no sentinel (it says: {0})")]
    NotASentinel(Refusal),
    #[error("answers with something that is no address")]
    NoAddress,
    #[error("names {0}, too")]
    Again(Host),
    #[error("names {host}: {}", of_server(cause))]
    Server { host: Host, cause: ConnectionError },
    #[error("names {host}, which {role}")]
    NoMaster { host: Host, role: Role },
}

impl FaultCause {
    /// Returns whether more time could change it.
    pub(super) fn is_slowness(&self) -> bool {
        matches!(self, Self::Slow | Self::NoTime)
    }
}

impl From<ConnectionError> for FaultCause {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Slow,
            ConnectionError::Refused(refusal) if refusal.is_unknown_command() => Self::NotASentinel(refusal),
            ConnectionError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Connection(other),
        }
    }
}

fn told(faults: &[Fault]) -> String {
    let told = faults.iter().take(MOST_TOLD).map(|fault| format!("{} {}", fault.sentinel, fault.cause));
    let mut told = told.collect::<Vec<_>>().join("; ");
    if faults.len() > MOST_TOLD {
        told += &format!("; and {} more", faults.len() - MOST_TOLD);
    }
    told
}

/// Returns a refusal of a sentinel, with what the operator can do about it.
fn with_remedy(refusal: &Refusal) -> String {
    let remedy = match refusal.code() {
        "NOAUTH" | "WRONGPASS" => " (sentinel-user and sentinel-pass in the DSN are for the sentinels)",
        "NOPERM" => " (the user needs the rights to PING and SENTINEL)",
        _ => "",
    };
    format!("{refusal}{remedy}")
}

/// Returns the words for an error of a sentinel. Those of other DSNs name another remedy for TLS.
fn of_sentinel(error: &ConnectionError) -> String {
    with_tls(error, "sentinel-tls=yes")
}

fn of_server(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Refused(refusal) if refusal.is_missing_right() => {
            format!("{refusal} (give the user the right to ROLE and to the commands of docs/redis.md)")
        }
        other => with_tls(other, "tls=yes"),
    }
}

fn with_tls(error: &ConnectionError, option: &str) -> String {
    match error {
        ConnectionError::HungUp(cause) => {
            format!(
                "it closes the connection at once: {cause} (does it expect TLS? Then the DSN has {option})"
            )
        }
        ConnectionError::NoTls(said) => {
            format!("it does not speak TLS, for which the DSN has {option}; it says: {said}")
        }
        ConnectionError::NoTlsInTime => {
            format!("no answer to TLS in time (does it speak it? Without, the DSN has no {option})")
        }
        ConnectionError::Malformed(Malformed::Tls) => format!("it speaks TLS: the DSN must have {option}"),
        other => other.to_string(),
    }
}
