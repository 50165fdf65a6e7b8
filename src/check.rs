//! `--create-table`, and `--check-config`: reads all files that a start reads, and prints the messages of a start.

use std::path::Path;
use std::process::ExitCode;

use log::LevelFilter;

use crate::cli::CommandLine;
use crate::home::Home;
use crate::logs::{self, Logs, OneLine};
use crate::rules::Rules;
use crate::settings::{Settings, Sources, shown};
use crate::start::StartError;
use crate::{engine, forward, rules, start};

/// Prints the settings, every warning and every error; fails if a start would.
pub(crate) fn run(options: &CommandLine) -> Result<ExitCode, StartError> {
    // The libraries' messages go to the terminal.
    Logs::install(None, None, options.log_level(LevelFilter::Info), false)?;
    let home = Home::new(options.homedir.as_deref())?;
    println!("home directory: {}", OneLine(home.path().display()));
    let sources = Sources::read(&home, options.settings())?;
    print!("{sources}");
    for warning in sources.warnings() {
        println!("warning: {}", OneLine(warning));
    }
    let settings = Settings::new(&sources, &home, start::cpus())?;
    for note in &settings.notes {
        println!("note: {}", OneLine(note));
    }
    println!("workers: {}", settings.workers);
    println!("accounts file: {}", OneLine(shown(settings.passwd_file.as_deref())));
    println!("access file: {}", OneLine(shown(settings.access_file.as_deref())));
    // All of them, so that one run shows every error.
    let checked = [
        check_log(settings.log_file.as_deref()),
        check_log(settings.usage_log_file.as_deref()),
        check_rules(&settings),
        check_forwarding(&settings),
        check_database(&settings),
    ];
    let errors: Vec<StartError> = checked.into_iter().filter_map(Result::err).collect();
    errors.iter().for_each(|error| println!("error: {}", OneLine(error)));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Creates the table that the settings name.
pub(crate) fn create_table(options: &CommandLine) -> Result<ExitCode, StartError> {
    let home = Home::new(options.homedir.as_deref())?;
    let settings = Settings::new(&Sources::read(&home, options.settings())?, &home, start::cpus())?;
    engine::create_table(&settings)?;
    println!("the table is there");
    Ok(ExitCode::SUCCESS)
}

fn check_log(path: Option<&Path>) -> Result<(), StartError> {
    Ok(path.map_or(Ok(()), logs::check)?)
}

fn check_rules(settings: &Settings) -> Result<(), StartError> {
    let Rules { policy, warnings, .. } = rules::read(settings)?;
    println!("accounts: {}", policy.accounts());
    warnings.iter().for_each(|warning| println!("warning: {}", OneLine(warning)));
    Ok(())
}

fn check_forwarding(settings: &Settings) -> Result<(), StartError> {
    let Some(targets) = forward::read(settings)? else { return Ok(()) };
    let targets = targets.without_own(&forward::listen_addresses(settings));
    println!("forwards as the client of: {}", OneLine(targets.home.display()));
    for server in &targets.servers {
        println!("forwards to: {}, time-out {} s", forward::shown(server), targets.timeout.as_secs());
    }
    targets.warnings.iter().for_each(|warning| println!("warning: {}", OneLine(warning)));
    Ok(())
}

fn check_database(settings: &Settings) -> Result<(), StartError> {
    println!("{}", engine::check(settings)?);
    Ok(())
}
