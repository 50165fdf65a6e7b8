//! `status`: one screen about a server: what is wrong, since when and what to do, and what the server is.
//!
//! A server that runs tells of itself at its control socket, which asks neither the database nor a worker. A ping shows that
//! requests reach it. A ping alone is no health: it does not use the database.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pyzord_core::{Operation, UnixTime};
use pyzord_engines::registry::{self, Access};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{QueryError, ServerReply, UdpClient};
use super::context::Context;
use super::document::{Document, Finding, span, unix_time};
use super::error::{CommandError, Outcome};
use super::json;
use super::options::Status;
use super::server_command::ServerError;
use crate::logs::OneLine;
use crate::pidfile::Owner;
use crate::{times, write_access};

/// The exit status that service managers expect for a program that does not run.
const NOT_RUNNING: u8 = 3;
/// The exit status that they expect if the state is unknown.
const UNKNOWN: u8 = 4;
/// The most lines of the log that are shown.
const MOST_ERRORS: usize = 5;

/// What is known of a server.
struct ServerStatus<'a> {
    home: &'a Path,
    /// What the server tells of itself, or why it tells nothing.
    document: Result<Document, ServerError>,
    pid: Option<i32>,
    owner: Owner,
    /// The address that was asked.
    server: String,
    answer: Result<ServerReply, QueryError>,
    /// `None` if the settings are not known, as for the database.
    engine: Option<&'a str>,
    database: Option<String>,
    /// About how many records there are.
    records: Option<u64>,
}

/// The status as JSON.
#[derive(Serialize)]
struct JsonStatus<'a> {
    running: bool,
    pid: Option<i32>,
    level: &'a str,
    sentence: &'a str,
    since: Option<f64>,
    remedy: Option<&'a str>,
    server: &'a str,
    answer: &'a str,
    ms: Option<Box<RawValue>>,
    control: Cow<'a, str>,
    version: Option<&'a str>,
    uptime: Option<f64>,
    engine: Option<&'a str>,
    database: Option<&'a str>,
    records: Option<u64>,
    home: Cow<'a, str>,
}

/// Asks the server at its control socket and by a ping, and shows what both tell.
pub(crate) fn run(context: &Context, options: &Status, out: &mut dyn Write) -> Outcome {
    let (document, pid) = ask(context);
    let owner = match context.settings.pid_file.as_deref() {
        Some(path) if pid.is_none() => Owner::of(path)?,
        _ => Owner::NoFile,
    };
    let client = match client(context, document.as_ref().ok()) {
        // Nothing was asked.
        Err(error) if document.is_err() => return Err(error.into()),
        client => client,
    };
    let server = client.as_ref().map_or_else(|_| String::new(), |client| client.address.to_string());
    let answer = client.and_then(|client| client.query(Operation::Ping, None));
    let engine = context.settings.engine.as_str();
    let records = match &document {
        Ok(document) => document.records,
        // A gdbm file that no server has open would be read whole, and opening it could get in the way of a start.
        Err(_) if engine == "gdbm" || context.guessed => None,
        Err(_) => estimate(context),
    };
    let home = context.home.path();
    let engine = Some(engine).filter(|_| !context.guessed);
    let database = (!context.guessed).then(|| context.database_name());
    let status = ServerStatus { home, document, pid, owner, server, answer, engine, database, records };
    let verdict = status.verdict();
    if options.json { status.write_json(&verdict, out) } else { status.write(&verdict, context, out) }?;
    Ok(exit_code(&verdict))
}

/// Returns the document of the server, and its process.
fn ask(context: &Context) -> (Result<Document, ServerError>, Option<i32>) {
    match context.server() {
        Ok(mut server) => {
            let text = server.status().map_err(ServerError::from);
            let document = text.and_then(|text| serde_json::from_str(&text).map_err(ServerError::Document));
            (document, server.pid())
        }
        Err(error) => (Err(error), None),
    }
}

/// Returns the client for a ping: of the address that the command line names, else of the one that the server tells.
fn client(context: &Context, document: Option<&Document>) -> Result<UdpClient, QueryError> {
    match document.and_then(Document::address) {
        Some(address) if !context.names_address => UdpClient::at(address, context.clock),
        _ => UdpClient::new(&context.settings, context.clock),
    }
}

/// Returns about how many records there are, if that is cheap to know.
fn estimate(context: &Context) -> Option<u64> {
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

fn finding(level: &str, sentence: String, remedy: Option<&str>) -> Finding {
    Finding { level: level.to_owned(), sentence, remedy: remedy.map(str::to_owned), since: None }
}

fn exit_code(verdict: &Finding) -> ExitCode {
    match verdict.level.as_str() {
        "ok" | "warning" => ExitCode::SUCCESS,
        "unknown" => UNKNOWN.into(),
        "not running" => NOT_RUNNING.into(),
        _ => ExitCode::FAILURE,
    }
}

impl ServerStatus<'_> {
    fn verdict(&self) -> Finding {
        match (&self.document, &self.answer) {
            (Ok(document), answer) => self.of_document(document, answer),
            (Err(cause), Ok(_)) => {
                let sentence =
                    format!("it answers a ping; whether it reads and counts is not known: {cause}");
                let remedy =
                    "run pyzorctl as root, or as the account of the server, with the server's settings";
                finding("unknown", sentence, Some(remedy))
            }
            (Err(cause), Err(error)) if self.engine.is_none() => {
                let sentence = format!("its settings are not known, and at the defaults {error}; {cause}");
                finding("unknown", sentence, None)
            }
            (Err(cause), Err(error)) if cause.is_absent() => match &self.owner {
                Owner::NoFile => finding("not running", error.to_string(), None),
                Owner::Gone(_) => finding("failed", format!("it has crashed, or was killed: {error}"), None),
                Owner::Running(_) => finding("failed", format!("it hangs: {error}"), None),
            },
            (Err(cause), Err(error)) => {
                finding("failed", format!("it does not answer: {error}; {cause}"), None)
            }
        }
    }

    /// Returns what the server has found, unless requests do not reach it.
    fn of_document(&self, document: &Document, answer: &Result<ServerReply, QueryError>) -> Finding {
        let unknown =
            || finding("unknown", "the server does not tell how it is: another version".to_owned(), None);
        let verdict = document.verdict().unwrap_or_else(unknown);
        match answer {
            Err(error) if verdict.level != "failed" && !document.selects_networks() => {
                let remedy = "see whether another process has the port, or a packet filter drops requests";
                finding("failed", format!("requests do not reach it: {error}"), Some(remedy))
            }
            _ => verdict,
        }
    }

    fn write(&self, verdict: &Finding, context: &Context, out: &mut dyn Write) -> io::Result<()> {
        let now = context.clock.now().wall;
        write_finding("", verdict, now, out)?;
        let document = self.document.as_ref().ok();
        let others = document.and_then(|document| document.findings.as_ref()).into_iter().flatten();
        for other in others.filter(|other| other.sentence != verdict.sentence) {
            write_finding("also ", other, now, out)?;
        }
        self.write_process(document, out)?;
        document.map_or(Ok(()), |document| write_activity(document, out))?;
        writeln!(out, "home directory: {}", OneLine(self.home.display()))?;
        match &self.answer {
            Ok(reply) => writeln!(out, "ping: {} says {reply} after {:.1} ms", self.server, millis(reply))?,
            Err(error) => writeln!(out, "ping: {error}")?,
        }
        if let Some(engine) = document.and_then(|document| document.engine.as_deref()).or(self.engine) {
            writeln!(out, "engine: {}", OneLine(engine))?;
        }
        if let Some(database) = &self.database {
            writeln!(out, "database: {}", OneLine(database))?;
        }
        if let Some(records) = self.records {
            writeln!(out, "records: about {records}")?;
        }
        let document = document.filter(|_| verdict.level != "ok");
        document.map_or(Ok(()), |document| write_errors(document, out))
    }

    fn write_process(&self, document: Option<&Document>, out: &mut dyn Write) -> io::Result<()> {
        match (self.pid, &self.owner) {
            (Some(pid), _) => write!(out, "process: {pid}")?,
            (None, Owner::NoFile) if document.is_some() => write!(out, "process: in another namespace")?,
            (None, Owner::NoFile) => write!(out, "process: no pid file")?,
            (None, Owner::Gone(text)) => {
                write!(out, "process: `{}` of the pid file is gone", text.escape_debug())?;
            }
            (None, Owner::Running(pid)) => write!(out, "process: {pid}")?,
        }
        if let Some(version) = document.and_then(|document| document.version.as_deref()) {
            write!(out, ", version {}", OneLine(version))?;
        }
        if let Some(uptime) = document.and_then(|document| document.uptime) {
            write!(out, ", up {}", span(uptime))?;
        }
        writeln!(out)
    }

    fn write_json(&self, verdict: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let pid = match &self.owner {
            Owner::Running(pid) => Some(pid.as_raw()),
            Owner::NoFile | Owner::Gone(_) => None,
        };
        let (answer, ms) = match &self.answer {
            Ok(reply) => (reply.to_string(), Some(json::number(&format!("{:.3}", millis(reply)))?)),
            Err(error) => (error.to_string(), None),
        };
        let document = self.document.as_ref();
        let status = JsonStatus {
            running: self.answer.is_ok() || document.is_ok(),
            pid: self.pid.or(pid),
            level: &verdict.level,
            sentence: &verdict.sentence,
            since: verdict.since,
            remedy: verdict.remedy.as_deref(),
            server: &self.server,
            answer: &answer,
            ms,
            control: document.map_or_else(|error| error.to_string().into(), |_| "ok".into()),
            version: document.ok().and_then(|document| document.version.as_deref()),
            uptime: document.ok().and_then(|document| document.uptime),
            engine: document.ok().and_then(|document| document.engine.as_deref()).or(self.engine),
            database: self.database.as_deref(),
            records: self.records,
            home: self.home.to_string_lossy(),
        };
        json::write_line(out, &status)
    }
}

/// Writes what is wrong, since when, and what to do.
fn write_finding(before: &str, finding: &Finding, now: UnixTime, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{before}{}: {}", OneLine(&finding.level), OneLine(&finding.sentence))?;
    if let Some(since) = finding.since.and_then(unix_time) {
        let seconds = u32::try_from(now.seconds().saturating_sub(since.seconds())).unwrap_or(0);
        write!(out, ", since {} ({})", times::local(since), span(seconds.into()))?;
    }
    writeln!(out)?;
    if let Some(remedy) = &finding.remedy {
        writeln!(out, "  remedy: {}", OneLine(remedy))?;
    }
    Ok(())
}

/// Writes how much the server does, and how forwarding is.
fn write_activity(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    if let Some(rate) =
        document.rates.as_ref().and_then(|rates| rates.first()).filter(|rate| rate.seconds > 0.0)
    {
        let per_second = |count: u64| count as f64 / rate.seconds;
        writeln!(
            out,
            "requests: {:.1} a second, {:.1} refused, {:.1} not answered on purpose, in the last {:.0} s",
            per_second(rate.done + rate.refused),
            per_second(rate.refused),
            per_second(rate.dropped),
            rate.seconds
        )?;
    }
    for forwarding in document.forwarding.iter().flatten() {
        write!(out, "forwarding to {}: {}", OneLine(&forwarding.server), OneLine(&forwarding.state))?;
        if let Some(since) = forwarding.since.and_then(unix_time) {
            write!(out, " since {}", times::local(since))?;
        }
        let cause = forwarding.cause.iter().map(|cause| format!(": {}", OneLine(cause))).collect::<String>();
        writeln!(out, "{cause}")?;
    }
    Ok(())
}

/// Writes the last warnings and errors of the log, the newest first.
fn write_errors(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    for line in document.errors.iter().flatten().take(MOST_ERRORS) {
        let time = unix_time(line.time).map_or_else(String::new, times::local);
        writeln!(out, "log: {time} {} {}", OneLine(&line.level), OneLine(&line.text))?;
    }
    Ok(())
}

fn millis(reply: &ServerReply) -> f64 {
    reply.took.as_secs_f64() * 1000.0
}

/// Returns the whole document of the server, for `stats` and `top`.
pub(super) fn document(context: &Context) -> Result<(String, Document), CommandError> {
    let text = context.server()?.status().map_err(ServerError::from)?;
    let document = serde_json::from_str(&text).map_err(ServerError::Document)?;
    Ok((text, document))
}
