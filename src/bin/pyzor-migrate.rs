//! `pyzor-migrate`, which moves the records of one database to another.

use std::process::ExitCode;

fn main() -> ExitCode {
    pyzord::pyzor_migrate()
}
