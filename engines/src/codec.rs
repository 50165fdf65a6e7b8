//! How engines write a record, and how they read it back: pure functions from bytes to records.

mod date;
pub mod gdbm;
pub(crate) mod number;
pub mod redis;
pub mod redis_v0;
