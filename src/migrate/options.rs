//! The command line: the options of Python's `pyzor-migrate`, and our own.

use std::path::PathBuf;

use clap::Parser;
use pyzord_engines::registry::NAMES;

use super::moves::OnConflict;
use crate::help::Choices;

/// Move the records of one database to another.
///
/// An interrupted run can be repeated: it goes on where it stopped. A record that differs from the destination's stays in
/// the source, see --on-conflict; the exit status is 1 then.
#[derive(Parser)]
#[command(name = "pyzor-migrate", version, infer_long_args = true)]
pub(crate) struct MigrateOptions {
    /// Engine of the source: gdbm, sqlite, redis, redis_v0 or mysql.
    #[arg(long, visible_alias = "se", value_name = "ENGINE", value_parser = Choices(NAMES.to_vec()), hide_possible_values = true)]
    pub(crate) source_engine: String,
    /// Location of the source, as in the setting DigestDB. It must exist.
    #[arg(long, visible_alias = "sd", value_name = "DSN")]
    pub(crate) source_dsn: String,
    /// Engine of the destination.
    #[arg(long, visible_alias = "de", value_name = "ENGINE", value_parser = Choices(NAMES.to_vec()), hide_possible_values = true)]
    pub(crate) destination_engine: String,
    /// Location of the destination.
    #[arg(long, visible_alias = "dd", value_name = "DSN")]
    pub(crate) destination_dsn: String,
    /// Remove each record from the source once the destination holds it.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Read the source and say what would be done; write nothing.
    #[arg(long, conflicts_with = "delete")]
    pub(crate) dry_run: bool,
    /// What to do with a record that differs from the destination's.
    #[arg(long, value_enum, default_value_t = OnConflict::Keep, value_name = "WHAT")]
    pub(crate) on_conflict: OnConflict,
    /// With --delete: the file by which a migration that was interrupted goes on. By default it is beside the file of the
    /// destination, else of the source, else in the home directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Let the records of a redis destination expire after this many seconds; 0 is never.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) cleanup_age: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        MigrateOptions::command().debug_assert();
    }
}
