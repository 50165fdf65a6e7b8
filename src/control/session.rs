//! One connection on the server's side: reads requests, calls the database, writes replies.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::os::unix::net::UnixStream;

use pyzord_core::{Digest, Progress, Record, StoreCall, StoreError, StoreFailure, StoreOp, Task, UnixTime};
use pyzord_engines::{Change, ChangeError, RecordStore, StoredEntry};
use pyzord_runtime::Clock;
use thiserror::Error;

use super::protocol::{ControlRequest, ControlRequestError, GREETING, MAX_REQUEST, one_line};
use crate::bulk;
use crate::csv::RecordLine;

/// A connection's handle on the database, and the number of records that it changed.
pub(super) struct Session {
    database: Box<dyn RecordStore>,
    clock: Clock,
    stored: u64,
    removed: u64,
    counted: u64,
}

/// Why a request failed. The connection remains usable.
#[derive(Debug, Error)]
enum RequestFailure {
    #[error(transparent)]
    Malformed(#[from] ControlRequestError),
    #[error(transparent)]
    Database(#[from] StoreFailure),
    #[error(transparent)]
    Count(#[from] StoreError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("the number of records is unknown")]
    NoEstimate,
}

/// The text of a reply behind `ok`.
type Answer = Result<String, RequestFailure>;

impl Session {
    pub(super) fn new(database: Box<dyn RecordStore>, clock: Clock) -> Self {
        Self { database, clock, stored: 0, removed: 0, counted: 0 }
    }

    /// Serves the connection until the client closes it, and logs what the client changed.
    pub(super) fn run(mut self, stream: &UnixStream) {
        let ended = self.serve(stream);
        let Self { stored, removed, counted, .. } = self;
        if stored + removed + counted > 0 {
            log::info!(
                "pyzorctl has stored {stored} records, removed {removed} and counted {counted} reports or whitelistings \
                 while this server ran"
            );
        }
        if let Err(error) = ended {
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
            if input.by_ref().take(MAX_REQUEST).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some(line) = line.strip_suffix('\n') else {
                writeln!(out, "failed a request is a line of at most {MAX_REQUEST} bytes")?;
                return out.flush();
            };
            match self.answer(line, &mut out)? {
                Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
                Ok(answer) => writeln!(out, "ok {answer}")?,
                Err(failure) => writeln!(out, "failed {}", one_line(&failure.to_string()))?,
            }
        }
    }

    /// Executes a request. The outer error is the connection's.
    fn answer(&mut self, line: &str, out: &mut dyn Write) -> io::Result<Answer> {
        let request = match ControlRequest::parse(line) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(match request {
            ControlRequest::Scan => return self.scan(out),
            ControlRequest::Fetch(digest) => self.fetch(digest),
            ControlRequest::Put(digest, record) => self.put(digest, &record),
            ControlRequest::Change(digest, change) => self.change(digest, change),
            ControlRequest::Remove(digest) => self.remove(digest),
            ControlRequest::Round(digest, record) => {
                Ok(RecordLine(digest, &self.database.rounded(&record)).to_string())
            }
            ControlRequest::Report(digest) => self.count(digest, StoreOp::Report),
            ControlRequest::Whitelist(digest) => self.count(digest, StoreOp::Whitelist),
            ControlRequest::Estimate => self.estimate(),
            ControlRequest::Sync => self.sync(),
            ControlRequest::Expire(limit) => self.expire(limit),
        })
    }

    fn scan(&mut self, out: &mut dyn Write) -> io::Result<Answer> {
        let mut found = Vec::new();
        let progress = self.database.scan(&mut found);
        for StoredEntry { key, record } in found {
            match record {
                Ok((digest, record)) => writeln!(out, "found {}", RecordLine(digest, &record))?,
                Err(cause) => {
                    writeln!(out, "unreadable {}\t{}", one_line(&key), one_line(&cause.to_string()))?;
                }
            }
        }
        Ok(match progress {
            Ok(Progress::More) => Ok("more".to_owned()),
            Ok(Progress::Done | Progress::Surveyed(_) | Progress::Elsewhere) => Ok("done".to_owned()),
            Err(failure) => Err(failure.into()),
        })
    }

    fn fetch(&mut self, digest: Digest) -> Answer {
        let record = bulk::fetch_one(&mut *self.database, digest)?;
        Ok(RecordLine(digest, &record).to_string())
    }

    fn put(&mut self, digest: Digest, record: &Record) -> Answer {
        bulk::put_one(&mut *self.database, digest, record)?;
        self.stored += 1;
        log::debug!("pyzorctl stores {}", RecordLine(digest, record));
        Ok(String::new())
    }

    fn change(&mut self, digest: Digest, change: Change) -> Answer {
        bulk::change_one(&mut *self.database, digest, change)?;
        self.stored += 1;
        log::debug!("pyzorctl changes {digest}: {change:?}");
        Ok(String::new())
    }

    fn remove(&mut self, digest: Digest) -> Answer {
        self.database.remove(&[digest])?;
        self.removed += 1;
        log::debug!("pyzorctl removes {digest}");
        Ok(String::new())
    }

    fn count(&mut self, digest: Digest, op: StoreOp) -> Answer {
        let mut answers = Vec::new();
        self.database.execute(self.clock.now(), &[StoreCall::new(digest, op)], &mut answers);
        bulk::only(answers)??;
        self.counted += 1;
        Ok(String::new())
    }

    fn estimate(&mut self) -> Answer {
        let count = self.database.record_count(self.clock.now());
        count.map(|count| count.to_string()).ok_or(RequestFailure::NoEstimate)
    }

    /// Removes one slice of the records whose latest activity is before `limit`.
    fn expire(&mut self, limit: UnixTime) -> Answer {
        Ok(match self.database.upkeep(self.clock.now(), Task::Expire(limit))? {
            Progress::More => "more".to_owned(),
            Progress::Done | Progress::Surveyed(_) | Progress::Elsewhere => "done".to_owned(),
        })
    }

    fn sync(&mut self) -> Answer {
        self.database.upkeep(self.clock.now(), Task::Sync)?;
        Ok(String::new())
    }
}

#[cfg(all(test, feature = "gdbm"))]
mod tests {
    use std::net::Shutdown;

    use proptest::prelude::*;
    use pyzord_engines::Gdbm;

    use super::*;

    /// A request, or a line that resembles one.
    fn request() -> impl Strategy<Value = String> {
        let verb = "scan|fetch|put|merge|set|remove|report|whitelist|round|estimate|sync|expire|[a-z]{0,9}";
        let record = "[0-9a-fA-F]{40}(,-?[0-9]{0,20}(\\.[0-9]{0,7})?){5,7}";
        let rest = prop_oneof!["[0-9a-fA-F]{40}", record, "\\PC{0,60}"];
        (verb, rest).prop_map(|(verb, rest)| format!("{verb} {rest}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_requests_have_one_reply_each(requests in proptest::collection::vec(request(), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let database = Box::new(Gdbm::open(&folder.path().join("pyzord.db")).unwrap());
            let mut session = Session::new(database, Clock::start());
            let (ours, theirs) = UnixStream::pair().unwrap();
            let text: String = requests.iter().map(|request| one_line(request) + "\n").collect();
            (&theirs).write_all(text.as_bytes()).unwrap();
            theirs.shutdown(Shutdown::Write).unwrap();
            session.serve(&ours).unwrap();
            drop(ours);
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
