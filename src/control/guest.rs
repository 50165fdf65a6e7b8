//! The side of `pyzorctl`: a database that a server lends.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task,
};
use pyzord_engines::{Bulk, Found};

use super::{GREETING, LONGEST_REPLY, address};
use crate::csv::{self, Line};

/// How long a reply may take: a sync waits for the disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many requests are sent before their replies are read; they fit into the socket's buffer.
const AHEAD: usize = 100;

/// A connection to the server that has a database. After a failure of the connection every call fails.
#[derive(Debug)]
pub struct Guest(RefCell<Wire>);

impl Guest {
    /// Asks the server that has this database.
    ///
    /// # Errors
    /// When there is none that lends it, or it does not want to; in one line.
    pub fn of(database: &Path) -> Result<Self, String> {
        let path = address(database);
        let connect = || -> io::Result<Wire> {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Wire { stream: BufReader::new(stream) })
        };
        let greeted = connect().map_err(|error| StoreFailure(error.to_string())).and_then(|mut wire| {
            match wire.line()?.as_str() {
                GREETING => Ok(wire),
                line => Err(StoreFailure(
                    line.strip_prefix("failed ").unwrap_or("another protocol is spoken").to_owned(),
                )),
            }
        });
        greeted
            .map(|wire| Self(RefCell::new(wire)))
            .map_err(|failure| format!("{}: {failure}", path.display()))
    }

    /// Sends a request for each item, and reads a reply for each.
    fn each<I, T>(
        &self,
        items: &[I],
        request: impl Fn(&I) -> String,
        read: impl Fn(&str) -> Result<T, StoreFailure>,
        results: &mut Vec<Result<T, StoreFailure>>,
    ) {
        let mut wire = self.0.borrow_mut();
        for some in items.chunks(AHEAD) {
            let lines: String = some.iter().map(|item| request(item) + "\n").collect();
            let sent = wire.send(&lines);
            results.extend(some.iter().map(|_| {
                sent.clone()?;
                wire.reply().and_then(|reply| read(&reply))
            }));
        }
    }

    fn ask<T>(
        &self,
        request: String,
        read: impl Fn(&str) -> Result<T, StoreFailure>,
    ) -> Result<T, StoreFailure> {
        let mut results = Vec::new();
        self.each(&[request], Clone::clone, read, &mut results);
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
        let mut results = Vec::new();
        self.each(calls, request, record, &mut results);
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

impl Bulk for Guest {
    fn scan(&mut self, found: &mut Vec<Found>) -> Result<Progress, StoreFailure> {
        let wire = self.0.get_mut();
        wire.send("scan\n")?;
        loop {
            let line = wire.line()?;
            match line.split_once(' ') {
                Some(("found", rest)) => {
                    let (digest, record) = csv::parse(rest).map_err(|_| not_understood())?;
                    found.push(Found { key: digest.to_string(), record: Ok((digest, record)) });
                }
                Some(("unreadable", rest)) => {
                    let (key, cause) = rest.split_once('\t').ok_or_else(not_understood)?;
                    found.push(Found { key: key.to_owned(), record: Err(cause.to_owned()) });
                }
                Some(("ok", "more")) => return Ok(Progress::More),
                Some(("ok", "done")) => return Ok(Progress::Done),
                Some(("failed", cause)) => return Err(StoreFailure(cause.to_owned())),
                _ => return Err(not_understood()),
            }
        }
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        self.each(records, |(digest, record)| format!("put {}", Line(*digest, record)), |_| Ok(()), results);
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        self.each(digests, |digest| format!("fetch {digest}"), record, results);
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        let mut results = Vec::new();
        self.each(digests, |digest| format!("remove {digest}"), |_| Ok(()), &mut results);
        results.into_iter().collect()
    }

    fn estimate(&mut self) -> Option<u64> {
        self.ask("estimate".to_owned(), |count| count.parse().map_err(|_| not_understood())).ok()
    }

    /// The record itself where the server does not say.
    fn rounded(&self, whole: &Record) -> Record {
        self.ask(format!("round {}", Line(Digest::new([0; 20]), whole)), record).unwrap_or(*whole)
    }
}

fn record(reply: &str) -> Result<Record, StoreFailure> {
    csv::parse(reply).map(|(_, record)| record).map_err(|_| not_understood())
}

fn not_understood() -> StoreFailure {
    StoreFailure("the server's reply is not understood".to_owned())
}

fn lost(cause: impl fmt::Display) -> StoreFailure {
    StoreFailure(format!("the connection to the server was lost: {cause}"))
}

/// The connection itself.
#[derive(Debug)]
struct Wire {
    stream: BufReader<UnixStream>,
}

impl Wire {
    fn send(&mut self, lines: &str) -> Result<(), StoreFailure> {
        self.stream.get_mut().write_all(lines.as_bytes()).map_err(lost)
    }

    fn line(&mut self) -> Result<String, StoreFailure> {
        let mut line = String::new();
        self.stream.by_ref().take(LONGEST_REPLY).read_line(&mut line).map_err(lost)?;
        line.pop().filter(|end| *end == '\n').ok_or_else(|| lost("it ended"))?;
        Ok(line)
    }

    /// What a reply says behind `ok`.
    fn reply(&mut self) -> Result<String, StoreFailure> {
        let line = self.line()?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            ("failed", cause) => Err(StoreFailure(cause.to_owned())),
            _ => Err(not_understood()),
        }
    }
}
