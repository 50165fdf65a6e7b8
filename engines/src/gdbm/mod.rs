//! Records in one file in the format of the GNU dbm library.
//!
//! A change is in the page cache when its answer is given: a killed process loses nothing that it
//! acknowledged. A sync writes the same pages to the disk, and bounds what a crash of the system can lose.
//!
//! From top to bottom: `store` and `record_store` are the traits, `shared` the lock, `upkeep` what is done
//! beside requests, `engine` what is done behind the lock, `record_file` the open file. `open`, `inspect` and
//! `rewrite` check and recover files; `header`, `bucket`, `free` and `format` know the file's layout; `ffi`
//! calls libgdbm.

mod bucket;
mod engine;
mod error;
mod expire;
mod ffi;
mod format;
mod free;
mod header;
mod inspect;
mod mapping;
mod open;
mod record_file;
mod record_store;
mod rewrite;
mod room;
mod shared;
mod store;
mod survey;
mod timed_lock;
mod upkeep;
mod walk;

pub use ffi::GdbmError;
pub use format::Mismatch;
pub use header::HeaderError;
pub use inspect::Damage;
pub use open::{OpenCause, OpenError};
pub use rewrite::{RewriteError, leftovers as temporary_files};
pub use store::Gdbm;
pub use walk::Entries;
