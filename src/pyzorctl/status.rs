//! `status`: says whether the server runs and answers.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pyzord_core::Operation;
use pyzord_engines::RecordStore as _;
use pyzord_engines::registry::{self, Access};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{QueryError, ServerReply, UdpClient};
use super::context::Context;
use super::error::Outcome;
use super::json;
use super::options::Status;
use crate::pidfile::Owner;
use crate::write_access;

/// The exit status that service managers expect for a program that does not run.
const NOT_RUNNING: u8 = 3;

struct ServerStatus<'a> {
    /// The home directory of the settings by which the server was asked.
    home: &'a Path,
    /// The address that was asked.
    server: String,
    owner: Owner,
    answer: Result<ServerReply, QueryError>,
    engine: &'a str,
    database: String,
    /// About how many records there are.
    records: Option<u64>,
}

/// The status as JSON.
#[derive(Serialize)]
struct JsonStatus<'a> {
    running: bool,
    pid: Option<i32>,
    server: &'a str,
    answer: &'a str,
    ms: Option<Box<RawValue>>,
    engine: &'a str,
    database: &'a str,
    records: Option<u64>,
    home: Cow<'a, str>,
}

/// Reads the pid file, asks the server, and estimates the number of records where that is cheap.
pub(crate) fn run(context: &Context, options: &Status, out: &mut dyn Write) -> Outcome {
    let owner = match context.settings.pid_file.as_deref() {
        Some(path) => Owner::of(path)?,
        None => Owner::NoFile,
    };
    let client = UdpClient::new(&context.settings, context.clock)?;
    let answer = client.query(Operation::Ping, None);
    let engine = context.settings.engine.as_str();
    // A server that hangs does not answer on its control socket either.
    let records = if answer.is_ok() || engine != "gdbm" { estimate(context) } else { None };
    let server = client.address.to_string();
    let (home, database) = (context.home.path(), context.database_name());
    let status = ServerStatus { home, server, owner, answer, engine, database, records };
    if options.json { status.write_json(out) } else { status.write(out) }?;
    Ok(status.exit_code())
}

/// Returns about how many records there are, if that is cheap to know.
///
/// A gdbm file that no server has open would be read whole, and opening it could get in the way of a server that starts.
fn estimate(context: &Context) -> Option<u64> {
    if context.settings.engine == "gdbm" {
        return context.open_through_server()?.estimate();
    }
    if registry::is_file(&context.settings.engine) && write_access::is_absent(&context.settings.database) {
        return None;
    }
    match context.open(Access::Read) {
        Ok(mut database) => database.estimate(),
        Err(error) => {
            log::warn!("{error}");
            None
        }
    }
}

impl ServerStatus<'_> {
    fn exit_code(&self) -> ExitCode {
        match (&self.owner, &self.answer) {
            (_, Ok(_)) => ExitCode::SUCCESS,
            (Owner::NoFile, Err(_)) => NOT_RUNNING.into(),
            (Owner::Gone(_) | Owner::Running(_), Err(_)) => ExitCode::FAILURE,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.owner {
            Owner::NoFile => writeln!(out, "process: no pid file")?,
            Owner::Gone(text) => writeln!(out, "process: `{}` of the pid file is gone", text.escape_debug())?,
            Owner::Running(pid) => writeln!(out, "process: {pid}")?,
        }
        match &self.answer {
            Ok(reply) => writeln!(out, "ping: {} says {reply} after {:.1} ms", self.server, millis(reply))?,
            Err(error) => writeln!(out, "ping: {error}")?,
        }
        writeln!(out, "home directory: {}", self.home.display())?;
        writeln!(out, "engine: {}\ndatabase: {}", self.engine, self.database)?;
        if let Some(records) = self.records {
            writeln!(out, "records: about {records}")?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let pid = match &self.owner {
            Owner::Running(pid) => Some(pid.as_raw()),
            Owner::NoFile | Owner::Gone(_) => None,
        };
        let (answer, ms) = match &self.answer {
            Ok(reply) => (reply.to_string(), Some(json::number(&format!("{:.3}", millis(reply)))?)),
            Err(error) => (error.to_string(), None),
        };
        let status = JsonStatus {
            running: self.answer.is_ok(),
            pid,
            server: &self.server,
            answer: &answer,
            ms,
            engine: self.engine,
            database: &self.database,
            records: self.records,
            home: self.home.to_string_lossy(),
        };
        json::write_line(out, &status)
    }
}

fn millis(reply: &ServerReply) -> f64 {
    reply.took.as_secs_f64() * 1000.0
}
