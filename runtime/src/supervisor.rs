//! What a service manager is told.

use std::fmt;
use std::time::Duration;

/// A change of the server's status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StatusChange {
    /// Every worker runs: requests are answered.
    Started,
    /// The accounts and access files are being read again.
    Reloading,
    /// The reload has ended.
    Reloaded,
    /// The server receives no more and answers what it has received.
    Stopping,
    /// The server has not stopped in time: a thread waits for a disk, say. All that can still be done is to end the
    /// process; without that, the stop goes on.
    StopOverdue,
    /// The main thread and every worker get on. A disk or a database that does not is not told here: a new start would
    /// find the same.
    Alive,
}

/// A service manager, told of status changes in the thread that waits for commands.
pub struct Supervisor<'a> {
    /// The period of [`StatusChange::Alive`] while it is true; `None` for never.
    pub period: Option<Duration>,
    /// Called for each change.
    pub notify: &'a mut (dyn FnMut(StatusChange) + Send),
}

impl fmt::Debug for Supervisor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("period", &self.period).finish_non_exhaustive()
    }
}
