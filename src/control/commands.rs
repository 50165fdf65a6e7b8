//! The commands of operators that wait for their outcome: reloads, and the stop.

use std::io::Write as _;
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::protocol::StopOutcome;
use crate::reload_report::ReloadReport;

/// The most operators that wait for a reload, and for the stop.
const MOST_WAITING: usize = 8;

/// Why a command does not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum CommandRefused {
    #[error("{MOST_WAITING} others wait for the same already")]
    TooMany,
    #[error("the server stops")]
    Stopping,
}

/// Gets the report of a reload, or is closed if there will be none.
pub(super) type ReloadWaiter = Receiver<Arc<ReloadReport>>;

/// The operators that wait. The thread that reloads and stops tells them; it never waits for them.
#[derive(Debug, Default)]
pub(crate) struct OperatorCommands(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Those that the next reload serves.
    next: Vec<Sender<Arc<ReloadReport>>>,
    /// Those whose reload has begun.
    current: Vec<Sender<Arc<ReloadReport>>>,
    report: Option<Arc<ReloadReport>>,
    stops: Vec<UnixStream>,
    stopping: bool,
}

impl OperatorCommands {
    /// Registers an operator for the next reload that begins. Call it before the reload is asked for.
    pub(super) fn await_reload(&self) -> Result<ReloadWaiter, CommandRefused> {
        let mut waiting = self.lock();
        if waiting.stopping {
            return Err(CommandRefused::Stopping);
        }
        if waiting.next.len() + waiting.current.len() >= MOST_WAITING {
            return Err(CommandRefused::TooMany);
        }
        let (sender, waiter) = channel();
        waiting.next.push(sender);
        Ok(waiter)
    }

    /// Registers the connection of an operator for the end of the server. Call it before the stop is asked for.
    pub(super) fn await_stop(&self, stream: UnixStream) -> Result<(), CommandRefused> {
        let mut waiting = self.lock();
        if waiting.stops.len() >= MOST_WAITING {
            return Err(CommandRefused::TooMany);
        }
        waiting.stops.push(stream);
        Ok(())
    }

    /// A reload begins: whatever files it reads, it reads them after the operators that wait have asked.
    pub(crate) fn reload_begins(&self) {
        let mut waiting = self.lock();
        let next = std::mem::take(&mut waiting.next);
        waiting.current.extend(next);
    }

    /// A reload has this report. The new rules are not in effect yet.
    pub(crate) fn reload_done(&self, report: ReloadReport) {
        self.lock().report = Some(Arc::new(report));
    }

    /// The outcome of a reload is in effect.
    pub(crate) fn reload_in_effect(&self) {
        let mut waiting = self.lock();
        let (current, report) = (std::mem::take(&mut waiting.current), waiting.report.take());
        for (operator, report) in current.iter().zip(report.iter().cycle()) {
            // An operator that has gone away needs none.
            let _ = operator.send(Arc::clone(report));
        }
    }

    /// The server stops: there will be no other reload.
    pub(crate) fn stopping(&self) {
        let mut waiting = self.lock();
        waiting.stopping = true;
        waiting.next.clear();
        waiting.current.clear();
    }

    /// Tells the operators that wait for the end of the server. Call it last: only the end of the process closes their
    /// connections.
    pub(crate) fn ended(&self, outcome: StopOutcome) {
        for mut stream in std::mem::take(&mut self.lock().stops) {
            // The little that it holds has room in the buffer of any connection; an operator that is gone needs nothing.
            let _ = stream.set_nonblocking(true).and_then(|()| writeln!(stream, "ok {outcome}"));
            // Not closed: that is left to the end of the process.
            let _ = stream.into_raw_fd();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it is half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::TryRecvError;

    use super::*;
    use crate::reload_report::LineKind;

    fn report(text: &str) -> ReloadReport {
        let mut report = ReloadReport::default();
        report.add(LineKind::Changed, text.to_owned());
        report
    }

    /// An operator that asks during a reload has changed a file that this reload may have read before.
    #[test]
    fn a_reload_serves_the_operators_that_asked_before_it_began() {
        let commands = OperatorCommands::default();
        let first = commands.await_reload().unwrap();
        commands.reload_begins();
        let second = commands.await_reload().unwrap();
        commands.reload_done(report("one"));
        assert_eq!(first.try_recv(), Err(TryRecvError::Empty), "the new rules are not in effect yet");
        commands.reload_in_effect();
        assert_eq!(*first.try_recv().unwrap(), report("one"));
        assert_eq!(second.try_recv(), Err(TryRecvError::Empty));
        commands.reload_begins();
        commands.reload_done(report("two"));
        commands.reload_in_effect();
        assert_eq!(*second.try_recv().unwrap(), report("two"));
        // A reload by a signal alone.
        commands.reload_begins();
        commands.reload_done(report("three"));
        commands.reload_in_effect();
    }

    #[test]
    fn a_stop_ends_every_wait_and_the_number_of_waits_is_bounded() {
        let commands = OperatorCommands::default();
        let waiters: Vec<_> = (0..MOST_WAITING).map(|_| commands.await_reload().unwrap()).collect();
        assert_eq!(commands.await_reload().unwrap_err(), CommandRefused::TooMany);
        commands.reload_begins();
        assert_eq!(commands.await_reload().unwrap_err(), CommandRefused::TooMany);
        commands.stopping();
        assert!(waiters.iter().all(|waiter| waiter.try_recv() == Err(TryRecvError::Disconnected)));
        assert_eq!(commands.await_reload().unwrap_err(), CommandRefused::Stopping);
    }
}
