//! Drives [`pyzord_core`] with blocking threads: the smallest thing around the state machine that serves.
//!
//! [`serve`] runs the workers of [`pyzord_runtime`], a thread and a UDP socket each: a worker waits in the system call
//! that receives. The calling thread waits for [`Command`]s and does the store's upkeep between them. Stores that wait
//! for a network have threads of their own. No async machinery.
//!
//! ```no_run
//! use std::sync::mpsc;
//!
//! use pyzord_core::{CleanupAge, Limits, MemoryStore, Policy};
//! use pyzord_runtime::{Counters, Live, Server, Shield, Sockets, Stores};
//! use pyzord_runtime_std::{Signals, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signals = Signals::block()?;
//! let sockets = Sockets::bind("127.0.0.1", 24441, 1)?;
//! let (commands, receiver) = mpsc::channel();
//! signals.forward(commands);
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
//! serve(server, &receiver);
//! # Ok(())
//! # }
//! ```
//!
//! [`Command`]: pyzord_runtime::Command

mod server;
mod signals;

pub use server::serve;
pub use signals::Signals;
