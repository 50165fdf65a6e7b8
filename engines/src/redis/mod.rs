//! Records in a redis database, in either of the two layouts of the Python server.
//!
//! A batch is one round trip: its commands are sent together, and their replies come back in the same order.
//! A script that the server runs as one step does the counting. So any number of servers may share a
//! database, a record is never half written, and one that cannot be read is left as it is, its time to live
//! included.
//!
//! ```no_run
//! use pyzord_core::{CleanupAge, Digest, Now, Store, StoreCall, StoreOp, Tick, UnixTime};
//! use pyzord_engines::redis::{Dsn, Options, Redis};
//!
//! let dsn = Dsn::parse("localhost,6379,,0")?;
//! let mut store = Redis::new(&dsn, Options::serving(CleanupAge::from_seconds(120 * 86_400)));
//! let digest = Digest::parse(b"da39a3ee5e6b4b0d3255bfef95601890afd80709").ok_or("no digest")?;
//! let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
//! let mut answers = Vec::new();
//! store.execute(now, &[StoreCall::new(digest, StoreOp::Report)], &mut answers);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod cluster;
mod connection;
mod dsn;
mod engine;
mod layout;
mod old;
mod options;
mod promotion;
mod record_store;
mod replicas;
mod reply;
mod request;
pub mod resp;
mod role;
mod scan;
mod sentinel;
mod store;
mod target;
mod trial;
mod validity;

pub use dsn::{Dsn, DsnError};
pub use options::Options;
pub use store::Redis;
