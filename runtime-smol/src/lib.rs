//! Drives [`pyzord_core`] with smol: async sockets, timers and signals.
//!
//! [`serve`] runs the workers of [`pyzord_runtime`], each as a task with a thread of its own: a worker takes what has
//! come in until nothing is left, and then waits for the socket. Commands, timers and the store's upkeep are one more
//! task. Stores that answer at once run where they are; those that wait for a network have threads of their own, so
//! that no task ever waits for them.
//!
//! ```no_run
//! use pyzord_core::{CleanupAge, Limits, MemoryStore, Policy};
//! use pyzord_runtime::{Counters, Live, Server, Shield, Sockets, Stores};
//! use pyzord_runtime_smol::{Signals, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signals = Signals::install()?;
//! let sockets = Sockets::bind("127.0.0.1", 24441, 1)?;
//! let server = Server {
//!     sockets: &sockets,
//!     policy: &Live::new(Policy::default()),
//!     counters: &Counters::default(),
//!     shield: &Shield::new(Limits::default()),
//!     stores: Stores::Local(vec![MemoryStore::new()]),
//!     upkeep: MemoryStore::new(),
//!     cleanup: CleanupAge(0),
//!     reload: &mut Policy::default,
//!     usage: &|_batch| (),
//!     supervisor: None,
//! };
//! serve(server, signals.commands())?;
//! # Ok(())
//! # }
//! ```

mod server;
mod signals;

pub use server::serve;
pub use signals::Signals;
