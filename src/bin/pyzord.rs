//! `pyzord`, the Pyzor server.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyzord::run()
}
