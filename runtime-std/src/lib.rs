//! Drives [`pyzord_core`] with blocking threads only.
//!
//! [`serve`] runs the workers of [`pyzord_runtime`]. The calling thread waits for [`Command`]s in a channel.
//!
//! ```no_run
//! use std::sync::mpsc;
//!
//! use pyzord_core::{Limits, MemoryStore, Policy, Server};
//! use pyzord_runtime::{Counters, Service, Sockets, Stores, shared_guard};
//! use pyzord_runtime_std::{Signals, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signals = Signals::block()?;
//! let sockets = Sockets::bind("127.0.0.1", 24441, 1)?;
//! let (commands, receiver) = mpsc::channel();
//! signals.forward(commands)?;
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
//! serve(service, &receiver)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Command`]: pyzord_runtime::Command

mod server;
mod signals;

pub use server::serve;
pub use signals::Signals;
