//! Makes connections on threads of their own.
//!
//! Looking up a host name, connecting to a local socket whose queue is full, and a TLS handshake in small
//! pieces have no time-out of their own. On its own thread an attempt can outlast the time that its caller
//! has.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Why there is no connection yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError<E> {
    /// The attempt failed.
    #[error("{0}")]
    Failed(E),
    /// The attempt is still under way.
    #[error("no connection in time")]
    TimedOut,
    /// The thread panicked.
    #[error("the attempt to connect ended without a result")]
    Ended,
    /// The system has no thread for the attempt.
    #[error("no thread to connect on: {0}")]
    NoThread(io::Error),
}

/// How long a call waits for an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For one that it has started.
    pub(crate) new: Duration,
    /// For one that an earlier call has started.
    pub(crate) pending: Duration,
}

/// Makes connections, one at a time: there is never more than one thread, however long an attempt takes.
#[derive(Debug)]
pub(crate) struct Connector<C, E> {
    /// The name of the threads.
    thread: &'static str,
    waits: Waits,
    /// The attempt that is under way.
    pending: Option<Receiver<Result<C, E>>>,
}

impl<C: Send + 'static, E: Send + 'static> Connector<C, E> {
    pub(crate) fn new(thread: &'static str, waits: Waits) -> Self {
        Self { thread, waits, pending: None }
    }

    /// Waits for the attempt that is under way, or starts one that calls `connect`. A connection that is made
    /// later is returned by a later call, so a server that is slow to accept clients is reached in the end.
    pub(crate) fn connect(
        &mut self,
        connect: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<C, AttemptError<E>> {
        let (attempt, wait) = match self.pending.take() {
            Some(attempt) => (attempt, self.waits.pending),
            None => (self.start(connect)?, self.waits.new),
        };
        match attempt.recv_timeout(wait) {
            Ok(result) => result.map_err(AttemptError::Failed),
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(attempt);
                Err(AttemptError::TimedOut)
            }
            Err(RecvTimeoutError::Disconnected) => Err(AttemptError::Ended),
        }
    }

    fn start(
        &self,
        connect: impl FnOnce() -> Result<C, E> + Send + 'static,
    ) -> Result<Receiver<Result<C, E>>, AttemptError<E>> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let work = move || {
            if sender.send(connect()).is_err() {
                log::debug!("a connection was made for an engine that is closed; it is dropped");
            }
        };
        let started = thread::Builder::new().name(self.thread.to_owned()).spawn(work);
        started.map(|_| receiver).map_err(AttemptError::NoThread)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_slow_attempt_is_waited_for_and_not_started_again() {
        let waits = Waits { new: Duration::from_millis(1), pending: Duration::from_secs(60) };
        let mut connector: Connector<u32, &str> = Connector::new("test-connect", waits);
        let (server, accepts) = channel();
        let slow = connector.connect(move || accepts.recv().map_err(|_| "refused"));
        assert!(matches!(slow, Err(AttemptError::TimedOut)), "{slow:?}");
        server.send(1).unwrap();
        assert_eq!(connector.connect(|| panic!("a second attempt")).unwrap(), 1);
    }

    #[test]
    fn the_causes_are_told_apart() {
        let wait = Duration::from_secs(60);
        let mut connector: Connector<u32, &str> =
            Connector::new("test-connect", Waits { new: wait, pending: wait });
        assert_eq!(connector.connect(|| Err("refused")).unwrap_err().to_string(), "refused");
        let ended = connector.connect(|| panic!("on purpose"));
        assert!(matches!(ended, Err(AttemptError::Ended)), "{ended:?}");
    }
}
