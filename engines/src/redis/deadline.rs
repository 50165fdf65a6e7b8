//! How long an exchange with a server may still take.

use std::time::{Duration, Instant};

/// A moment by which something has to be over.
///
/// A socket's time-out bounds one wait for bytes. What bounds all the waits of an exchange together needs a clock,
/// and this is the only place where an engine reads one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// The moment `limit` from now.
    #[expect(clippy::disallowed_methods, reason = "bounds what sockets do; records never see this clock")]
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// What is left until then; `None` when it has passed.
    #[expect(clippy::disallowed_methods, reason = "bounds what sockets do; records never see this clock")]
    pub(super) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
