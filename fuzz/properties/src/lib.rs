//! The properties of pyzord for any input, as functions that panic if a property does not hold.
//!
//! Each function is the body of the fuzz target of its name in `fuzz/fuzz_targets/`. The tests of this crate run all of
//! them on the corpus in `fuzz/corpus/` and on mutations of it, without a fuzzer.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a property that does not hold fails by panicking"
)]

mod email;
mod one_request;
mod peer;
mod record;
mod told;
mod user_lines;

macro_rules! targets {
    ($($name:ident,)*) => {
        $(mod $name;)*
        $(pub use $name::$name;)*

        /// All targets by name.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name),)*];
    };
}

targets! {
    accept,
    access,
    accounts,
    batch,
    client_files,
    client_reply,
    configuration,
    exchange,
    forwarder,
    gdbm_file,
    gdbm_record,
    header,
    mysql_dsn,
    mysql_row,
    redis_dsn,
    redis_record,
    redis_replies,
    redis_v0_record,
    reply,
    request,
    settings,
    signature,
    signed_counts,
    sqlite_file,
    sqlite_row,
}
