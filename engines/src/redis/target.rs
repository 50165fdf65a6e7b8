//! Where an engine's connections lead.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connection, ConnectionError};
use super::promotion::{self, Configured};
use super::role::Description;
use super::sentinel::{NoMaster, Sentinels};

/// Where an engine's connections lead. All engines of one DSN share it.
#[derive(Clone)]
pub(super) enum Target {
    /// One server.
    Server(Arc<Configured>),
    /// The master of a service, which sentinels name at each dial.
    Service(Arc<Sentinels>),
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error(transparent)]
    Server(#[from] ConnectionError),
    #[error(transparent)]
    Service(#[from] NoMaster),
}

impl Target {
    /// Returns how logs name it, without a password.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Server(server) => promotion::name(&server.info),
            Self::Service(sentinels) => sentinels.name(),
        }
    }

    /// Makes a connection. With `follow`, one that leads to a replica that was promoted in place of the server.
    pub(super) fn dial(&self, limit: Duration, follow: bool) -> Result<Connection, DialError> {
        Ok(match self {
            Self::Server(server) if follow => server.dial_master(limit)?,
            Self::Server(server) => server.dial(limit)?,
            Self::Service(sentinels) => sentinels.dial(limit)?,
        })
    }

    /// Remembers what a server says of itself.
    pub(super) fn learn(&self, description: Description) {
        if let Self::Server(server) = self {
            server.learn(description);
        }
    }

    /// Returns whether another dial leads to the master, so that a replica is of no use.
    pub(super) fn finds_masters(&self) -> bool {
        matches!(self, Self::Service(_))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.name())
    }
}
