#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("manual.md")]

extern crate alloc;

mod accept;
mod access;
mod accounts;
mod backoff;
mod batch;
pub mod client;
mod decimal;
mod digest;
mod guard;
mod header;
mod operation;
mod policy;
mod record;
mod reply;
mod request;
mod rulebook;
mod schedule;
mod signature;
mod store;
mod time;
mod usage;

pub use accept::{Pending, Reason, Reply, Step, accept};
pub use backoff::Backoff;
pub use batch::Batch;
pub use digest::Digest;
pub use guard::{Guard, Limits, Memory, Notice, Rate, Seen};
pub use header::{Header, HeaderBlock, lines};
pub use ipnet::IpNet;
pub use operation::Operation;
pub use policy::{AccessOrder, File, Policy, Warning};
pub use record::{Record, Tally};
pub use reply::Refusal;
pub use request::{ANONYMOUS, MAX_REQUEST, Request};
pub use rulebook::{Decision, Rulebook};
pub use schedule::Schedule;
pub use signature::{BadSignature, HashedKey, MAX_CLOCK_DIFFERENCE, verify};
pub use store::{
    CleanupAge, MemoryStore, Progress, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task,
};
pub use time::{Now, Tick, UnixTime};
pub use usage::Usage;
