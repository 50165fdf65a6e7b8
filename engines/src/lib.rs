//! The database engines of a Pyzor server.
//!
//! An engine implements [`pyzord_core::Store`]: it answers a batch of calls, one answer for each. It never
//! panics and never stalls: what it cannot do soon it answers with
//! [`Unavailable`](pyzord_core::StoreError::Unavailable). Each engine is a feature:
//!
//! - `gdbm`: `Gdbm`, a file in the format of the GNU dbm library, as the Python server writes it.
//! - `redis`: `redis::Redis`, in both layouts of the Python server.
//! - `sqlite`: `Sqlite`, a SQLite database.
//! - `mysql`: `mysql::Mysql`, a table of MariaDB or MySQL, as the Python server uses it.
//!
//! Each of them is a [`RecordStore`], too, for migrations and operators; [`registry`] opens one by its name.
//! [`codec`] has the pure functions between stored values and [`Record`](pyzord_core::Record)s.
//!
//! An error's `Display` is one line with its whole cause; so its `source` is not set. No message, no log line
//! and no `Debug` output holds a password.
//!
#![cfg_attr(feature = "gdbm", doc = "```no_run")]
#![cfg_attr(not(feature = "gdbm"), doc = "```ignore")]
//! use pyzord_core::{Digest, Now, Store, StoreCall, StoreOp, Tick, UnixTime};
//!
//! let mut store = pyzord_engines::Gdbm::open("/var/lib/pyzord/pyzord.db".as_ref())?;
//! let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").ok_or("no digest")?;
//! let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
//! let mut answers = Vec::new();
//! store.execute(now, &[StoreCall::new(digest, StoreOp::Report)], &mut answers);
//! assert_eq!(answers[0]?.reports.count, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod address;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod bug;
mod change;
pub mod codec;
mod connection_manager;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod connector;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod failure;
#[cfg(any(feature = "gdbm", feature = "sqlite"))]
mod file_id;
#[cfg(feature = "gdbm")]
pub mod gdbm;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod hosts;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod log_limiter;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis"))]
mod merge;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod outcome;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod percent;
mod record_store;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod tls;
#[cfg(any(feature = "redis", feature = "mysql"))]
mod wire;

pub use access::Access;
pub use change::{Change, ChangeError, RecordEdit, TallyEdit};
pub use connection_manager::{ConnectionManager, Wait};
pub use record_store::{EntryError, Exchange, RecordStore, StoredEntry};

#[cfg(any(feature = "redis", feature = "mysql"))]
pub use hosts::HostsError;

#[cfg(feature = "gdbm")]
pub use gdbm::{Entries, Gdbm, OpenCause, OpenError};
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
