//! The program `pyzorctl`: an operator's view of a server, its database and its files.

mod access_files;
mod arguments;
mod backup;
mod check_database;
mod client;
mod compare_orders;
mod context;
mod database;
mod delete;
mod digests;
mod document;
mod error;
mod expiry;
mod explain;
mod export;
mod filters;
mod format;
mod genkey;
mod import;
mod json;
mod lookup;
mod merge;
mod operator;
mod options;
mod partial;
mod passphrase;
mod peer;
mod report;
mod server_command;
mod set;
mod stats;
mod status;
mod unlist;
mod whitelist;

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;

use self::context::Context;
use self::error::{CommandError, Outcome};
use self::options::Command;
pub(crate) use self::options::PyzorctlOptions;
use crate::logs::OneLine;
use crate::output::complain;
use crate::{command_line, stderr_logger};

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    PyzorctlOptions::command()
}

/// Runs the command that the command line of this process names.
pub(crate) fn run() -> ExitCode {
    let options: PyzorctlOptions = command_line::parse();
    let outcome = match stderr_logger::install("pyzorctl") {
        Ok(()) => pyzord_runtime::outlive_file_limits()
            .map_err(CommandError::Signals)
            .and_then(|()| execute(&options)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        // A reader such as `head` has all that it wants.
        Err(CommandError::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("pyzorctl: {}", OneLine(error));
            ExitCode::FAILURE
        }
    }
}

fn execute(options: &PyzorctlOptions) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let read = if options.command.is_for_running() { Context::of_running } else { Context::read };
    let context = read(&options.server)?;
    let code = match &options.command {
        Command::Status(options) => status::run(&context, options, &mut out),
        Command::Stats(options) => stats::stats(&context, options, &mut out),
        Command::Top(options) => stats::top(&context, options, &mut out),
        Command::Reload(options) => server_command::reload(&context, options, &mut out),
        Command::Stop => server_command::stop(&context, &mut out),
        Command::LogLevel(options) => server_command::log_level(&context, options, &mut out),
        Command::Lookup(options) => lookup::run(&context, options, &mut out),
        Command::Whitelist(options) => whitelist::run(&context, options, &mut out),
        Command::Unlist(options) => unlist::run(&context, options, &mut out),
        Command::Delete(options) => delete::run(&context, options, &mut out),
        Command::Set(options) => set::run(&context, options, &mut out),
        Command::Export(options) => export::run(&context, options, &mut out),
        Command::Backup(options) => backup::run(&context, options, &mut out),
        Command::Import(options) => import::run(&context, options, &mut out),
        Command::CheckDatabase(options) => check_database::run(&context, options, &mut out),
        Command::Expiry(options) => expiry::run(&context, options, &mut out),
        Command::Genkey(options) => genkey::run(&context, options, &mut out),
        Command::Explain(options) => explain::run(&context, options, &mut out),
        Command::CompareOrders(options) => compare_orders::run(&context, options, &mut out),
    }?;
    out.flush()?;
    Ok(code)
}
