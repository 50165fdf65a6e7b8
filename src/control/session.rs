//! One connection on the server's side: reads requests, has them done, writes replies.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::os::unix::net::UnixStream;

use log::LevelFilter;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pyzord_core::StoreOp;
use thiserror::Error;

use super::commands::CommandRefused;
use super::connections::{ConnectionGuard, TooManyUsers};
use super::operator::Operator;
use super::protocol::{ControlRequest, ControlRequestError, GREETING, MAX_REQUEST, NOTE, one_line};
use super::records::{RecordFailure, RecordSession};
use super::server::ControlHost;
use crate::settings::level_word;

/// A connection of an operator.
pub(super) struct Session<'a> {
    host: &'a ControlHost,
    connection: ConnectionGuard,
    operator: Operator,
    /// Opened by the first request about records: the others are answered while the database hangs.
    records: Option<RecordSession>,
}

/// Why a request failed. The connection remains usable.
#[derive(Debug, Error)]
enum RequestFailure {
    #[error(transparent)]
    Malformed(#[from] ControlRequestError),
    #[error(transparent)]
    Records(#[from] RecordFailure),
    #[error("pyzorctl opens the database of this server itself")]
    NotLent,
    #[error(transparent)]
    Users(#[from] TooManyUsers),
    #[error(transparent)]
    Refused(#[from] CommandRefused),
    #[error("the server stops")]
    Stopping,
    #[error("the server cannot signal itself: {0}")]
    Signal(#[from] Errno),
    #[error("the reply cannot be written: {0}")]
    Document(#[from] serde_json::Error),
    #[error("the connection cannot be kept: {0}")]
    Stream(#[from] io::Error),
}

/// The text of a reply behind `ok`.
type Answer = Result<String, RequestFailure>;

impl<'a> Session<'a> {
    pub(super) const fn new(host: &'a ControlHost, connection: ConnectionGuard, operator: Operator) -> Self {
        Self { host, connection, operator, records: None }
    }

    /// Serves the connection until the client closes it.
    pub(super) fn run(mut self) {
        let served = self.connection.stream().try_clone().and_then(|stream| self.serve(&stream));
        if let Err(error) = served {
            log::debug!("control socket: {error}");
        }
    }

    fn serve(&mut self, stream: &UnixStream) -> io::Result<()> {
        let (mut input, mut out) = (BufReader::new(stream), BufWriter::new(stream));
        writeln!(out, "{GREETING}")?;
        let mut line = String::new();
        loop {
            // Requests that arrived together are answered together.
            if input.buffer().is_empty() {
                out.flush()?;
            }
            line.clear();
            self.connection.wait(self.host.clock.tick());
            let length = input.by_ref().take(MAX_REQUEST).read_line(&mut line)?;
            self.connection.work();
            if length == 0 {
                return Ok(());
            }
            let Some(line) = line.strip_suffix('\n') else {
                writeln!(out, "failed a request is a line of at most {MAX_REQUEST} bytes")?;
                return out.flush();
            };
            let Some(answer) = self.answer(line, &mut out)? else { return Ok(()) };
            match answer {
                Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
                Ok(answer) => writeln!(out, "ok {answer}")?,
                Err(failure) => writeln!(out, "failed {}", one_line(&failure.to_string()))?,
            }
        }
    }

    /// Executes a request. Returns `None` if the reply comes with the end of the server. The outer error is the
    /// connection's.
    fn answer(&mut self, line: &str, out: &mut dyn Write) -> io::Result<Option<Answer>> {
        if let Some(text) = line.strip_prefix(NOTE).and_then(|rest| rest.strip_prefix(' ')) {
            log::info!("pyzorctl of {}: {}", self.operator, one_line(text));
            return Ok(Some(Ok(String::new())));
        }
        Ok(Some(match ControlRequest::parse(line) {
            Ok(ControlRequest::Database) => self.database(),
            Ok(ControlRequest::Status) => (self.host.document)().map_err(RequestFailure::from),
            Ok(ControlRequest::Reload) => self.reload(),
            Ok(ControlRequest::Stop) => {
                out.flush()?;
                match self.stop() {
                    Ok(()) => return Ok(None),
                    Err(failure) => Err(failure),
                }
            }
            Ok(ControlRequest::LogLevel(level)) => Ok(self.set_log_level(level)),
            Ok(request) => self.answer_about_records(request, out)?,
            Err(error) => Err(error.into()),
        }))
    }

    fn answer_about_records(&mut self, request: ControlRequest, out: &mut dyn Write) -> io::Result<Answer> {
        let records = match self.records() {
            Ok(records) => records,
            Err(failure) => return Ok(Err(failure)),
        };
        let answered = match request {
            ControlRequest::Scan => records.scan(out)?,
            ControlRequest::Fetch(digest) => records.fetch(digest),
            ControlRequest::Put(digest, record) => records.put(digest, &record),
            ControlRequest::Change(digest, change) => records.change(digest, change),
            ControlRequest::Remove(digest) => records.remove(digest),
            ControlRequest::Round(digest, record) => Ok(records.round(digest, &record)),
            ControlRequest::Report(digest) => records.count(digest, StoreOp::Report),
            ControlRequest::Whitelist(digest) => records.count(digest, StoreOp::Whitelist),
            ControlRequest::Estimate => records.estimate(),
            ControlRequest::Sync => records.sync(),
            ControlRequest::Expire(limit) => records.expire(limit),
            ControlRequest::Database
            | ControlRequest::Status
            | ControlRequest::Reload
            | ControlRequest::Stop
            | ControlRequest::LogLevel(_) => return Ok(Err(ControlRequestError::Verb.into())),
        };
        Ok(answered.map_err(RequestFailure::from))
    }

    fn records(&mut self) -> Result<&mut RecordSession, RequestFailure> {
        let Self { host, connection, operator, records } = self;
        if records.is_none() {
            let open = host.open_handle.as_ref().ok_or(RequestFailure::NotLent)?;
            connection.use_database()?;
            *records = Some(RecordSession::new(open(), host.clock, operator.clone()));
        }
        records.as_mut().ok_or(RequestFailure::NotLent)
    }

    /// Tells the file of the database to a client that is going to use it, maybe only when its own input has come.
    fn database(&mut self) -> Answer {
        let Self { host, connection, .. } = self;
        if host.open_handle.is_none() {
            return Err(RequestFailure::NotLent);
        }
        connection.use_database()?;
        Ok(host.database.display().to_string())
    }

    /// Reloads as at a USR1, and waits for the report.
    fn reload(&self) -> Answer {
        let waiter = self.host.commands.await_reload()?;
        log::info!("pyzorctl of {}: reload", self.operator);
        kill(Pid::this(), Signal::SIGUSR1)?;
        let report = waiter.recv().map_err(|_| RequestFailure::Stopping)?;
        Ok(serde_json::to_string(&*report)?)
    }

    /// Stops as at a TERM. The connection stays open until the process ends, and its last line tells how.
    fn stop(&self) -> Result<(), RequestFailure> {
        self.host.commands.await_stop(self.connection.stream().try_clone()?)?;
        self.connection.release();
        log::info!("pyzorctl of {}: stop", self.operator);
        Ok(kill(Pid::this(), Signal::SIGTERM)?)
    }

    /// Sets the level until the next reload. The line about it is in the log with either level.
    fn set_log_level(&self, level: LevelFilter) -> String {
        let old = log::max_level();
        log::set_max_level(level.max(old));
        let (old, new) = (level_word(old), level_word(level));
        log::info!("pyzorctl of {}: log level {new} until the next reload; it was {old}", self.operator);
        log::set_max_level(level);
        old.to_owned()
    }
}

#[cfg(all(test, feature = "gdbm"))]
mod tests {
    use std::net::Shutdown;
    use std::sync::Arc;

    use proptest::prelude::*;
    use pyzord_core::Tick;
    use pyzord_engines::Gdbm;
    use pyzord_runtime::Clock;

    use super::super::connections::Connections;
    use super::super::operator::OwnAccount;
    use super::*;

    /// A request, or a line that resembles one.
    fn request() -> impl Strategy<Value = String> {
        let verb = "scan|fetch|put|merge|set|remove|report|whitelist|round|estimate|sync|expire|database|status|\
                    log-level|note|[a-z]{0,9}";
        let record = "[0-9a-fA-F]{40}(,-?[0-9]{0,20}(\\.[0-9]{0,7})?){5,7}";
        let rest = prop_oneof!["[0-9a-fA-F]{40}", record, "\\PC{0,60}"];
        (verb, rest).prop_map(|(verb, rest)| format!("{verb} {rest}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_requests_have_one_reply_each(requests in proptest::collection::vec(request(), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let lent = Gdbm::open(&folder.path().join("pyzord.db")).unwrap();
            let host = ControlHost {
                open_handle: Some(Box::new(move || Box::new(lent.clone()))),
                database: folder.path().join("pyzord.db"),
                commands: Arc::default(),
                clock: Clock::start(),
                document: Box::new(|| Ok("{}".to_owned())),
            };
            let (ours, theirs) = UnixStream::pair().unwrap();
            let operator = Operator::of(&ours, &OwnAccount::find()).unwrap().unwrap();
            let connection = Connections::default().add(ours, Tick::default()).unwrap();
            let session = Session::new(&host, connection, operator);
            let text: String = requests.iter().map(|request| one_line(request) + "\n").collect();
            (&theirs).write_all(text.as_bytes()).unwrap();
            theirs.shutdown(Shutdown::Write).unwrap();
            session.run();
            let mut replies = String::new();
            (&theirs).read_to_string(&mut replies).unwrap();
            let mut lines = replies.lines();
            prop_assert_eq!(lines.next(), Some(GREETING));
            let found = |line: &&str| line.starts_with("found ") || line.starts_with("unreadable ");
            let replied: Vec<&str> = lines.filter(|line| !found(line)).collect();
            prop_assert_eq!(replied.len(), requests.len(), "{}", replies);
            let form = |line: &&str| *line == "ok" || line.starts_with("ok ") || line.starts_with("failed ");
            prop_assert!(replied.iter().all(form), "{}", replies);
        }
    }
}
