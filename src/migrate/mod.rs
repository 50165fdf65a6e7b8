//! `pyzor-migrate`: moves the records of one database to another, of any engine to any engine.

mod migration;
mod options;
mod progress;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::migration::{Migration, Totals};
use self::options::Options;
use self::progress::Progress;

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    Options::command()
}

/// Runs the migration that the command line of this process asks for.
pub(crate) fn run() -> ExitCode {
    let options = Options::parse();
    match migrate(&options) {
        Ok(totals) if totals.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pyzor-migrate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn migrate(options: &Options) -> Result<Totals, String> {
    Warnings::install()?;
    let (mut source, mut destination) = options.open()?;
    let progress = Progress::new(source.estimate());
    let migration = Migration { delete: options.delete, dry_run: options.dry_run, progress: &progress };
    let destination =
        destination.as_deref_mut().map(|destination| destination as &mut dyn pyzord_engines::RecordStore);
    let (totals, aborted) = migration.run(&mut *source, destination);
    progress.finish();
    let (done, failed) = (totals.transferred, totals.failed);
    if let Some(cause) = aborted {
        println!("Migration incomplete, {done} records transferred successfully, {failed} records failed");
        return Err(format!("{cause}; run it again to go on"));
    }
    if options.dry_run {
        println!("Dry run complete, {done} records would be transferred, {failed} records failed");
    } else {
        println!("Migration complete, {done} records transferred successfully, {failed} records failed");
    }
    Ok(totals)
}

/// What the engines have to say goes to standard error.
struct Warnings;

impl Warnings {
    fn install() -> Result<(), String> {
        log::set_max_level(log::LevelFilter::Warn);
        log::set_logger(&Self).map_err(|error| error.to_string())
    }
}

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("pyzor-migrate: {}", record.args());
        }
    }

    fn flush(&self) {}
}
