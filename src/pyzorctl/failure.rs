//! Why a command ended early.

use std::io;
use std::process::ExitCode;

use pyzord_core::StoreFailure;

use crate::home::HomeError;
use crate::pidfile::PidFileError;
use crate::rules::RulesError;
use crate::settings::SettingsError;

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

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<RulesError> for Failure {
    fn from(error: RulesError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<PidFileError> for Failure {
    fn from(error: PidFileError) -> Self {
        Self::Said(error.to_string())
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
