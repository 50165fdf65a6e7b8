//! Makes connections on threads of their own.
//!
//! Looking up a host name, connecting to a local socket whose queue is full, and the greeting of a busy server
//! may take longer than a caller can wait. On its own thread an attempt can outlast the time that its caller
//! has.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::wire::Deadline;

/// Why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError<E> {
    /// The attempt failed.
    #[error("{0}")]
    Failed(E),
    /// The attempt is still under way; for callers that need a connection now.
    #[error("no connection in time")]
    TimedOut,
    /// The thread panicked.
    #[error("the attempt to connect ended without a result")]
    Ended,
    /// The system has no thread for the attempt.
    #[error("no thread to connect on: {0}")]
    NoThread(io::Error),
}

/// Makes connections, one at a time: there is never more than one thread, however long an attempt takes.
#[derive(Debug)]
pub(crate) struct Connector<C, E> {
    /// The name of the threads.
    thread: &'static str,
    /// How long callers wait for an attempt, all together.
    patience: Duration,
    /// The attempt that is under way.
    pending: Option<Pending<C, E>>,
}

#[derive(Debug)]
struct Pending<C, E> {
    result: Receiver<Result<C, E>>,
    waited_for: Deadline,
}

impl<C: Send + 'static, E: Send + 'static> Connector<C, E> {
    pub(crate) fn new(thread: &'static str, patience: Duration) -> Self {
        Self { thread, patience, pending: None }
    }

    /// Waits up to `wait` for the attempt that is under way, or for a new one that calls `connect`. `None` if it
    /// is not over yet: a later call gets the connection, so a server that is slow to greet is reached in the
    /// end.
    ///
    /// All callers together wait for an attempt as long as the connector has patience; then calls return at
    /// once.
    pub(crate) fn poll(
        &mut self,
        wait: Duration,
        connect: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<Option<C>, AttemptError<E>> {
        let attempt = match self.pending.take() {
            Some(attempt) => attempt,
            None => self.start(connect)?,
        };
        let wait = attempt.waited_for.left().unwrap_or_default().min(wait);
        match attempt.result.recv_timeout(wait) {
            Ok(result) => result.map(Some).map_err(AttemptError::Failed),
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(attempt);
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => Err(AttemptError::Ended),
        }
    }

    /// Waits as long as the connector has patience; for callers that need a connection now.
    pub(crate) fn connect(
        &mut self,
        connect: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<C, AttemptError<E>> {
        self.poll(self.patience, connect)?.ok_or(AttemptError::TimedOut)
    }

    fn start(
        &self,
        connect: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<Pending<C, E>, AttemptError<E>> {
        let (sender, result) = mpsc::sync_channel(1);
        let work = move || {
            if sender.send(connect()).is_err() {
                log::debug!("a connection was made for an engine that is closed; it is dropped");
            }
        };
        let started = thread::Builder::new().name(self.thread.to_owned()).spawn(work);
        let waited_for = Deadline::after(self.patience);
        started.map(|_| Pending { result, waited_for }).map_err(AttemptError::NoThread)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_attempt_is_waited_for_and_not_started_again() {
        let mut connector: Connector<u32, &str> = Connector::new("test-connect", LONG);
        let (server, accepts) = channel();
        let slow = connector.poll(Duration::ZERO, move || accepts.recv().map_err(|_| "refused"));
        assert!(matches!(slow, Ok(None)), "{slow:?}");
        server.send(1).unwrap();
        assert_eq!(connector.connect(|| panic!("a second attempt")).unwrap(), 1);
    }

    #[test]
    fn an_attempt_that_outlasts_all_patience_costs_later_calls_nothing() {
        let mut connector: Connector<u32, &str> = Connector::new("test-connect", Duration::from_millis(1));
        let (server, accepts) = channel();
        let slow = connector.connect(move || accepts.recv().map_err(|_| "refused"));
        assert!(matches!(slow, Err(AttemptError::TimedOut)), "{slow:?}");
        for _ in 0..10_000 {
            let pending = connector.poll(LONG, || panic!("a second attempt"));
            assert!(matches!(pending, Ok(None)), "{pending:?}");
        }
        server.send(1).unwrap();
        let got = || connector.poll(LONG, || panic!("a second attempt")).unwrap();
        assert_eq!(std::iter::repeat_with(got).find_map(|got| got), Some(1));
    }

    #[test]
    fn the_causes_are_told_apart() {
        let mut connector: Connector<u32, &str> = Connector::new("test-connect", LONG);
        assert_eq!(connector.connect(|| Err("refused")).unwrap_err().to_string(), "refused");
        let ended = connector.connect(|| panic!("on purpose"));
        assert!(matches!(ended, Err(AttemptError::Ended)), "{ended:?}");
    }
}
