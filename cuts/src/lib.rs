//! Simulated power cuts.
//!
//! A kill leaves what a process has written; a power cut leaves what the disk has of it. This crate records a real process
//! with strace ([`Recorder`]): what it writes, syncs and renames in a folder, which requests it receives and when its
//! replies leave. From such a [`Recording`] it makes the files that a disk can have after a cut at any moment
//! ([`Recording::state`]), and what clients knew by then ([`Recording::ledger`]). A [`Campaign`] makes many cuts, opens
//! what they left, and compares.
//!
//! It knows nothing of the engines. A test gives it the names of an engine's files ([`Layout`]) and a function that opens
//! them ([`Open`]); `tests/cuts/` does so.
//!
//! # The disk
//! - A change of a file is on the disk when an `fsync` or `fdatasync` of that file has ended that began after it.
//! - Any other change may be there or not: each sector of 512 bytes, or each page of 4096, has one of the contents that it
//!   had since, independent of others, or all changes of a file reach the disk in their order and the last one is torn. So
//!   has the length. What is within the length and was never written is zero.
//! - A name is on the disk when a sync of its folder has ended, or one of its file: an `fsync`, or an `fdatasync` of a new
//!   file. Changes of names keep their order. This is what ext4 does; with [`NameRule::Folder`] only the folder's sync counts.
//!
//! # What it cannot see
//! - Writes through a mapping. [`Recorder::finish`] compares the files that the recorded calls give with the files that
//!   there are, and refuses a recording that differs.
//! - A disk that loses what it has acknowledged as synced, or that damages what it does not write.
//! - Folders in the folder, and links.

mod calls;
mod campaign;
mod cut;
mod datagrams;
mod descriptors;
mod disk;
mod files;
mod ledger;
mod random;
mod recorder;
mod recording;
mod step;
mod survival;
mod syntax;

pub use calls::TraceError;
pub use campaign::{Campaign, Open, OpenFailure, Opened, Summary};
pub use cut::{Cut, Moments};
pub use descriptors::ReplayError;
pub use disk::{NameRule, State};
pub use files::{Files, read, write};
pub use ledger::{Bounds, Ledger, Promise};
pub use random::Random;
pub use recorder::{Recorder, RecordingError};
pub use recording::{Figures, Layout, Recording};
