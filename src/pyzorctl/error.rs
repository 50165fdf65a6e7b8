//! Why a command ends early. The one place where a cause becomes a message for the operator.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use pyzord_core::{Digest, StoreFailure, Tally};
use pyzord_engines::ChangeError;
use pyzord_engines::registry::UnknownEngine;

use super::arguments::NotADigest;
use super::backup::BackupError;
use super::client::QueryError;
use super::context::ContextError;
use super::database::OpenError;
use super::merge::Interrupted;
use super::passphrase::PassphraseError;
use super::server_command::ServerError;
use crate::csv::HeadError;
use crate::forward::ForwardError;
use crate::pidfile::PidFileError;
use crate::rules::RulesError;

/// The exit status of a command that came to its end, or why it did not.
pub(crate) type Outcome = Result<ExitCode, CommandError>;

/// Why a command ended early. The message is one line and has no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The reader of standard output, such as `head`, has closed it.
    #[error("standard output is closed")]
    OutputClosed,
    #[error("standard output: {0}")]
    Output(io::Error),
    #[error("standard input: {0}")]
    Input(io::Error),
    #[error("standard input, line {line}: {cause}")]
    InputLine { line: u64, cause: NotADigest },
    #[error("`{}`: {cause}", .argument.escape_debug())]
    DigestArgument { argument: String, cause: NotADigest },
    #[error("the logger cannot be installed: {0}")]
    Logger(#[from] log::SetLoggerError),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    #[error(transparent)]
    Open(OpenError),
    #[error("{error}: {advice}")]
    InUse { error: OpenError, advice: &'static str },
    #[error(transparent)]
    Database(#[from] StoreFailure),
    #[error("{digest}: {failure}")]
    Record { digest: Digest, failure: StoreFailure },
    #[error("signals: {0}")]
    Signals(io::Error),
    #[error("{digest}: {error}")]
    Change { digest: Digest, error: ChangeError },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{open}; the server was asked instead: {query}")]
    QueryInstead { open: OpenError, query: QueryError },
    #[error("{digest}: {error}; the whitelisting may be counted or not")]
    WhitelistUncertain { digest: Digest, error: QueryError },
    #[error("there is no account `{}`", .0.escape_debug())]
    UnknownAccount(String),
    #[error("accounts file {file}: there is no account `{}`", .user.escape_debug())]
    NotInAccountsFile { file: String, user: String },
    #[error("--forward: ForwardClientHomeDir is not set, so this server forwards to no other")]
    NothingForwarded,
    #[error(
        "--whitelistings needs --keep or --forward: without them the record is deleted, and nothing is whitelisted"
    )]
    NothingWhitelisted,
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("nothing was deleted")]
    NotConfirmed,
    #[error("a count is at most {}", Tally::MAX)]
    CountTooLarge,
    #[error("{}: {error}", .path.display())]
    ImportFile { path: PathBuf, error: io::Error },
    #[error("backup {}: {error}", .path.display())]
    Backup { path: PathBuf, error: BackupError },
    #[error("the database server has tools of its own for backups: {tools}; or use pyzorctl export")]
    NoBackup { tools: &'static str },
    #[error(transparent)]
    UnknownEngine(#[from] UnknownEngine),
    #[error("{input}, line {line}: {cause}")]
    ImportHead { input: String, line: u64, cause: HeadError },
    #[error("--server: expected HOST:PORT")]
    ServerOption,
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl CommandError {
    /// Makes the error of a command that cannot open its database. `advice` says what to do if another process has it
    /// open.
    pub(crate) fn open(error: OpenError, advice: &'static str) -> Self {
        match error {
            OpenError::InUse { .. } => Self::InUse { error, advice },
            OpenError::Damaged(_) | OpenError::Unusable(_) => Self::Open(error),
        }
    }
}

/// An error of standard output. An error of any other file has a variant of its own, which names the file.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Output(error),
        }
    }
}

/// Returns success, unless a part of the work failed.
pub(crate) fn exit_code(complete: bool) -> ExitCode {
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
