//! `pyzorctl`, the operator's tool of a Pyzor server.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyzord::pyzorctl()
}
