//! Where a Pyzor server keeps its records.
//!
//! An engine implements [`pyzord_core::Store`]: it is given a batch of calls and answers each of them. It never
//! panics, and it never stalls: what it cannot do soon it answers with
//! [`Unavailable`](pyzord_core::StoreError::Unavailable). Each engine has a feature of its own.
//!
//! - feature `gdbm`: `Gdbm`, a file in the format of the GNU dbm library, as the Python server wrote it.
//! - feature `redis`: `redis::Redis`, in both layouts that the Python server had.
//! - feature `mysql`: `mysql::Mysql`, a table of MariaDB or MySQL, as the Python server used it.
//!
//! The codecs are pure functions from a stored value to a [`Record`](pyzord_core::Record) and back; they are in
//! [`codec`].
//!
#![cfg_attr(feature = "gdbm", doc = "```no_run")]
#![cfg_attr(not(feature = "gdbm"), doc = "```ignore")]
//! use pyzord_core::{Digest, Now, Store, StoreCall, StoreOp, Tick, UnixTime};
//!
//! let mut store = pyzord_engines::Gdbm::open("/var/lib/pyzord/pyzord.db".as_ref())?;
//! let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").ok_or("no digest")?;
//! let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
//! let mut answers = Vec::new();
//! store.execute(now, &[StoreCall { digest, op: StoreOp::Report }], &mut answers);
//! assert_eq!(answers[0]?.reports.count, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
pub mod codec;
#[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
mod complaint;
mod connection_manager;
#[cfg(feature = "gdbm")]
mod gdbm;
#[cfg(feature = "mysql")]
pub mod mysql;
mod record_store;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
#[cfg(any(feature = "gdbm", feature = "redis"))]
mod steps;

pub use access::Access;
pub use connection_manager::ConnectionManager;
pub use record_store::{RecordStore, StoredEntry};

#[cfg(feature = "gdbm")]
pub use gdbm::{Entries, Gdbm, OpenCause, OpenError};
