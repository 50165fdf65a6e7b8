#![no_std]
#![forbid(unsafe_code)]
#![doc = include_str!("manual.md")]

extern crate alloc;

mod backoff;
mod cleanup_age;
pub mod client;
mod counted;
mod expiry;
mod guard;
mod ignored;
mod memory_store;
mod policy;
mod protocol;
mod record;
mod server;
mod store;
mod time;
mod upkeep;
mod user_file;

pub use ipnet::IpNet;

pub use backoff::Backoff;
pub use cleanup_age::CleanupAge;
pub use counted::Counted;
pub use expiry::{Expiry, ExpiryGuard, ExpiryWait, Survey};
pub use guard::{Guard, GuardMemory, LimitExceeded, Limits, Lock, Rate};
pub use ignored::Ignored;
pub use memory_store::MemoryStore;
pub use policy::{AccessOrder, Decision, Policy, PolicyBuilder, Rulebook};
pub use protocol::digest::Digest;
pub use protocol::header::{Header, HeaderBlock, lines};
pub use protocol::operation::Operation;
pub use protocol::origin::Origin;
pub use protocol::refusal::Refusal;
pub use protocol::request::{ANONYMOUS, MAX_REQUEST, Request};
pub use protocol::signature::{BadSignature, HashedKey, MAX_CLOCK_DIFFERENCE, verify};
pub use record::{Record, Tally};
pub use server::{Answered, Asked, Batch, Escaped, Peer, Server, Usage};
pub use store::{Mark, Progress, Store, StoreAnswer, StoreCall, StoreError, StoreFailure, StoreOp, Task};
pub use time::{Now, Tick, UnixTime};
pub use upkeep::Schedule;
pub use user_file::{UserFile, Warning};
