//! The parts of `pyzord`, the Pyzor server: command line, configuration, daemon, logs and wiring around
//! `pyzord-core`.
//!
//! This is no public API. The program is here, and what is public beside [`run`] is so for `pyzorctl` and for the
//! program's fuzzing.

mod account;
mod check;
mod cli;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod csv;
mod detach;
mod driver;
mod engine;
mod forward;
#[doc(hidden)]
pub mod home;
#[doc(hidden)]
pub mod ini;
mod limits;
mod logs;
#[doc(hidden)]
pub mod pidfile;
#[doc(hidden)]
pub mod rules;
#[doc(hidden)]
pub mod settings;
mod start;
mod status;
mod systemd;
#[doc(hidden)]
pub mod times;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use rustix::fs::Mode;

use crate::cli::Options;

/// The command line, for man pages and completions.
#[doc(hidden)]
#[must_use]
pub fn command() -> clap::Command {
    Options::command()
}

/// Does what the command line of this process says.
#[must_use]
pub fn run() -> ExitCode {
    // Nothing that this process creates is anybody else's business.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let options = Options::parse();
    let result = if options.create_table {
        check::create_table(&options)
    } else if options.check_config {
        check::run(&options)
    } else if options.detach.is_some() && !detach::is_child() {
        detach::start_child()
    } else {
        start::run(&options).map(|()| ExitCode::SUCCESS)
    };
    result.unwrap_or_else(|error| {
        start::fail(&error);
        ExitCode::FAILURE
    })
}
