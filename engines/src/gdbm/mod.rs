//! Records in one file in the format of the GNU dbm library.
//!
//! A change is in the page cache when its answer is given: a killed process loses nothing that it
//! acknowledged. A sync writes the same pages to the disk, and bounds what a crash of the system can lose.
//!
//! From top to bottom: `store` and `record_store` are the traits, `shared` the lock, `upkeep` what is done
//! beside requests, `engine` what is done behind the lock, `record_file` the open file, `place` what may be stored into
//! it, `presence` and `rescue` are about a
//! file that was removed. `open`, `inspect`, `salvage`, `rewrite` and `backup` check and
//! recover files; `header`, `bucket`, `free`, `hash`, `tail` and `format` know the file's layout; `ffi` calls libgdbm.

mod backup;
mod boot;
mod bucket;
mod creation;
mod engine;
mod error;
mod expire;
mod ffi;
mod format;
mod free;
mod growth;
mod hash;
mod header;
mod inspect;
mod mapping;
mod open;
mod place;
mod presence;
mod record_file;
mod record_store;
mod rescue;
mod rewrite;
mod room;
mod salvage;
mod shared;
mod store;
mod survey;
mod tail;
mod timed_lock;
mod upkeep;
mod walk;
mod write_error;

pub use backup::BackupError;
pub use ffi::GdbmError;
pub use format::Mismatch;
pub use header::HeaderError;
pub use inspect::Damage;
pub use open::{OpenCause, OpenError};
pub use presence::Away;
pub use rewrite::{RewriteError, temporary_files};
pub use store::Gdbm;
pub use walk::Entries;
pub use write_error::WriteError;
