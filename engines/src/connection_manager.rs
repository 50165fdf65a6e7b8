//! A connection to a database server that is made again after a loss.

use std::fmt::Display;
use std::time::Duration;

use pyzord_core::{Backoff, Tick};

/// A connection that lived for less than this counts as one more failed attempt: the pauses grow, and the log
/// does not repeat itself, where a server accepts each connection and then breaks it.
const TRIAL: Duration = Duration::from_secs(1);

/// How long a caller can wait for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// As long as a new connection may take for a batch.
    Batch,
    /// A moment, as there is no batch.
    Moment,
    /// Not at all: there is a connection, though a doubtful one.
    Nothing,
}

/// Holds at most one connection. It is made when it is needed, and again after a loss, with growing pauses
/// between the attempts. Logs the loss and the return of a database, once each.
#[derive(Debug)]
pub struct ConnectionManager<C> {
    /// How logs name the database, without a password.
    name: String,
    connection: Option<C>,
    /// When it was made.
    made: Tick,
    /// The server cannot do all that is asked of it: another connection is to replace this one.
    doubtful: bool,
    /// An attempt is under way, of which nothing is known yet.
    pending: bool,
    backoff: Backoff,
    /// Why the last attempt failed, or the last connection was lost.
    cause: Option<String>,
}

impl<C> ConnectionManager<C> {
    /// Returns a manager without a connection. `name` is how logs name the database; it must not hold a
    /// password.
    #[must_use]
    pub fn new(name: String) -> Self {
        let (made, backoff) = (Tick::default(), Backoff::new());
        Self { name, connection: None, made, doubtful: false, pending: false, backoff, cause: None }
    }

    /// Returns how logs name the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns why there is no connection, as far as it is known.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.cause.as_deref().filter(|_| self.connection.is_none()).unwrap_or("there is no connection")
    }

    /// Returns the connection. If there is none and an attempt is due, `connect` makes it, or returns `None` if
    /// it is still at it. Between attempts returns `None` at once, so that requests do not wait for a database
    /// that is away.
    pub fn connection<E: Display>(
        &mut self,
        now: Tick,
        connect: impl FnOnce(Wait) -> Result<Option<C>, E>,
    ) -> Option<&mut C> {
        self.attempt(now, Wait::Batch, connect);
        self.connection.as_mut()
    }

    /// As [`connection`](Self::connection), without a batch: waits a moment at most. Returns whether there is a
    /// connection.
    pub fn prepare<E: Display>(
        &mut self,
        now: Tick,
        connect: impl FnOnce(Wait) -> Result<Option<C>, E>,
    ) -> bool {
        self.attempt(now, Wait::Moment, connect);
        self.connection.is_some()
    }

    fn attempt<E: Display>(
        &mut self,
        now: Tick,
        wait: Wait,
        connect: impl FnOnce(Wait) -> Result<Option<C>, E>,
    ) {
        let missing = self.connection.is_none();
        if !missing && !self.doubtful {
            return self.prove(now);
        }
        if !self.pending && !self.backoff.ready(now) {
            return;
        }
        let connected = connect(if missing { wait } else { Wait::Nothing });
        self.pending = matches!(connected, Ok(None));
        match connected {
            Ok(Some(connection)) => {
                (self.connection, self.made, self.doubtful) = (Some(connection), now, false);
            }
            // A batch fails for want of it. This is told once, and no pause: the next call looks again.
            Ok(None) if missing && wait == Wait::Batch && self.backoff.failures() == 0 => {
                self.failed(now, "no connection in time");
            }
            Ok(None) => (),
            Err(cause) if missing => self.failed(now, &cause),
            Err(cause) => {
                log::debug!("{}: {cause}", self.name);
                self.backoff.failed(now);
            }
        }
    }

    /// Returns the connection, and makes it at once if there is none: for callers that can wait, as
    /// migrations can.
    ///
    /// # Errors
    /// Returns the error of `connect`.
    pub fn wait<E>(&mut self, connect: impl FnOnce() -> Result<C, E>) -> Result<&mut C, E> {
        match self.connection {
            Some(ref mut connection) => Ok(connection),
            None => {
                self.doubtful = false;
                Ok(self.connection.insert(connect()?))
            }
        }
    }

    /// Returns the connection that there is; makes none.
    pub fn current(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    /// Drops the connection: the server has closed it, or the caller reports why. The next call makes another
    /// at once.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// Checks a connection that was idle, before a batch could be lost on it.
    ///
    /// If `is_open` returns false, the server has closed it, and the next call of
    /// [`connection`](Self::connection) makes another at once. An error means that the server hangs: the
    /// connection is [lost](Self::lost), as the check itself has used up the time for the batch.
    pub fn refresh<E: Display>(&mut self, now: Tick, is_open: impl FnOnce(&mut C) -> Result<bool, E>) {
        match self.connection.as_mut().map(is_open) {
            Some(Ok(false)) => self.connection = None,
            Some(Err(cause)) => self.lost(now, &cause),
            Some(Ok(true)) | None => (),
        }
    }

    /// Drops the connection after an error, and logs the cause. `began` is the time at which the failed call
    /// began.
    pub fn lost(&mut self, began: Tick, cause: &(impl Display + ?Sized)) {
        self.connection = None;
        self.failed(began, cause);
    }

    /// Keeps the connection for what it can do, and has another one made that replaces it: its server refuses
    /// some requests, and the address may lead to another server by now. Logs the first cause.
    pub fn doubt(&mut self, began: Tick, cause: &(impl Display + ?Sized)) {
        if !std::mem::replace(&mut self.doubtful, true) {
            if self.backoff.failures() == 0 {
                log::error!(
                    "{}: {cause}; requests that it refuses are answered with `temporarily unavailable`",
                    self.name
                );
            }
            self.backoff.failed(began);
        }
    }

    /// Has another connection made that replaces this one, which is as good until then.
    pub fn replace(&mut self) {
        self.doubtful |= self.connection.is_some();
    }

    fn failed(&mut self, began: Tick, cause: &(impl Display + ?Sized)) {
        self.cause = Some(cause.to_string());
        if self.backoff.failures() == 0 {
            log::error!(
                "{}: {cause}; requests are answered with `temporarily unavailable` until it is back",
                self.name
            );
        } else {
            log::debug!("{}: {cause}", self.name);
        }
        self.backoff.failed(began);
    }

    fn prove(&mut self, now: Tick) {
        if self.backoff.failures() > 0 && now.since(self.made) >= TRIAL {
            log::info!("{} is back; failed attempts: {}", self.name, self.backoff.failures());
            self.backoff.succeeded();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What an attempt to connect results in.
    type Attempt = Result<Option<u32>, &'static str>;

    fn manager() -> ConnectionManager<u32> {
        ConnectionManager::new("test".into())
    }

    fn too_early(_: Wait) -> Attempt {
        panic!("an attempt before its time")
    }

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    #[test]
    fn an_idle_connection_is_made_again_at_once_unless_the_server_hangs() {
        let mut manager = manager();
        assert_eq!(manager.connection(at(0), |_| Attempt::Ok(Some(1))), Some(&mut 1));
        manager.refresh(at(20_000), |_| Ok::<_, String>(true));
        assert_eq!(manager.connection(at(20_000), |_| Attempt::Ok(Some(2))), Some(&mut 1));
        manager.refresh(at(40_000), |_| Ok::<_, String>(false));
        assert_eq!(manager.connection(at(40_000), |_| Attempt::Ok(Some(3))), Some(&mut 3));
        manager.refresh(at(60_000), |_| Err("no answer in time"));
        assert_eq!(manager.connection(at(60_000), too_early), None);
    }

    #[test]
    fn a_lost_connection_is_tried_again_after_a_pause_and_not_before() {
        let mut manager = manager();
        assert_eq!(manager.connection(at(0), |_| Attempt::Err("refused")), None);
        assert_eq!(manager.connection(at(99), too_early), None);
        assert_eq!(manager.connection(at(100), |_| Attempt::Ok(Some(1))), Some(&mut 1));
        assert_eq!(manager.connection(at(1100), too_early), Some(&mut 1));
        manager.lost(at(2000), "reset");
        assert_eq!(manager.connection(at(2099), too_early), None);
        assert_eq!(manager.connection(at(2100), |_| Attempt::Ok(Some(2))), Some(&mut 2));
    }

    /// A server that accepted connections and broke them was tried ten times a second, with a log line each
    /// time.
    #[test]
    fn a_connection_that_breaks_at_once_is_made_ever_less_often() {
        let mut manager = manager();
        let mut now = Tick::default();
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(manager.connection(now, |_| Attempt::Ok(Some(1))), Some(&mut 1));
            manager.lost(now, "read only");
            let early = now.after(Duration::from_millis(pause - 1));
            assert_eq!(manager.connection(early, too_early), None);
            now = now.after(Duration::from_millis(pause));
        }
    }

    #[test]
    fn a_caller_that_can_wait_gets_a_connection_at_once() {
        let mut manager = manager();
        assert_eq!(manager.wait(|| Err("refused")), Err("refused"));
        assert_eq!(manager.wait(|| Ok::<_, &str>(1)), Ok(&mut 1));
        assert_eq!(manager.wait(|| Err("a second attempt")), Ok(&mut 1));
        manager.close();
        assert_eq!(manager.wait(|| Ok::<_, &str>(2)), Ok(&mut 2));
    }

    /// A greeting that took longer than a batch can wait was never reached.
    #[test]
    fn an_attempt_that_is_under_way_is_looked_at_by_each_call() {
        let mut manager = manager();
        for millis in 0..50 {
            assert_eq!(manager.connection(at(millis), |_| Attempt::Ok(None)), None);
        }
        assert_eq!(manager.connection(at(50), |_| Attempt::Ok(Some(1))), Some(&mut 1));
    }

    /// A replica that refused one count took the connection, and with it all checks.
    #[test]
    fn a_doubtful_connection_serves_until_another_replaces_it() {
        let mut manager = manager();
        assert_eq!(manager.connection(at(0), |_| Attempt::Ok(Some(1))), Some(&mut 1));
        manager.doubt(at(5000), "READONLY");
        manager.doubt(at(5001), "READONLY");
        assert_eq!(manager.connection(at(5099), too_early), Some(&mut 1));
        let mut waited = None;
        let refused = |wait| {
            waited = Some(wait);
            Attempt::Err("refused")
        };
        assert_eq!(manager.connection(at(5100), refused), Some(&mut 1));
        assert_eq!(waited, Some(Wait::Nothing), "the old connection serves meanwhile");
        assert_eq!(manager.connection(at(5299), too_early), Some(&mut 1));
        assert_eq!(manager.connection(at(5300), |_| Attempt::Ok(Some(2))), Some(&mut 2));
        assert_eq!(manager.connection(at(6300), too_early), Some(&mut 2));
        manager.lost(at(7000), "reset");
        assert_eq!(manager.connection(at(7100), |_| Attempt::Ok(Some(3))), Some(&mut 3));
    }
}
