//! Records in a SQLite database, in WAL mode.
//!
//! A commit is in the system's cache when its answer is given, so a killed process loses nothing that it acknowledged. A
//! sync writes the log to the disk: soon after the commit, or before the answer, as [`Durability`] says.
//!
//! Reads have a connection each, and none waits for a writer. Writers take turns at one connection. Two threads
//! of the engine wait for the disk, so that nothing else has to: one syncs the log, the other moves its pages into the
//! database. Other processes may use the database meanwhile, in the way of any SQLite database.
//!
//! From top to bottom: `store` and `record_store` are the traits, `upkeep` what is done beside requests, `database` what all
//! handles of one database share, `sync_thread` and `checkpoint_thread` the two threads, `mending` what follows a sync that
//! failed, `durability` which commits are on the disk. `requests` executes calls, `table` has the statements, `key` the keys of rows, `open` and `schema`
//! make and check a database.

mod backup;
mod belonging;
mod checkpoint_thread;
mod connection;
mod database;
mod durability;
mod error;
mod expire;
mod ffi;
mod key;
mod mending;
mod open;
mod options;
mod presence;
mod record_store;
mod requests;
mod schema;
mod store;
mod sync_thread;
mod table;
mod upkeep;

pub use backup::BackupError;
pub use open::{OpenCause, OpenError, check_absent};
pub use options::{DEFAULT_CACHE, Durability, Options};
pub use store::Sqlite;
