//! Records in a table of MariaDB or MySQL.
//!
//! Each worker has a connection of its own. It is made at the first use and again, with pauses, after it was
//! lost; meanwhile calls are answered at once. A batch takes at most three kinds of statements, each of them
//! a transaction: one reads all records that are asked for, one adds the reports, one the whitelistings. Signed
//! counts are added in transactions with their marks.
//!
//! The server does each addition in one statement, so any number of workers and servers may share a table,
//! Python's server, too.

mod change;
mod client;
mod connect;
mod dated;
mod dial;
mod dsn;
mod engine;
mod error;
mod estimate;
mod exchange;
mod expire;
mod handshake;
mod lease;
mod marks;
mod pauses;
mod plan;
mod record_store;
#[doc(hidden)]
pub mod row;
mod schema;
mod servers;
mod session;
mod sql;
mod standing;
mod table;
mod timeouts;
mod trial;
mod trust;
mod zone;

pub use dsn::{Dsn, DsnError};
pub use engine::Mysql;
#[doc(hidden)]
pub use schema::Schema;
pub use timeouts::Timeouts;
