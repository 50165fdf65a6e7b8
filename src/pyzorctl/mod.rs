//! `pyzorctl`: what an operator asks of a server, its database and its files.

mod access;
mod check;
mod expiry;
mod failure;
mod format;
mod genkey;
mod options;
mod records;
mod server;
mod show;
mod site;
mod status;
mod transfer;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{CommandFactory as _, Parser as _};

use self::failure::{Failure, Outcome};
use self::options::{Command, Options};
use self::site::Site;

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    Options::command()
}

/// Runs the command that the command line of this process names.
pub(crate) fn run() -> ExitCode {
    let options = Options::parse();
    match Warnings::install().and_then(|()| execute(&options)) {
        Ok(code) => code,
        // Who reads no further, as `head` does, has what he wanted.
        Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Said(error)) => {
            eprintln!("pyzorctl: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(options: &Options) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let site = Site::read(&options.site)?;
    let code = match &options.command {
        Command::Status(status) => status::run(&site, status, &mut out),
        Command::Lookup(lookup) => records::lookup(&site, lookup, &mut out),
        Command::Whitelist(whitelist) => records::whitelist(&site, whitelist, &mut out),
        Command::Delete(delete) => records::delete(&site, delete, &mut out),
        Command::Set(set) => records::set(&site, set, &mut out),
        Command::Export(export) => transfer::export(&site, export, &mut out),
        Command::Import(import) => transfer::import(&site, import, &mut out),
        Command::CheckDatabase(check) => check::run(&site, check, &mut out),
        Command::Expiry(expiry) => expiry::run(&site, expiry, &mut out),
        Command::Genkey(genkey) => genkey::run(&site, genkey, &mut out),
        Command::Explain(explain) => access::explain(&site, explain, &mut out),
        Command::CompareOrders(compare) => access::compare(&site, compare, &mut out),
    }?;
    out.flush()?;
    Ok(code)
}

/// What the engines have to say goes to standard error, the same line once in a row: a file that is waited for is
/// opened many times.
struct Warnings(Mutex<String>);

impl Warnings {
    fn install() -> Result<(), Failure> {
        static WARNINGS: Warnings = Warnings(Mutex::new(String::new()));
        log::set_max_level(log::LevelFilter::Warn);
        log::set_logger(&WARNINGS).map_err(|error| Failure::Said(error.to_string()))
    }
}

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            eprintln!("pyzorctl: {line}");
            *last = line;
        }
    }

    fn flush(&self) {}
}
