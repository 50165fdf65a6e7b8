//! How long the engine waits for the server.

use std::time::Duration;

/// How long to wait for the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a connection: name resolution, TLS, login and a look at the table, all together.
    pub connect: Duration,
    /// For the answer to one statement.
    pub answer: Duration,
}

impl Timeouts {
    /// For serving: as long as clients wait.
    pub const SERVING: Self =
        Self { connect: Duration::from_millis(400), answer: Duration::from_millis(400) };
    /// For migrations and maintenance.
    pub const MIGRATING: Self = Self { connect: Duration::from_secs(10), answer: Duration::from_secs(60) };
}
