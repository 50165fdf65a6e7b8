//! Steps through the keys of a database with SCAN.

use super::reply::{self, ReplyError};
use super::request::Request;
use super::resp::Reply;

/// Where a scan is: what the server returned last, or the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cursor(Vec<u8>);

impl Default for Cursor {
    fn default() -> Self {
        Self(b"0".to_vec())
    }
}

/// The reply to one step of a scan.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) keys: Vec<Vec<u8>>,
    /// Where to go on; `None` after the last page.
    pub(super) next: Option<Cursor>,
}

impl Cursor {
    /// Adds the command that takes one step, which looks at about `count` keys.
    pub(super) fn scan(&self, pattern: &str, count: usize, request: &mut Request) {
        let count = count.to_string();
        request.command(&[b"SCAN", &self.0, b"MATCH", pattern.as_bytes(), b"COUNT", count.as_bytes()]);
    }
}

impl Page {
    /// Reads the reply to that command.
    pub(super) fn read(reply: Option<Reply<'_>>) -> Result<Self, ReplyError> {
        let reply = reply.ok_or(ReplyError::Unexpected)?;
        let Reply::Array(parts) = reply else { return Err(reply::error(reply)) };
        let mut parts = parts.iter();
        let (Some(Reply::Text(cursor)), Some(Reply::Array(keys)), None) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(ReplyError::Unexpected);
        };
        let key =
            |key| if let Reply::Text(key) = key { Ok(key.to_vec()) } else { Err(ReplyError::Unexpected) };
        let keys = keys.iter().map(key).collect::<Result<_, _>>()?;
        let cursor = Cursor(cursor.to_vec());
        Ok(Self { keys, next: (cursor != Cursor::default()).then_some(cursor) })
    }
}
