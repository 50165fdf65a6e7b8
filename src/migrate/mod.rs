//! The program `pyzor-migrate`: moves the records of one database to another, of any engine to any engine.

mod databases;
mod error;
mod migration;
mod options;
mod progress;

use std::process::ExitCode;

use clap::CommandFactory as _;

use self::databases::Databases;
use self::error::MigrateError;
use self::migration::{Migration, Totals};
pub(crate) use self::options::MigrateOptions;
use self::progress::ProgressDisplay;
use crate::logs::OneLine;
use crate::{command_line, stderr_logger};

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    MigrateOptions::command()
}

/// Runs the migration that the command line of this process asks for.
pub(crate) fn run() -> ExitCode {
    match migrate(&command_line::parse()) {
        Ok(Totals { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pyzor-migrate: {}", OneLine(error));
            ExitCode::FAILURE
        }
    }
}

fn migrate(options: &MigrateOptions) -> Result<Totals, MigrateError> {
    stderr_logger::install("pyzor-migrate")?;
    let mut databases = Databases::open(options)?;
    let display = ProgressDisplay::new(databases.source.estimate());
    let mut migration = Migration::new(&mut databases, options.delete, &display);
    let result = migration.run();
    let totals = migration.totals();
    display.finish();
    let Totals { transferred, failed } = totals;
    if let Err(error) = result {
        println!(
            "Migration incomplete, {transferred} records transferred successfully, {failed} records failed"
        );
        return Err(MigrateError::Interrupted(error));
    }
    if options.dry_run {
        println!("Dry run complete, {transferred} records would be transferred, {failed} records failed");
    } else {
        println!(
            "Migration complete, {transferred} records transferred successfully, {failed} records failed"
        );
    }
    Ok(totals)
}
