//! Drives [`pyzord_core`] with blocking threads: the smallest thing around the state machine that serves.
//!
//! [`serve`] runs W workers on one UDP socket. Each of them receives what has come in, up to 64 datagrams without
//! waiting for more, has the batch judged, asks its store once, and sends the replies together. The calling thread
//! waits for [`Command`]s and does the store's upkeep between them. There is no queue, no executor and no lock
//! between a datagram and its reply but the store's own; stores that wait for a network have threads of their own.
//!
//! ```no_run
//! use std::sync::mpsc;
//!
//! use pyzord_core::{CleanupAge, MemoryStore, Policy};
//! use pyzord_runtime_std::{Command, Counters, Live, Server, Signals, Stores, bind, serve};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signals = Signals::block()?;
//! let (socket, _granted) = bind("127.0.0.1", 24441)?;
//! let (commands, receiver) = mpsc::channel();
//! signals.forward(commands);
//! serve(Server {
//!     socket: &socket,
//!     policy: &Live::new(Policy::default()),
//!     counters: &Counters::default(),
//!     stores: Stores::Local(vec![MemoryStore::new()]),
//!     upkeep: MemoryStore::new(),
//!     cleanup: CleanupAge(0),
//!     commands: receiver,
//!     reload: &mut Policy::default,
//!     usage: &|_batch| (),
//! });
//! # Ok(())
//! # }
//! ```

mod answer;
mod clock;
mod counters;
mod datagrams;
mod live;
mod pool;
mod server;
mod signals;
mod socket;
mod worker;

pub use clock::Clock;
pub use counters::Counters;
pub use live::{Live, Watcher};
pub use server::{Command, Server, Stores, serve};
pub use signals::Signals;
pub use socket::{BindError, bind};
