//! `reload`, `stop` and `log-level`: commands to the running server, whose outcome they wait for and print.

use std::io::{self, Write};
use std::path::PathBuf;

use thiserror::Error;

use super::context::Context;
use super::error::{Outcome, exit_code};
use super::json;
use super::options::{LogLevel, Reload};
use crate::control::{ConnectError, ListenError, ReplyError, ServerClient, StopOutcome};
use crate::logs::OneLine;
use crate::reload_report::LineKind;
use crate::settings::level_word;

/// Why the running server was not asked, or has not done what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum ServerError {
    #[error("ControlSocket is none: this server takes no commands; signals reload (USR1) and stop (TERM) it")]
    Off,
    #[error("control socket {}: {cause}; does the server run, and is its home directory {}?", .path.display(), .home.display())]
    NotConnected { path: PathBuf, home: PathBuf, cause: ConnectError },
    #[error("{0}")]
    Reply(#[from] ReplyError),
    #[error("the server's reply is not understood: {0}")]
    Document(serde_json::Error),
    #[error("the server has ended with an error, which its log names")]
    EndedWithError,
    #[error(
        "the server has ended although the database hangs: what was not on the disk yet may be lost; its log has more"
    )]
    Overdue,
    #[error("the server has ended without a word: it was killed, or has crashed")]
    Vanished,
}

impl ServerError {
    /// Whether there is no server at the socket, or no socket.
    pub(super) fn is_absent(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        match self {
            Self::Off => true,
            Self::NotConnected { cause: ConnectError::Listen(ListenError::Io(error)), .. } => {
                kinds.contains(&error.kind())
            }
            _ => false,
        }
    }
}

impl Context {
    /// Connects to the control socket of the server.
    pub(super) fn server(&self) -> Result<ServerClient, ServerError> {
        let path = self.settings.control.as_deref().ok_or(ServerError::Off)?;
        ServerClient::connect(path).map_err(|cause| ServerError::NotConnected {
            path: path.to_owned(),
            home: self.home.path().to_owned(),
            cause,
        })
    }
}

/// Has the server read its files again, and prints what that has changed. Fails if a part of it was not done.
pub(crate) fn reload(context: &Context, options: &Reload, out: &mut dyn Write) -> Outcome {
    let report = context.server()?.reload().map_err(ServerError::from)?;
    if options.json {
        json::write_line(out, &report)?;
        return Ok(exit_code(!report.failed));
    }
    if !report.lines.iter().any(|line| matches!(line.kind, LineKind::Changed | LineKind::Failed)) {
        writeln!(out, "nothing has changed")?;
    }
    let mut lines: Vec<_> = report.lines.iter().collect();
    lines.sort_by_key(|line| line.kind);
    for line in lines {
        writeln!(out, "{}: {}", line.kind, OneLine(&line.text))?;
    }
    if report.more > 0 {
        writeln!(out, "the log of the server has {} more lines", report.more)?;
    }
    Ok(exit_code(!report.failed))
}

/// Stops the server, and waits until its process has ended.
pub(crate) fn stop(context: &Context, out: &mut dyn Write) -> Outcome {
    let server = context.server()?;
    let process = server.pid().map_or_else(String::new, |pid| format!(", process {pid}"));
    let outcome = server.stop().map_err(ServerError::from)?;
    match outcome {
        Some(StopOutcome::Stopped) => writeln!(out, "stopped{process}")?,
        Some(StopOutcome::Failed) => return Err(ServerError::EndedWithError.into()),
        Some(StopOutcome::Overdue) => return Err(ServerError::Overdue.into()),
        None => return Err(ServerError::Vanished.into()),
    }
    Ok(exit_code(true))
}

/// Sets what the server logs, until the next reload.
pub(crate) fn log_level(context: &Context, options: &LogLevel, out: &mut dyn Write) -> Outcome {
    let old = context.server()?.set_log_level(options.level).map_err(ServerError::from)?;
    let new = level_word(options.level);
    writeln!(out, "log level: {new} until the next reload; it was {}", OneLine(&old))?;
    Ok(exit_code(true))
}
