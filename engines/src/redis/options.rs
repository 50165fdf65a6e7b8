//! How an engine works with its database.

use std::time::Duration;

use pyzord_core::CleanupAge;

/// How an engine works with its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Redis itself removes records to which nothing was written for this time.
    pub cleanup_age: Option<CleanupAge>,
    /// How long a call waits for a connection that is being made.
    pub connect: Duration,
    /// How long making a connection may take. It goes on while calls fail, and serves later ones.
    pub handshake: Duration,
    /// How long one round trip may take, from its first byte to its last, within 20 milliseconds.
    pub exchange: Duration,
    /// The longest wait for the next bytes of a reply.
    pub pause: Duration,
    /// The largest size of the replies of one round trip, in bytes.
    pub reply: usize,
    /// Whether upkeep looks for records of the old layout, and warns of them.
    pub search_old: bool,
    /// Whether a replica that was promoted is used in place of the server that a DSN names.
    pub follow_promotions: bool,
}

impl Options {
    /// Returns options for a server, whose clients wait: answers come within half a second.
    #[must_use]
    pub const fn serving(cleanup_age: Option<CleanupAge>) -> Self {
        Self {
            cleanup_age,
            connect: Duration::from_millis(300),
            handshake: Duration::from_secs(10),
            exchange: Duration::from_millis(400),
            pause: Duration::from_millis(400),
            reply: 4 << 20,
            search_old: true,
            follow_promotions: true,
        }
    }

    /// Returns options for moving whole databases, which can wait for a slow server.
    #[must_use]
    pub const fn migrating(cleanup_age: Option<CleanupAge>) -> Self {
        Self {
            cleanup_age,
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            exchange: Duration::from_secs(600),
            pause: Duration::from_secs(60),
            reply: 64 << 20,
            search_old: false,
            follow_promotions: false,
        }
    }
}
