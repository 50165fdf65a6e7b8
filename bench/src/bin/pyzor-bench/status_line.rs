//! The status line of a running measurement.

use std::io::{self, IsTerminal as _};

/// Replaces the status line, if standard error is a terminal.
pub(crate) fn show(status: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{status}\x1b[K");
    }
}
