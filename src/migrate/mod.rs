//! The program `pyzor-migrate`: moves the records of one database to another, of any engine to any engine.

mod databases;
mod error;
mod journal;
mod migration;
mod moves;
mod options;
mod progress;
mod transfer;

use std::process::ExitCode;

use clap::CommandFactory as _;

use self::databases::{Databases, journal_path, name};
use self::error::MigrateError;
use self::journal::Journal;
use self::migration::{Migration, Totals};
use self::moves::OnConflict;
pub(crate) use self::options::MigrateOptions;
use self::progress::ProgressDisplay;
use crate::folder_owner;
use crate::logs::OneLine;
use crate::output::complain;
use crate::{command_line, stderr_logger};

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    MigrateOptions::command()
}

/// Runs the migration that the command line of this process asks for.
pub(crate) fn run() -> ExitCode {
    match migrate(&command_line::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain!("pyzor-migrate: {}", OneLine(error));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every record was moved, and every line written.
fn migrate(options: &MigrateOptions) -> Result<bool, MigrateError> {
    stderr_logger::install("pyzor-migrate")?;
    if options.on_conflict == OnConflict::Add && !options.delete && !options.dry_run {
        return Err(MigrateError::AddWithoutDelete);
    }
    let mut databases = Databases::open(options)?;
    let (journal, interrupted) = if options.delete { open_journal(options)? } else { (None, Vec::new()) };
    let display = ProgressDisplay::new(databases.source.estimate());
    let mut migration = Migration::new(&mut databases, options, journal, &display);
    let result = migration.run(&interrupted);
    let totals = migration.totals();
    display.finish();
    say_totals(options, totals, result.is_ok(), &display);
    result?;
    let kept = options.on_conflict == OnConflict::Keep && totals.conflicts > 0;
    Ok(totals.failed == 0 && !kept && !display.lines.have_failed())
}

fn open_journal(options: &MigrateOptions) -> Result<(Option<Journal>, Vec<moves::Move>), MigrateError> {
    let source = name(&options.source_engine, &options.source_dsn);
    let destination = name(&options.destination_engine, &options.destination_dsn);
    let names = [&*source, &*destination];
    let path = journal_path(options, names)?;
    let is_new = !path.exists();
    let (journal, interrupted) = Journal::open(&path, names)?;
    if is_new {
        folder_owner::give(None, &path);
    }
    Ok((Some(journal), interrupted))
}

fn say_totals(options: &MigrateOptions, totals: Totals, complete: bool, display: &ProgressDisplay) {
    let Totals { transferred, failed, conflicts } = totals;
    if conflicts > 0 {
        let would = if options.dry_run { "would be" } else { "were" };
        let done = options.on_conflict.done();
        display.print(format_args!(
            "{conflicts} records of which the destination has another one {would} {done}; see --on-conflict"
        ));
    }
    let (what, moved) = match (complete, options.dry_run) {
        (false, _) => ("Migration incomplete", "transferred successfully"),
        (true, true) => ("Dry run complete", "would be transferred"),
        (true, false) => ("Migration complete", "transferred successfully"),
    };
    display.print(format_args!("{what}, {transferred} records {moved}, {failed} records failed"));
}
