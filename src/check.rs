//! `--create-table`, and `--check-config`: everything that a start would read, and what it would say to it.

use std::process::ExitCode;

use crate::cli::Options;
use crate::home::Home;
use crate::logs::Logs;
use crate::settings::{Settings, Sources, shown};
use crate::{engine, forward, rules, start};

/// Prints what was found, every warning and every error; fails when a start would.
pub(crate) fn run(options: &Options) -> Result<ExitCode, String> {
    // What the libraries have to say goes to the terminal.
    Logs::install(None, None, options.debug, false)?;
    let home = Home::new(options.homedir.as_deref())?;
    println!("home directory: {}", home.path().display());
    let sources = Sources::read(&home, options.settings())?;
    print!("{sources}");
    for warning in sources.warnings() {
        println!("warning: {warning}");
    }
    let settings = Settings::new(&sources, &home, start::cpus())?;
    for note in &settings.notes {
        println!("note: {note}");
    }
    println!("workers: {}", settings.workers);
    println!("accounts file: {}", shown(settings.passwd_file.as_deref()));
    println!("access file: {}", shown(settings.access_file.as_deref()));
    let mut errors = Vec::new();
    match rules::read(&settings) {
        Ok((policy, warnings)) => {
            println!("accounts: {}", policy.accounts());
            warnings.iter().for_each(|warning| println!("warning: {warning}"));
        }
        Err(error) => errors.push(error),
    }
    match forward::read(&settings) {
        Ok(None) => (),
        Ok(Some(plan)) => {
            for server in &plan.servers {
                println!("forwards to: {}, time-out {} s", forward::said(server), plan.timeout.as_secs());
            }
            plan.warnings.iter().for_each(|warning| println!("warning: {warning}"));
        }
        Err(error) => errors.push(error),
    }
    match engine::check(&settings) {
        Ok(found) => println!("{found}"),
        Err(error) => errors.push(error),
    }
    errors.iter().for_each(|error| println!("error: {error}"));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Creates the table that the settings name.
pub(crate) fn create_table(options: &Options) -> Result<ExitCode, String> {
    let home = Home::new(options.homedir.as_deref())?;
    let settings = Settings::new(&Sources::read(&home, options.settings())?, &home, start::cpus())?;
    engine::create_table(&settings)?;
    println!("the table is there");
    Ok(ExitCode::SUCCESS)
}
