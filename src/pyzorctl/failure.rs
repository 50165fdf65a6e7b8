//! Why a command ended early.

use std::io;
use std::process::ExitCode;

use pyzord_core::StoreFailure;

/// What ends a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One line for the operator.
    Said(String),
    /// Nobody reads the output any more.
    Closed,
}

/// The exit status of a command that came to its end.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Success, unless something that was to be done was not.
pub(crate) fn status(all_well: bool) -> ExitCode {
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<StoreFailure> for Failure {
    fn from(failure: StoreFailure) -> Self {
        Self::Said(failure.to_string())
    }
}

/// Of standard output: every other file's error is named where it happens.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Said(format!("standard output: {error}")),
        }
    }
}
