//! One sentinel, and the question that it is asked.

use std::time::Duration;

use super::super::connection::{Connection, ConnectionError, greeting_limits};
use super::super::resp::Reply;
use super::super::role::address;
use super::Login;
use super::error::FaultCause;
use crate::hosts::Host;
use crate::wire::Deadline;

/// One sentinel.
pub(super) struct Sentinel {
    pub(super) host: Host,
    pub(super) login: Login,
}

impl Sentinel {
    /// Asks the sentinel for the master of a service, on a connection of its own.
    pub(super) fn ask(&self, service: &str, limit: Duration) -> Result<Host, FaultCause> {
        let end = Deadline::after(limit);
        let mut connection = self.connect(limit)?;
        master(&mut connection, service, end.left().unwrap_or_default())
    }

    /// Connects to the sentinel.
    pub(super) fn connect(&self, limit: Duration) -> Result<Connection, ConnectionError> {
        self.login.open(&self.host, limit)
    }
}

/// Asks a sentinel for the master of a service.
pub(super) fn master(
    connection: &mut Connection,
    service: &str,
    limit: Duration,
) -> Result<Host, FaultCause> {
    let question = [&b"SENTINEL"[..], b"GET-MASTER-ADDR-BY-NAME", service.as_bytes()];
    let replies = connection.ask(&question, greeting_limits(limit))?;
    match replies.first() {
        Some(Reply::Nil) => Err(FaultCause::UnknownService),
        Some(Reply::Array(parts)) if parts.len() == 2 => {
            let mut parts = parts.iter();
            address(parts.next(), parts.next()).ok_or(FaultCause::NoAddress)
        }
        _ => Err(FaultCause::NoAddress),
    }
}
