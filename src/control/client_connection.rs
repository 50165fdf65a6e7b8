//! A connection to the control socket of a server: sends lines, receives lines.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::listener::{ListenError, connect};
use super::protocol::{GREETING, MAX_DOCUMENT, MAX_REPLY};

/// The time that a server has for a line of a reply: a sync waits for the disk.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// The time that a server has for its first line. A server that hangs is not usable.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a server cannot be connected to.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Greeting(#[from] ReplyError),
    /// The server's own words.
    #[error("{0}")]
    Refused(String),
    #[error("the server uses another version of the protocol")]
    Version,
}

/// Why a request has no reply that can be used.
#[derive(Clone, Debug, Error)]
pub(crate) enum ReplyError {
    /// The server's own words.
    #[error("{0}")]
    Failed(String),
    #[error("the server's reply is not understood")]
    NotUnderstood,
    /// The connection cannot be used any more.
    #[error("{}", lost(.0))]
    Lost(Arc<io::Error>),
}

fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "the server does not answer in time".to_owned()
        }
        _ => format!("the connection to the server was lost: {error}"),
    }
}

/// An open connection. After an I/O error every call fails: a late reply would be taken for that of another request.
#[derive(Debug)]
pub(super) struct ClientConnection {
    stream: BufReader<UnixStream>,
    lost: Option<Arc<io::Error>>,
}

impl ClientConnection {
    /// Connects, and waits until the server accepts the connection.
    pub(super) fn open(path: &Path) -> Result<Self, ConnectError> {
        let stream = connect(path)?;
        stream.set_read_timeout(Some(GREETING_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let mut connection = Self::new(stream);
        let line = connection.line()?;
        if line != GREETING {
            let refusal = line.strip_prefix("failed ");
            return Err(
                refusal.map_or(ConnectError::Version, |cause| ConnectError::Refused(cause.to_owned()))
            );
        }
        connection.stream.get_ref().set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(connection)
    }

    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), lost: None }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Sends lines that have their ends.
    pub(super) fn send(&mut self, lines: &str) -> Result<(), ReplyError> {
        self.attempt(|stream| stream.get_mut().write_all(lines.as_bytes()))
    }

    /// Receives the next line and returns it without its end.
    pub(super) fn line(&mut self) -> Result<String, ReplyError> {
        self.line_of(MAX_REPLY)
    }

    fn line_of(&mut self, most: u64) -> Result<String, ReplyError> {
        self.attempt(|stream| {
            let mut line = String::new();
            stream.by_ref().take(most).read_line(&mut line)?;
            match line.pop() {
                Some('\n') => Ok(line),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }

    /// Receives a reply of one line and returns the text behind `ok`.
    pub(super) fn reply(&mut self) -> Result<String, ReplyError> {
        parse_reply(&self.line()?)
    }

    /// Receives a reply of one long line, each part of it within this time.
    pub(super) fn document(&mut self, timeout: Duration) -> Result<String, ReplyError> {
        self.attempt(|stream| stream.get_ref().set_read_timeout(Some(timeout)))?;
        parse_reply(&self.line_of(MAX_DOCUMENT)?)
    }

    /// Waits until the server has closed the connection.
    pub(super) fn end(&mut self) -> Result<(), ReplyError> {
        self.attempt(|stream| match stream.read(&mut [0; 64]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(error),
        })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut BufReader<UnixStream>) -> io::Result<T>,
    ) -> Result<T, ReplyError> {
        if let Some(error) = &self.lost {
            return Err(ReplyError::Lost(error.clone()));
        }
        work(&mut self.stream).map_err(|error| {
            let error = Arc::new(error);
            self.lost = Some(error.clone());
            ReplyError::Lost(error)
        })
    }
}

/// Returns the text behind `ok`.
fn parse_reply(line: &str) -> Result<String, ReplyError> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ok", rest) => Ok(rest.to_owned()),
        ("failed", cause) => Err(ReplyError::Failed(cause.to_owned())),
        _ => Err(ReplyError::NotUnderstood),
    }
}
