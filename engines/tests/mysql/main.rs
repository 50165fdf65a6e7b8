//! The engine on a real MariaDB server.
#![cfg(feature = "mysql")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bulk;
#[path = "../common/mod.rs"]
mod common;
mod contention;
mod faults;
mod hosts;
mod lease;
mod outage;
mod python;
mod serving;
mod support;
mod table;
mod zones;

use pyzord_testkit::MariadbServer;

/// Runs the tests that share a server, as it takes seconds to start; each has tables of its own.
#[test]
fn on_one_server() {
    let server = MariadbServer::start();
    for (name, case) in [
        serving::CASES,
        table::CASES,
        contention::CASES,
        bulk::CASES,
        lease::CASES,
        python::CASES,
        faults::CASES,
    ]
    .concat()
    {
        println!("{name}");
        case(&server);
    }
}
