//! How long the engine waits for the server.

use std::time::Duration;

/// How long to wait for the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// How long a call waits for a connection that is being made: name resolution, TLS, login and a look at the
    /// table, all together.
    pub connect: Duration,
    /// How long making a connection may take. It goes on while calls fail, and serves later ones.
    pub handshake: Duration,
    /// For the statements of a batch together, or another statement: from its first byte to the last one of its
    /// reply.
    pub answer: Duration,
    /// The longest wait for the next bytes of a reply.
    pub pause: Duration,
}

impl Timeouts {
    /// For serving: as long as clients wait.
    pub const SERVING: Self = Self {
        connect: Duration::from_millis(400),
        handshake: Duration::from_secs(10),
        answer: Duration::from_millis(400),
        pause: Duration::from_millis(400),
    };
    /// For migrations and maintenance.
    pub const MIGRATING: Self = Self {
        connect: Duration::from_secs(10),
        handshake: Duration::from_secs(10),
        answer: Duration::from_secs(600),
        pause: Duration::from_secs(60),
    };

    /// Returns the time-outs of a handshake, which has one time for all of it.
    pub(super) const fn for_handshake(self) -> Self {
        Self { pause: self.handshake, ..self }
    }
}
