//! Deadlines of exchanges with a server.

use std::time::{Duration, Instant};

/// A time by which an exchange must end.
///
/// The time-out of a socket limits one wait for bytes. To limit all waits of an exchange together takes a
/// clock, and this is the only place where an engine reads one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// Returns the time `limit` from now.
    #[expect(clippy::disallowed_methods, reason = "bounds what sockets do; records never see this clock")]
    pub(crate) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Returns the time that is left; `None` if the deadline has passed.
    #[expect(clippy::disallowed_methods, reason = "bounds what sockets do; records never see this clock")]
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
