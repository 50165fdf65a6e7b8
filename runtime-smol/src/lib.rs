//! Drives [`pyzord_core`] with smol: async sockets, timers and signals.
//!
//! [`serve`] runs the workers of [`pyzord_runtime`], each as a task with a thread of its own: a worker takes what has
//! come in until nothing is left, and then waits for the socket. Commands, timers and the store's upkeep are one more
//! task. Stores that answer at once run where they are; those that wait for a network have threads of their own, so
//! that no task ever waits for them.
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
//!     stores: Stores::Local(vec![MemoryStore::new()]),
//!     upkeep: MemoryStore::new(),
//!     cleanup: None,
//!     reload: &mut || Some(Policy::default()),
//!     on_answered: &|_answered| (),
//!     supervisor: None,
//! };
//! serve(service, signals.commands())?;
//! # Ok(())
//! # }
//! ```

mod server;
mod signals;

pub use server::serve;
pub use signals::Signals;
