//! Drives [`pyzord_core`] with smol: signals as a stream, and timers.
//!
//! [`serve`] runs the workers of [`pyzord_runtime`], and drives a task in the calling thread that waits for
//! [`Command`]s and timers. The commands are any stream: [`Signals`] is one,
//! an embedding program merges in its own.
//!
//! ```no_run
//! use pyzord_core::{Limits, MemoryStore, Policy, Server};
//! use pyzord_runtime::{Counters, Service, Sockets, Stores, shared_guard};
//! use pyzord_runtime_smol::{Signals, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signals = Signals::install()?;
//! let sockets = Sockets::bind("127.0.0.1", 24441, 1)?;
//! let service = Service {
//!     sockets: &sockets,
//!     server: Server::new(Policy::default(), shared_guard(Limits::default())?),
//!     counters: &Counters::default(),
//!     stores: Stores::Local { workers: vec![MemoryStore::new()], large: MemoryStore::new() },
//!     upkeep: MemoryStore::new(),
//!     cleanup: None,
//!     reload: &mut || Some(Policy::default().into()),
//!     on_answered: &|_answered| (),
//!     supervisor: None,
//! };
//! serve(service, signals.commands())?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Command`]: pyzord_runtime::Command

mod server;
mod signals;

pub use server::serve;
pub use signals::Signals;
