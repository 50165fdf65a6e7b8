//! A connection to a database server, which comes and goes.

use std::time::Duration;

use pyzord_core::{Backoff, Tick};

/// A connection that has lived for this long is one: one that breaks sooner, each time it is made, is made ever less
/// often, and the log does not repeat itself.
const TRIAL: Duration = Duration::from_secs(1);

/// At most one connection, made when it is wanted and made again, not too often, when it was lost.
#[derive(Debug)]
pub struct ConnectionManager<C> {
    /// How the log names the database; no password in it.
    name: String,
    connection: Option<C>,
    /// When it was made.
    made: Tick,
    backoff: Backoff,
}

impl<C> ConnectionManager<C> {
    /// A link that is not connected yet.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, connection: None, made: Tick::default(), backoff: Backoff::new() }
    }

    /// How the log names the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The connection, made by `connect` if there is none and an attempt is due. `None` at once when it is not, so
    /// that a database that is away costs its clients no time.
    pub fn connection(&mut self, now: Tick, connect: impl FnOnce() -> Result<C, String>) -> Option<&mut C> {
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

    /// The connection, made now if there is none: for those who have time, and nobody to answer meanwhile.
    ///
    /// # Errors
    /// What `connect` says.
    pub fn wait(&mut self, connect: impl FnOnce() -> Result<C, String>) -> Result<&mut C, String> {
        match self.connection {
            Some(ref mut connection) => Ok(connection),
            None => Ok(self.connection.insert(connect()?)),
        }
    }

    /// Gives the connection up after an error that the caller tells of.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// Finds out whether a connection that was idle is still there, before a batch is lost on it. One that was closed
    /// is made again by the next call, at once; a server that hangs is [lost](Self::lost), as the check itself took
    /// all the time there is.
    pub fn refresh(&mut self, now: Tick, is_open: impl FnOnce(&mut C) -> Result<bool, String>) {
        match self.connection.as_mut().map(is_open) {
            Some(Ok(false)) => self.connection = None,
            Some(Err(cause)) => self.lost(now, &cause),
            Some(Ok(true)) | None => (),
        }
    }

    /// Gives the connection up after an error. `began` is when the failed call was begun.
    pub fn lost(&mut self, began: Tick, cause: &str) {
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

    #[test]
    fn an_idle_connection_is_made_again_at_once_unless_the_server_hangs() {
        let at = |millis| Tick::new(Duration::from_millis(millis));
        let mut link: ConnectionManager<u32> = ConnectionManager::new("test".into());
        assert_eq!(link.connection(at(0), || Ok(1)), Some(&mut 1));
        link.refresh(at(20_000), |_| Ok(true));
        assert_eq!(link.connection(at(20_000), || Ok(2)), Some(&mut 1));
        link.refresh(at(40_000), |_| Ok(false));
        assert_eq!(link.connection(at(40_000), || Ok(3)), Some(&mut 3));
        link.refresh(at(60_000), |_| Err("no answer in time".into()));
        assert_eq!(link.connection(at(60_000), || panic!("too early")), None);
    }

    #[test]
    fn a_lost_connection_is_tried_again_after_a_pause_and_not_before() {
        let mut link: ConnectionManager<u32> = ConnectionManager::new("test".into());
        let at = |millis| Tick::new(Duration::from_millis(millis));
        assert_eq!(link.connection(at(0), || Err("refused".into())), None);
        assert_eq!(link.connection(at(99), || panic!("too early")), None);
        assert_eq!(link.connection(at(100), || Ok(1)), Some(&mut 1));
        assert_eq!(link.connection(at(1100), || panic!("there is one")), Some(&mut 1));
        link.lost(at(2000), "reset");
        assert_eq!(link.connection(at(2099), || panic!("too early")), None);
        assert_eq!(link.connection(at(2100), || Ok(2)), Some(&mut 2));
    }

    /// A server that lets clients in and then fails them would otherwise be tried ten times a second, and each
    /// time written about.
    #[test]
    fn a_connection_that_breaks_at_once_is_made_ever_less_often() {
        let mut link: ConnectionManager<u32> = ConnectionManager::new("test".into());
        let mut now = Tick::default();
        for pause in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(link.connection(now, || Ok(1)), Some(&mut 1));
            link.lost(now, "read only");
            let early = now.after(Duration::from_millis(pause - 1));
            assert_eq!(link.connection(early, || panic!("too early")), None);
            now = now.after(Duration::from_millis(pause));
        }
    }

    #[test]
    fn who_has_time_gets_a_connection_at_once() {
        let mut link: ConnectionManager<u32> = ConnectionManager::new("test".into());
        assert_eq!(link.wait(|| Err("refused".into())), Err("refused".into()));
        assert_eq!(link.wait(|| Ok(1)), Ok(&mut 1));
        assert_eq!(link.wait(|| panic!("there is one")), Ok(&mut 1));
        link.close();
        assert_eq!(link.wait(|| Ok(2)), Ok(&mut 2));
    }
}
