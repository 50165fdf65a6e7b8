//! The control socket: `pyzorctl` uses the gdbm file of a running server through the server.
//!
//! Only one process at a time can open a gdbm file. A server that has one open therefore listens on a unix socket
//! beside it. Only the server's account and root can connect, as only they can open the file. A client reads and
//! changes records through the server, between the server's requests, until it closes the connection.
//!
//! The protocol is lines of text, a request and then its reply:
//!
//! | request | reply |
//! | --- | --- |
//! | `fetch DIGEST` | `ok RECORD` |
//! | `put RECORD` | `ok` |
//! | `merge RECORD` | `ok`; the record is added to that of its digest in one step |
//! | `set DIGEST COUNT LAST COUNT LAST NOW` | `ok`; reports, then whitelistings; `-` leaves what is there; dates in microseconds |
//! | `remove DIGEST` | `ok` |
//! | `round RECORD` | `ok RECORD`, as a read after a write would return it |
//! | `report DIGEST`, `whitelist DIGEST` | `ok` |
//! | `scan` | lines `found RECORD` or `unreadable KEY CAUSE`, with a tab before the cause, then `ok more` or `ok done` |
//! | `estimate` | `ok NUMBER` |
//! | `sync` | `ok` |
//! | `expire MICROSECONDS` | `ok more` or `ok done`, after one slice of records older than this Unix time |
//!
//! A record is a line of [`csv`](crate::csv). Instead of any reply, or after some lines of a scan, the server can send
//! `failed CAUSE`. The server sends the first line of a connection: [`GREETING`](protocol::GREETING) or `failed CAUSE`.

mod client;
mod client_connection;
mod connections;
mod listener;
mod protocol;
mod server;
mod session;

pub(crate) use client::ControlClient;
pub(crate) use server::{ControlServer, OpenHandle};
