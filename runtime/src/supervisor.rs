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
    /// The main thread and every worker have had a turn since the last time.
    Alive,
}

/// A service manager, told of status changes in the thread that waits for commands.
pub struct Supervisor<'a> {
    /// The period of [`StatusChange::Alive`] while it is true; `None` for never. At least 20 ms: an idle worker's
    /// heartbeat beats twice in this time, but at most every 10 ms.
    pub period: Option<Duration>,
    /// Called for each change.
    pub notify: &'a mut (dyn FnMut(StatusChange) + Send),
}

impl fmt::Debug for Supervisor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("period", &self.period).finish_non_exhaustive()
    }
}
