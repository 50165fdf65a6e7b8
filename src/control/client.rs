//! The side of `pyzorctl`: the database of a running server, used through the server.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pyzord_core::{
    Digest, Now, Progress, Record, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task,
};
use pyzord_engines::{Change, ChangeError, EntryError, RecordStore, StoredEntry};
use thiserror::Error;

use super::client_connection::{ClientConnection, ConnectError, ReplyError};
use super::protocol::ControlRequest;
use crate::bulk::store_failure;
use crate::csv;

/// The number of requests that are sent before their replies are received. They fit into the socket's buffer, so the
/// server is never waited for while it waits.
const PIPELINE: usize = 100;

/// A connection to the server that has a database open. After a failure of the connection every call fails.
#[derive(Debug)]
pub(crate) struct ControlClient(RefCell<ClientConnection>);

/// No server gives access to a database.
#[derive(Debug, Error)]
pub(crate) enum ControlUnavailable {
    #[error("its control socket, which is switched off (ControlSocket)")]
    Off,
    #[error("{}: {cause}", .path.display())]
    NotConnected { path: PathBuf, cause: ConnectError },
    #[error("{}: {cause}", .path.display())]
    NoReply { path: PathBuf, cause: ReplyError },
    /// The socket is that of another server.
    #[error("{}, which belongs to a server with the database {other}", .path.display())]
    OtherDatabase { path: PathBuf, other: String },
}

impl ControlClient {
    /// Connects to the server at this socket, if it has this database open.
    pub(crate) fn connect(socket: Option<&Path>, database: &Path) -> Result<Self, ControlUnavailable> {
        let path = socket.ok_or(ControlUnavailable::Off)?.to_owned();
        let connection = match ClientConnection::open(&path) {
            Ok(connection) => connection,
            Err(cause) => return Err(ControlUnavailable::NotConnected { path, cause }),
        };
        let client = Self(RefCell::new(connection));
        match client.call(&ControlRequest::Database) {
            Ok(other) if is_same_file(Path::new(&other), database) => Ok(client),
            Ok(other) => Err(ControlUnavailable::OtherDatabase { path, other }),
            Err(cause) => Err(ControlUnavailable::NoReply { path, cause }),
        }
    }

    /// Returns whether the connection has failed, so that no answer is about the database.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.borrow().is_lost()
    }

    /// Sends a request for each item and reads the reply to each.
    fn call_all<I, T>(
        &self,
        items: &[I],
        request: impl Fn(&I) -> ControlRequest,
        read: impl Fn(&I, &str) -> Result<T, ReplyError>,
    ) -> Vec<Result<T, ReplyError>> {
        let mut connection = self.0.borrow_mut();
        let mut results = Vec::with_capacity(items.len());
        for items in items.chunks(PIPELINE) {
            let lines: String = items.iter().map(|item| format!("{}\n", request(item))).collect();
            let sent = connection.send(&lines);
            results.extend(items.iter().map(|item| {
                sent.clone()?;
                connection.reply().and_then(|reply| read(item, &reply))
            }));
        }
        results
    }

    fn call(&self, request: &ControlRequest) -> Result<String, ReplyError> {
        let mut connection = self.0.borrow_mut();
        connection.send(&format!("{request}\n"))?;
        connection.reply()
    }
}

impl Store for ControlClient {
    fn execute(&mut self, _: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let request = |StoreCall { digest, op, .. }: &StoreCall| match op {
            StoreOp::Read => ControlRequest::Fetch(*digest),
            StoreOp::Report => ControlRequest::Report(*digest),
            StoreOp::Whitelist => ControlRequest::Whitelist(*digest),
        };
        let read = |StoreCall { digest, op, .. }: &StoreCall, reply: &str| match op {
            StoreOp::Read => parse_record(*digest, reply),
            // The answer to a count may be any record.
            StoreOp::Report | StoreOp::Whitelist => Ok(Record::default()),
        };
        let results = self.call_all(calls, request, read);
        answers.extend(results.into_iter().map(|result| {
            result.map_err(|error| {
                log::warn!("{error}");
                StoreError::Unavailable
            })
        }));
    }

    fn upkeep(&mut self, _: Now, task: Task) -> Result<Progress, StoreFailure> {
        let request = match task {
            Task::Sync => ControlRequest::Sync,
            // The server surveys its records itself.
            Task::Survey(_) => return Ok(Progress::Done),
            Task::Expire(limit) => ControlRequest::Expire(limit),
        };
        let reply = self.call(&request).map_err(store_failure)?;
        Ok(if reply == "more" { Progress::More } else { Progress::Done })
    }
}

impl RecordStore for ControlClient {
    fn scan(&mut self, found: &mut Vec<StoredEntry>) -> Result<Progress, StoreFailure> {
        scan(self.0.get_mut(), found).map_err(store_failure)
    }

    fn put(&mut self, records: &[(Digest, Record)], results: &mut Vec<Result<(), StoreFailure>>) {
        let request = |(digest, record): &(Digest, Record)| ControlRequest::Put(*digest, *record);
        let replies = self.call_all(records, request, |_, _| Ok(()));
        results.extend(replies.into_iter().map(|reply| reply.map_err(store_failure)));
    }

    /// Sends a change when the one before has its reply, so that a server's end leaves one in doubt at most.
    fn change(&mut self, changes: &[(Digest, Change)], results: &mut Vec<Result<(), ChangeError>>) {
        let mut lost = None;
        for (digest, change) in changes {
            let request = ControlRequest::Change(*digest, *change);
            results.push(match &lost {
                Some(failure) => Err(ChangeError::Away(StoreFailure::clone(failure))),
                None => match self.call(&request) {
                    Ok(_) => Ok(()),
                    Err(error @ ReplyError::Failed(_)) => Err(ChangeError::Refused(store_failure(error))),
                    Err(error) => {
                        let failure = store_failure(error);
                        lost = Some(failure.clone());
                        Err(ChangeError::InDoubt(failure))
                    }
                },
            });
        }
    }

    fn fetch(&mut self, digests: &[Digest], results: &mut Vec<Result<Record, StoreFailure>>) {
        let request = |digest: &Digest| ControlRequest::Fetch(*digest);
        let replies = self.call_all(digests, request, |digest, reply| parse_record(*digest, reply));
        results.extend(replies.into_iter().map(|reply| reply.map_err(store_failure)));
    }

    fn remove(&mut self, digests: &[Digest]) -> Result<(), StoreFailure> {
        let replies = self.call_all(digests, |digest| ControlRequest::Remove(*digest), |_, _| Ok(()));
        replies.into_iter().collect::<Result<(), _>>().map_err(store_failure)
    }

    fn estimate(&mut self) -> Option<u64> {
        let count = self
            .call(&ControlRequest::Estimate)
            .and_then(|count| count.parse().map_err(|_| ReplyError::NotUnderstood));
        match count {
            Ok(count) => Some(count),
            // The engine does not know.
            Err(ReplyError::Failed(_)) => None,
            Err(error) => {
                log::warn!("{error}");
                None
            }
        }
    }

    fn rounded(&self, whole: &Record) -> Record {
        // The digest is not looked at.
        let digest = Digest::new([0; 20]);
        let rounded = self.call(&ControlRequest::Round(digest, *whole));
        rounded.and_then(|reply| parse_record(digest, &reply)).unwrap_or_else(|error| {
            // The trait has no error here. A lost connection is one of the next call, too.
            log::warn!("the server did not say how its database rounds a record: {error}");
            *whole
        })
    }
}

/// Whether two names are those of one file. A database that is gone has the name that the server knows.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
    one == other || id(one).is_some_and(|file| Some(file) == id(other))
}

fn scan(connection: &mut ClientConnection, found: &mut Vec<StoredEntry>) -> Result<Progress, ReplyError> {
    connection.send("scan\n")?;
    loop {
        let line = connection.line()?;
        match line.split_once(' ') {
            Some(("found", rest)) => {
                let (digest, record) = csv::parse(rest).map_err(|_| ReplyError::NotUnderstood)?;
                found.push(StoredEntry { key: digest.to_string(), record: Ok((digest, record)) });
            }
            Some(("unreadable", rest)) => {
                let (key, cause) = rest.split_once('\t').ok_or(ReplyError::NotUnderstood)?;
                found.push(StoredEntry { key: key.to_owned(), record: Err(EntryError::new(cause)) });
            }
            Some(("ok", "more")) => return Ok(Progress::More),
            Some(("ok", "done")) => return Ok(Progress::Done),
            Some(("failed", cause)) => return Err(ReplyError::Failed(cause.to_owned())),
            _ => return Err(ReplyError::NotUnderstood),
        }
    }
}

/// Parses the record of this digest; a record of another one is not a reply to the request.
fn parse_record(digest: Digest, reply: &str) -> Result<Record, ReplyError> {
    match csv::parse(reply) {
        Ok((named, record)) if named == digest => Ok(record),
        Ok(_) | Err(_) => Err(ReplyError::NotUnderstood),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::csv::RecordLine;

    fn client() -> (ControlClient, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        (ControlClient(RefCell::new(ClientConnection::new(ours))), theirs)
    }

    /// A server that was frozen for a while replied to the first request when the second was waiting, and a digest had
    /// the record of another.
    #[test]
    fn a_reply_that_comes_late_is_taken_for_no_request() {
        let (mut client, mut server) = client();
        let [one, other] = [1, 2].map(|byte| Digest::new([byte; 20]));
        let mut results = Vec::new();
        client.fetch(&[one], &mut results);
        server.write_all(format!("ok {}\n", RecordLine(one, &Record::default())).as_bytes()).unwrap();
        client.fetch(&[other, one], &mut results);
        let messages = results.into_iter().map(|result| result.unwrap_err().to_string());
        let messages: Vec<String> =
            messages.chain([client.remove(&[one]).unwrap_err().to_string()]).collect();
        assert_eq!(messages.len(), 4);
        assert!(messages.iter().all(|message| message == &messages[0]), "{messages:?}");
        assert!(messages[0].starts_with("the server does not answer in time"), "{messages:?}");
    }

    #[test]
    fn a_reply_about_another_digest_is_not_understood() {
        let (mut client, mut server) = client();
        let line = RecordLine(Digest::new([1; 20]), &Record::default()).to_string();
        server.write_all(format!("ok {line}\nok {line}\n").as_bytes()).unwrap();
        let mut results = Vec::new();
        client.fetch(&[Digest::new([2; 20]), Digest::new([1; 20])], &mut results);
        assert_eq!(results[0].as_ref().unwrap_err().to_string(), ReplyError::NotUnderstood.to_string());
        assert_eq!(results[1].as_ref().unwrap(), &Record::default());
    }
}
