//! The control socket: a running server lends its gdbm file to `pyzorctl`.
//!
//! A gdbm file has one user at a time. So a server that has one listens beside it, on a unix socket that only its own
//! account and root can reach, as only they can open the file. Who connects reads and changes records through the
//! server, between its requests, until he hangs up.
//!
//! The protocol is lines of text, a request and then its reply:
//!
//! | request | reply |
//! | --- | --- |
//! | `fetch DIGEST` | `ok RECORD` |
//! | `put RECORD` | `ok` |
//! | `remove DIGEST` | `ok` |
//! | `round RECORD` | `ok RECORD`, as it would be read back |
//! | `report DIGEST`, `whitelist DIGEST` | `ok` |
//! | `scan` | lines `found RECORD` or `unreadable KEY CAUSE`, with a tab before the cause, then `ok more` or `ok done` |
//! | `estimate` | `ok NUMBER` |
//! | `sync` | `ok` |
//!
//! A record is a line of [`csv`](crate::csv). In place of any reply, or behind some of a scan's lines, there may be
//! `failed CAUSE`. The server begins with a line of its own, [`GREETING`] or `failed CAUSE`.

mod guest;
mod host;

use std::path::{Path, PathBuf};

pub(crate) use guest::Guest;
pub(crate) use host::{Host, Lend};

/// What the server says first. It names the version of the protocol.
pub(crate) const GREETING: &str = "pyzord control 1";
/// No request is longer, in bytes.
const LONGEST: u64 = 1024;
/// No reply's line is longer, in bytes.
const LONGEST_REPLY: u64 = 4096;
/// How many characters of a key or a cause are told: two of them fit into a reply.
const TOLD: usize = 400;

/// Where the server that has this database listens. The name is longer than what libgdbm adds for its own files, which
/// are looked for and removed.
fn address(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".control");
    name.into()
}

/// The beginning of a text, without what would end its line or field.
fn one_line(text: &str) -> String {
    text.chars().take(TOLD).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
