//! The stop of a server, as its threads see it.

use std::sync::OnceLock;
use std::time::Duration;

use pyzord_core::Tick;

/// How long requests that were received are still executed after a stop. Forwarding and the last sync come after it, so
/// it is less than the five seconds after which nothing new may begin.
const LAST_WORK: Duration = Duration::from_secs(4);

/// Whether the server stops, and until when work begins.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    deadline: OnceLock<Tick>,
}

impl Stop {
    /// Begins the stop.
    pub(crate) fn begin(&self, now: Tick) {
        // A second stop does not postpone the deadline of the first one.
        let _ = self.deadline.set(now.after(LAST_WORK));
    }

    /// Whether the stop has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.deadline.get().is_some()
    }

    /// Whether it is too late to begin with a request.
    pub(crate) fn is_overdue(&self, now: Tick) -> bool {
        self.deadline.get().is_some_and(|deadline| *deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stop_keeps_the_deadline_of_the_first() {
        let (stop, start) = (Stop::default(), Tick::default());
        assert!(!stop.has_begun() && !stop.is_overdue(start.after(Duration::from_secs(1000))));
        stop.begin(start);
        stop.begin(start.after(LAST_WORK / 2));
        assert!(stop.has_begun() && !stop.is_overdue(start));
        assert!(stop.is_overdue(start.after(LAST_WORK)));
    }
}
