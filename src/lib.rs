//! The programs of the Pyzor server `pyzord`: the server itself, `pyzorctl` and `pyzor-migrate`.
//!
//! Each program of `src/bin/` calls one function of this crate: [`run`], [`pyzorctl`] or [`pyzor_migrate`]. To embed a
//! Pyzor server, use `pyzord-core` and a runtime crate instead. [`commands`] and [`setting_names`] are for the man
//! pages, the module [`fuzzing`] is for the fuzz targets.

mod bulk;
mod check;
mod cli;
mod command_line;
mod control;
mod csv;
mod detach;
mod driver;
mod engine;
mod folder_owner;
mod forward;
pub mod fuzzing;
mod health;
mod help;
mod home;
mod ini;
mod kernel_drops;
mod logs;
mod migrate;
mod open_to_all;
mod output;
mod own_address;
mod pidfile;
mod pyzorctl;
mod regular_file;
mod reload_report;
mod rules;
mod settings;
mod socket_table;
mod start;
mod status;
mod stderr_logger;
mod system_account;
mod systemd;
mod times;
mod unsent;
mod write_access;

use std::process::ExitCode;

use clap::CommandFactory as _;
use nix::sys::stat::{Mode, umask};

use crate::start::StartError;

/// Compiles the example of the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Returns the command lines of `pyzord`, `pyzor-migrate` and `pyzorctl`, for man pages and shell completions.
#[must_use]
pub fn commands() -> [clap::Command; 3] {
    [cli::CommandLine::command(), migrate::command(), pyzorctl::command()]
}

/// Returns the names of all settings, as the configuration file spells them.
pub fn setting_names() -> impl Iterator<Item = &'static str> {
    settings::names()
}

/// Runs the program `pyzord` with the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    restrict_file_mode();
    let _flush = logs::FlushOnDrop;
    let options = command_line::parse::<cli::CommandLine>();
    let result = if options.create_table {
        check::create_table(&options)
    } else if options.check_config {
        check::run(&options)
    } else if options.detach.is_some() && !detach::is_child() {
        detach::start_child().map_err(StartError::from)
    } else {
        start::run(&options).map(|()| ExitCode::SUCCESS)
    };
    result.unwrap_or_else(|error| {
        start::report(&error);
        ExitCode::FAILURE
    })
}

/// Runs the program `pyzorctl` with the command line of this process.
#[must_use]
pub fn pyzorctl() -> ExitCode {
    restrict_file_mode();
    pyzorctl::run()
}

/// Runs the program `pyzor-migrate` with the command line of this process.
#[must_use]
pub fn pyzor_migrate() -> ExitCode {
    restrict_file_mode();
    migrate::run()
}

/// Makes every file that this process creates accessible to its owner alone.
fn restrict_file_mode() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
