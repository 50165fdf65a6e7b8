//! A reply as a client reads it.

use crate::invariant::{Checked, Invariant};

pub(super) struct Reply {
    /// The `Thread` of a scrambled request, which a reply repeats, may not be UTF-8.
    pub(super) text: String,
    pub(super) code: u16,
}

impl Reply {
    pub(super) fn parse(bytes: &[u8]) -> Checked<Self> {
        let mut reply = Self { text: String::from_utf8_lossy(bytes).into_owned(), code: 0 };
        let Some(code) = reply.field("Code").and_then(|code| code.parse().ok()) else {
            return Err(
                Invariant::RepliesFollowTheRules.broken(format!("a reply has no code: {}", reply.text))
            );
        };
        reply.code = code;
        Ok(reply)
    }

    /// Returns the value of a header.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}
