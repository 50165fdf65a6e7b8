//! What every engine promises, tested on every engine of this build.
//!
//! A case is a function on the databases of a [`Subject`]. An engine is one test, which runs all cases that
//! concern it, one after another, on one database server. What only one engine does is tested in that
//! engine's own tests, beside this suite.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod bulk;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod changes;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "gdbm")]
mod gdbm;
mod memory;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "redis")]
mod redis;
mod serving;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
mod stored;
mod subject;

use subject::{Case, Subject};

/// Runs cases, each on new databases.
fn run<S: Subject>(cases: &[Case<S>], new: &dyn Fn() -> S) {
    for (name, case) in cases {
        println!("{name}");
        case(new);
    }
}

/// Runs all cases for an engine whose records are outside of this process.
#[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
fn run_all<S: subject::Stored>(new: &dyn Fn() -> S) {
    run(&serving::cases(), new);
    run(&stored::cases(), new);
    run(&bulk::cases(), new);
    run(&changes::cases(), new);
}

#[test]
fn memory() {
    run(&serving::cases(), &memory::Memory::default);
}

#[cfg(feature = "gdbm")]
#[test]
fn gdbm() {
    run_all(&gdbm::File::new);
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite() {
    use pyzord_engines::sqlite::Durability;
    run_all(&|| sqlite::File::new(Durability::Deferred));
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_strict() {
    use pyzord_engines::sqlite::Durability;
    run_all(&|| sqlite::File::new(Durability::Strict));
}

#[cfg(feature = "redis")]
#[test]
fn redis() {
    let server = pyzord_testkit::RedisServer::start();
    for cleanup_age in redis::AGES {
        run_all(&|| redis::Keys::hashes(redis::Place::Server(&server), cleanup_age));
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis_v0() {
    let server = pyzord_testkit::RedisServer::start();
    for cleanup_age in redis::AGES {
        run_all(&|| redis::Keys::texts(redis::Place::Server(&server), cleanup_age));
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis_cluster() {
    let cluster = pyzord_testkit::RedisCluster::start();
    run_all(&|| redis::Keys::hashes(redis::Place::Cluster(&cluster), redis::AGES[1]));
    run_all(&|| redis::Keys::texts(redis::Place::Cluster(&cluster), redis::AGES[0]));
}

#[cfg(feature = "mysql")]
#[test]
fn mysql() {
    let server = pyzord_testkit::MariadbServer::start();
    let tables = std::cell::Cell::new(0);
    run_all(&|| {
        tables.set(tables.get() + 1);
        mysql::Table::new(&server, tables.get())
    });
}
