//! libgdbm behind safe calls.
#![expect(unsafe_code, reason = "libgdbm is a C library; nothing outside this folder calls it")]

mod bytes;
mod c;
mod database;
mod error;

pub(super) use bytes::Bytes;
pub(super) use database::Database;
pub use error::GdbmError;
