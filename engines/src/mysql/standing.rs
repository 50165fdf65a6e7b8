//! Whether a host of several is one to use.

use super::error::{ClientError, StatementError};
use super::row;
use super::session::Session;

/// The state of a node of a Galera cluster, if it is one. The command is answered also by a node that is not ready.
const NODE_STATE: &str = "SHOW GLOBAL STATUS LIKE 'wsrep_local_state'";
/// The node gives its state to another one, or was taken out of the cluster's flow control: it answers late, and what it
/// has is old.
const DONOR: &str = "2";

/// Why a host is used only if no other one is better.
#[derive(Debug, thiserror::Error)]
pub(super) enum Shortcoming {
    #[error("{0}")]
    ReadOnly(ClientError),
    #[error("the node is a donor, or desynchronized")]
    Donor,
}

impl Session {
    /// Returns what the host cannot do; `None` if it can do all that is needed. A user without rights is so on all hosts.
    pub(super) fn shortcoming(&mut self) -> Result<Option<Shortcoming>, ClientError> {
        match self.probe() {
            Err(StatementError::ReadOnly(cause)) => return Ok(Some(Shortcoming::ReadOnly(cause))),
            Err(StatementError::Lost(cause)) => return Err(cause),
            Ok(()) | Err(StatementError::Contention(_) | StatementError::Refused(_)) => (),
        }
        match self.query(NODE_STATE) {
            Ok(rows) => {
                let state = rows.first().and_then(|state| state.as_ref(1)).map(row::text);
                Ok((state == Some(DONOR.as_bytes())).then_some(Shortcoming::Donor))
            }
            Err(StatementError::Lost(cause)) => Err(cause),
            Err(_) => Ok(None),
        }
    }
}
