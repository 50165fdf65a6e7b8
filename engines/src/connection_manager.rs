//! A connection to a database server that is made again after a loss.

use std::fmt::Display;
use std::time::Duration;

use pyzord_core::{Backoff, Tick};

/// A connection that lived for less than this counts as one more failed attempt: the pauses grow, and the log
/// does not repeat itself, where a server accepts each connection and then breaks it.
const TRIAL: Duration = Duration::from_secs(1);

/// Holds at most one connection. It is made when it is needed, and again after a loss, with growing pauses
/// between the attempts. Logs the loss and the return of a database, once each.
#[derive(Debug)]
pub struct ConnectionManager<C> {
    /// How logs name the database, without a password.
    name: String,
    connection: Option<C>,
    /// When it was made.
    made: Tick,
    backoff: Backoff,
}

impl<C> ConnectionManager<C> {
    /// Returns a manager without a connection. `name` is how logs name the database; it must not hold a
    /// password.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, connection: None, made: Tick::default(), backoff: Backoff::new() }
    }

    /// Returns how logs name the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the connection. If there is none and an attempt is due, `connect` makes it. Between attempts
    /// returns `None` at once, so that requests do not wait for a database that is away.
    pub fn connection<E: Display>(
        &mut self,
        now: Tick,
        connect: impl FnOnce() -> Result<C, E>,
    ) -> Option<&mut C> {
        if self.connection.is_some() {
            self.prove(now);
        } else if self.backoff.ready(now) {
            match connect() {
                Ok(connection) => (self.connection, self.made) = (Some(connection), now),
                Err(cause) => self.lost(now, &cause),
            }
        }
        self.connection.as_mut()
    }

    /// Returns the connection, and makes it at once if there is none: for callers that can wait, as
    /// migrations can.
    ///
    /// # Errors
    /// Returns the error of `connect`.
    pub fn wait<E>(&mut self, connect: impl FnOnce() -> Result<C, E>) -> Result<&mut C, E> {
        match self.connection {
            Some(ref mut connection) => Ok(connection),
            None => Ok(self.connection.insert(connect()?)),
        }
    }

    /// Drops the connection after an error that the caller reports.
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
    type Attempt = Result<u32, &'static str>;

    fn manager() -> ConnectionManager<u32> {
        ConnectionManager::new("test".into())
    }

    fn too_early() -> Attempt {
        panic!("an attempt before its time")
    }

    fn at(millis: u64) -> Tick {
        Tick::new(Duration::from_millis(millis))
    }

    #[test]
    fn an_idle_connection_is_made_again_at_once_unless_the_server_hangs() {
        let mut manager = manager();
        assert_eq!(manager.connection(at(0), || Attempt::Ok(1)), Some(&mut 1));
        manager.refresh(at(20_000), |_| Ok::<_, String>(true));
        assert_eq!(manager.connection(at(20_000), || Attempt::Ok(2)), Some(&mut 1));
        manager.refresh(at(40_000), |_| Ok::<_, String>(false));
        assert_eq!(manager.connection(at(40_000), || Attempt::Ok(3)), Some(&mut 3));
        manager.refresh(at(60_000), |_| Err("no answer in time"));
        assert_eq!(manager.connection(at(60_000), too_early), None);
    }

    #[test]
    fn a_lost_connection_is_tried_again_after_a_pause_and_not_before() {
        let mut manager = manager();
        assert_eq!(manager.connection(at(0), || Err("refused")), None);
        assert_eq!(manager.connection(at(99), too_early), None);
        assert_eq!(manager.connection(at(100), || Attempt::Ok(1)), Some(&mut 1));
        assert_eq!(manager.connection(at(1100), too_early), Some(&mut 1));
        manager.lost(at(2000), "reset");
        assert_eq!(manager.connection(at(2099), too_early), None);
        assert_eq!(manager.connection(at(2100), || Attempt::Ok(2)), Some(&mut 2));
    }

    /// A server that accepted connections and broke them was tried ten times a second, with a log line each
    /// time.
    #[test]
    fn a_connection_that_breaks_at_once_is_made_ever_less_often() {
        let mut manager = manager();
        let mut now = Tick::default();
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(manager.connection(now, || Attempt::Ok(1)), Some(&mut 1));
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
        assert_eq!(manager.wait(|| Attempt::Ok(1)), Ok(&mut 1));
        assert_eq!(manager.wait(too_early), Ok(&mut 1));
        manager.close();
        assert_eq!(manager.wait(|| Attempt::Ok(2)), Ok(&mut 2));
    }
}
