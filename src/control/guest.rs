//! The side of `pyzorctl`: a database that a server lends.

use std::cell::RefCell;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task,
};
use pyzord_engines::{EntryError, RecordStore, StoredEntry};

use super::{GREETING, LONGEST_REPLY, address};
use crate::csv::{self, Line};

/// How long a reply may take: a sync waits for the disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the server may take to greet: one that hangs is none.
const GREETED: Duration = Duration::from_secs(2);
/// How many requests are sent before their replies are read; they fit into the socket's buffer.
const AHEAD: usize = 100;

/// A connection to the server that has a database. After a failure of the connection every call fails.
#[derive(Debug)]
pub(crate) struct Guest(RefCell<Wire>);

impl Guest {
    /// Asks the server that has this database.
    ///
    /// # Errors
    /// When there is none that lends it, or it does not want to; in one line.
    pub(crate) fn of(database: &Path) -> Result<Self, String> {
        let path = address(database);
        let wire = Wire::greeted(&path).map_err(|failure| format!("{}: {failure}", path.display()))?;
        Ok(Self(RefCell::new(wire)))
    }

    /// Sends a request for each item, and reads a reply for each.
    fn each<I, T>(
        &self,
        items: &[I],
        request: impl Fn(&I) -> String,
        read: impl Fn(&I, &str) -> Result<T, StoreFailure>,
        results: &mut Vec<Result<T, StoreFailure>>,
    ) {
        let mut wire = self.0.borrow_mut();
        for some in items.chunks(AHEAD) {
            let lines: String = some.iter().map(|item| request(item) + "\n").collect();
            let sent = wire.send(&lines);
            results.extend(some.iter().map(|item| {
                sent.clone()?;
                wire.reply().and_then(|reply| read(item, &reply))
            }));
        }
    }

    fn ask<T>(
        &self,
        request: String,
        read: impl Fn(&str) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let mut results = Vec::new();
        self.each(&[request], Clone::clone, |_, reply| read(reply), &mut results);
        results.pop().unwrap_or_else(|| Err(not_understood()))
    }
}

impl Store for Guest {
    fn execute(&mut self, _: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let request = |StoreCall { digest, op }: &StoreCall| match op {
            StoreOp::Read => format!("fetch {digest}"),
            StoreOp::Report => format!("report {digest}"),
            StoreOp::Whitelist => format!("whitelist {digest}"),
        };
        let read = |call: &StoreCall, reply: &str| match call.op {
            StoreOp::Read => record(call.digest, reply),
            StoreOp::Report | StoreOp::Whitelist => Ok(Record::default()),
        };
        let mut results = Vec::new();
        self.each(calls, request, read, &mut results);
        answers.extend(results.into_iter().map(|result| result.map_err(|_| StoreError::Unavailable)));
    }

    /// The server expires records by itself.
    fn upkeep(&mut self, _: Now, task: Task) -> Result<Progress, StoreFailure> {
        match task {
            Task::Sync => self.ask("sync".to_owned(), |_| Ok(Progress::Done)),
            Task::Expire(_) => Ok(Progress::Done),
        }
    }
}

impl RecordStore for Guest {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        let wire = self.0.get_mut();
        wire.send("scan\n")?;
        loop {
            let line = wire.line()?;
            match line.split_once(' ') {
                Some(("found", rest)) => {
                    let (digest, record) = csv::parse(rest).map_err(|_| not_understood())?;
                    found.push(StoredEntry { key: digest.to_string(), record: Ok((digest, record)) });
                }
                Some(("unreadable", rest)) => {
                    let (key, cause) = rest.split_once('\t').ok_or_else(not_understood)?;
                    found.push(StoredEntry { key: key.to_owned(), record: Err(EntryError::new(cause)) });
                }
                Some(("ok", "more")) => return Ok(Progress::More),
                Some(("ok", "done")) => return Ok(Progress::Done),
                Some(("failed", cause)) => return Err(StoreFailure::new(cause)),
                _ => return Err(not_understood()),
            }
        }
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        let request = |(digest, record): &(Digest, Record)| format!("put {}", Line(*digest, record));
        self.each(records, request, |_, _| Ok(()), results);
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        let read = |digest: &Digest, reply: &str| record(*digest, reply);
        self.each(digests, |digest| format!("fetch {digest}"), read, results);
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        let mut results = Vec::new();
        self.each(digests, |digest| format!("remove {digest}"), |_, _| Ok(()), &mut results);
        results.into_iter().collect()
    }

    fn estimate(&mut self) -> Option<u64> {
        self.ask("estimate".to_owned(), |count| count.parse().map_err(|_| not_understood())).ok()
    }

    /// The record itself where the server does not say.
    fn rounded(&self, whole: &Record) -> Record {
        let digest = Digest::new([0; 20]);
        self.ask(format!("round {}", Line(digest, whole)), |reply| record(digest, reply)).unwrap_or(*whole)
    }
}

/// The record of this digest, which the reply must name.
fn record(digest: Digest, reply: &str) -> Result<Record, StoreFailure> {
    match csv::parse(reply) {
        Ok((named, record)) if named == digest => Ok(record),
        _ => Err(not_understood()),
    }
}

fn not_understood() -> StoreFailure {
    StoreFailure::new("the server's reply is not understood")
}

/// The connection itself.
#[derive(Debug)]
struct Wire {
    stream: BufReader<UnixStream>,
    /// Why it is of no more use. A reply that comes late would be taken for that of another request.
    lost: Option<StoreFailure>,
}

impl Wire {
    /// A connection to a server that has said that it lends its database.
    fn greeted(path: &Path) -> Result<Self, StoreFailure> {
        let connect = || -> io::Result<UnixStream> {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(GREETED))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = connect().map_err(StoreFailure::new)?;
        let mut wire = Self { stream: BufReader::new(stream), lost: None };
        match wire.line()?.as_str() {
            GREETING => wire.patient(),
            line => {
                let cause = line.strip_prefix("failed ").unwrap_or("another protocol is spoken");
                Err(StoreFailure::new(cause))
            }
        }
    }

    fn patient(self) -> Result<Self, StoreFailure> {
        let set = self.stream.get_ref().set_read_timeout(Some(PATIENCE));
        set.map(|()| self).map_err(StoreFailure::new)
    }

    fn send(&mut self, lines: &str) -> Result<(), StoreFailure> {
        self.on(|stream| stream.get_mut().write_all(lines.as_bytes()))
    }

    fn line(&mut self) -> Result<String, StoreFailure> {
        self.on(|stream| {
            let mut line = String::new();
            stream.by_ref().take(LONGEST_REPLY).read_line(&mut line)?;
            match line.pop() {
                Some('\n') => Ok(line),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }

    /// Does something with the connection, if it is still of use.
    fn on<T>(
        &mut self,
        work: impl FnOnce(&mut BufReader<UnixStream>) -> io::Result<T>,
    ) -> Result<T, StoreFailure> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        work(&mut self.stream).map_err(|error| {
            let lost = StoreFailure::new(format!("the connection to the server was lost: {error}"));
            self.lost = Some(lost.clone());
            lost
        })
    }

    /// What a reply says behind `ok`.
    fn reply(&mut self) -> Result<String, StoreFailure> {
        let line = self.line()?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            ("failed", cause) => Err(StoreFailure::new(cause)),
            _ => Err(not_understood()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that was frozen for a while replied to the first request when the second was waiting, and a digest had
    /// the record of another.
    #[test]
    fn a_reply_that_comes_late_is_nobodys() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut guest = Guest(RefCell::new(Wire { stream: BufReader::new(ours), lost: None }));
        let [one, other] = [1, 2].map(|byte| Digest::new([byte; 20]));
        let mut results = Vec::new();
        guest.fetch(&[one], &mut results);
        theirs.write_all(format!("ok {}\n", Line(one, &Record::default())).as_bytes()).unwrap();
        guest.fetch(&[other, one], &mut results);
        let cause = results[0].clone().unwrap_err().to_string();
        assert_eq!(guest.remove(&[one]).unwrap_err().to_string(), cause);
        let causes = results.into_iter().map(|result| result.unwrap_err().to_string());
        assert!(causes.into_iter().all(|each| each == cause));
    }

    #[test]
    fn a_reply_about_another_digest_is_not_understood() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut guest = Guest(RefCell::new(Wire { stream: BufReader::new(ours), lost: None }));
        let line = Line(Digest::new([1; 20]), &Record::default()).to_string();
        theirs.write_all(format!("ok {line}\nok {line}\n").as_bytes()).unwrap();
        let mut results = Vec::new();
        guest.fetch(&[Digest::new([2; 20]), Digest::new([1; 20])], &mut results);
        let results: Vec<_> =
            results.into_iter().map(|result| result.map_err(|failure| failure.to_string())).collect();
        assert_eq!(results, [Err(not_understood().to_string()), Ok(Record::default())]);
    }
}
