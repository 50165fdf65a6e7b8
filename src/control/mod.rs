//! The control socket: `pyzorctl` asks and commands a running server, and uses its gdbm file through it.
//!
//! Only the server's account and root can connect. Each connection has a thread; the requests about the server itself
//! open no handle on the database, so they have a reply while it hangs. Only one process at a time can open a gdbm file:
//! a client reads and changes its records through the server, between the server's requests. Other databases are opened by
//! `pyzorctl` itself.
//!
//! The protocol is lines of text, a request and then its reply:
//!
//! | request | reply |
//! | --- | --- |
//! | `status` | `ok DOCUMENT`, the JSON of `/status.json` |
//! | `reload` | `ok REPORT`, the JSON of a [`ReloadReport`](crate::reload_report::ReloadReport), once it is in effect |
//! | `stop` | `ok stopped`, `ok failed` or `ok overdue`; the connection is closed by the end of the process |
//! | `log-level LEVEL` | `ok LEVEL`, the level before; the next reload sets that of the settings |
//! | `note TEXT` | `ok`; the server logs the text, with the operator |
//! | `database` | `ok PATH`, the file that the requests below are about |
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
mod commands;
mod connections;
mod listener;
mod operator;
mod protocol;
mod records;
mod server;
mod server_client;
mod session;

pub(crate) use client::ControlClient;
pub(crate) use client_connection::{ConnectError, ReplyError};
pub(crate) use commands::OperatorCommands;
pub(crate) use listener::{ControlListener, ListenError};
pub(crate) use protocol::StopOutcome;
pub(crate) use server::{ControlHost, ControlServer, OpenHandle};
pub(crate) use server_client::ServerClient;
