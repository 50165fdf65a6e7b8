//! Encodes records as each engine stores them, and decodes them: pure functions between bytes and records.

mod date;
pub mod gdbm;
pub(crate) mod number;
pub mod redis;
pub mod redis_v0;
pub mod sqlite;
