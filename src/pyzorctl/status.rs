//! Whether the server runs and answers.

use std::io::Write;
use std::process::ExitCode;

use crate::pidfile::Owner;
use pyzord_core::Operation;
use pyzord_engines::registry::Access;

use super::failure::Outcome;
use super::options::Status;
use super::server::{Reply, Server};
use super::show::{Json, OrNull};
use super::site::Site;

/// What service managers expect of a program that is not running.
const NOT_RUNNING: u8 = 3;

/// What was found.
struct Found {
    /// The address that was asked.
    server: String,
    owner: Owner,
    answer: Result<Reply, String>,
    database: String,
    records: Option<u64>,
}

/// Asks the pid file, the server and, where that is cheap, the database.
pub(crate) fn run(site: &Site, options: &Status, out: &mut dyn Write) -> Outcome {
    let owner = site.settings.pid_file.as_deref().map_or(Ok(Owner::Nobody), Owner::of)?;
    let server = Server::of(&site.settings, site.clock)?;
    let answer = server.ask(Operation::Ping, None);
    // One that hangs would keep this waiting.
    let records = if answer.is_ok() || site.settings.engine != "gdbm" { records(site) } else { None };
    let found =
        Found { server: server.address.to_string(), owner, answer, database: site.database_name(), records };
    if options.json { found.write_json(site, out) } else { found.write(site, out) }?;
    Ok(match (&found.owner, &found.answer) {
        (_, Ok(_)) => ExitCode::SUCCESS,
        (Owner::Nobody, Err(_)) => NOT_RUNNING.into(),
        (Owner::Gone(_) | Owner::Running(_), Err(_)) => ExitCode::FAILURE,
    })
}

/// How many records there are. A gdbm file would have to be read whole, and opening it could be in the way of a server
/// that starts: only one that runs is asked.
fn records(site: &Site) -> Option<u64> {
    let mut database = match site.settings.engine.as_str() {
        "gdbm" => site.lent()?,
        _ => site.open(Access::Read).ok()?,
    };
    database.estimate()
}

impl Found {
    fn write(&self, site: &Site, out: &mut dyn Write) -> std::io::Result<()> {
        match &self.owner {
            Owner::Nobody => writeln!(out, "process: no pid file")?,
            Owner::Gone(text) => writeln!(out, "process: `{}` of the pid file is gone", text.escape_debug())?,
            Owner::Running(pid) => writeln!(out, "process: {pid}")?,
        }
        match &self.answer {
            Ok(reply) => writeln!(out, "ping: {} says {reply} after {:.1} ms", self.server, millis(reply))?,
            Err(error) => writeln!(out, "ping: {error}")?,
        }
        writeln!(out, "engine: {}\ndatabase: {}", site.settings.engine, self.database)?;
        self.records.iter().try_for_each(|records| writeln!(out, "records: about {records}"))
    }

    fn write_json(&self, site: &Site, out: &mut dyn Write) -> std::io::Result<()> {
        let pid = match &self.owner {
            Owner::Running(pid) => Some(pid),
            Owner::Nobody | Owner::Gone(_) => None,
        };
        let answer = self.answer.as_ref();
        let text = answer.map_or_else(Clone::clone, ToString::to_string);
        writeln!(
            out,
            "{{\"running\":{},\"pid\":{},\"server\":{},\"answer\":{},\"ms\":{},\"engine\":{},\"database\":{},\
             \"records\":{}}}",
            answer.is_ok(),
            OrNull(pid),
            Json(&self.server),
            Json(&text),
            OrNull(answer.ok().map(|reply| format!("{:.3}", millis(reply)))),
            Json(&site.settings.engine),
            Json(&self.database),
            OrNull(self.records),
        )
    }
}

fn millis(reply: &Reply) -> f64 {
    reply.took.as_secs_f64() * 1000.0
}
