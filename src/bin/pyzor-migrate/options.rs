//! The command line: Python's options, and ours.

use clap::Parser;
use pyzord_core::CleanupAge;
use pyzord_engines::{Bulk, registry};

/// Move the records of one database to another.
///
/// The destination's record of a digest is replaced, so an interrupted run can simply be repeated.
#[derive(Parser, Debug)]
#[command(name = "pyzor-migrate", version, infer_long_args = true)]
pub(crate) struct Options {
    /// Engine of the source: gdbm, redis, redis_v0 or mysql.
    #[arg(long, visible_alias = "se", value_name = "ENGINE")]
    source_engine: String,
    /// Where the source is: a setting DigestDB. It must exist.
    #[arg(long, visible_alias = "sd", value_name = "DSN")]
    source_dsn: String,
    /// Engine of the destination.
    #[arg(long, visible_alias = "de", value_name = "ENGINE")]
    destination_engine: String,
    /// Where the destination is.
    #[arg(long, visible_alias = "dd", value_name = "DSN")]
    destination_dsn: String,
    /// Remove each record from the source once the destination holds it.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Read the source and say what would be done; write nothing.
    #[arg(long, conflicts_with = "delete")]
    pub(crate) dry_run: bool,
    /// Have the records of a redis destination expire after this many seconds; 0 is never.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    cleanup_age: u64,
}

type Databases = (Box<dyn Bulk>, Option<Box<dyn Bulk>>);

impl Options {
    /// Opens both databases; in a dry run, the source alone.
    pub(crate) fn open(&self) -> Result<Databases, String> {
        let same = self.source_engine == self.destination_engine && self.source_dsn == self.destination_dsn;
        if same {
            return Err("the source and the destination are the same database".to_owned());
        }
        let access = if self.delete { registry::Access::Change } else { registry::Access::Read };
        let cleanup = CleanupAge(self.cleanup_age);
        let source = registry::open_bulk(&self.source_engine, &self.source_dsn, access, CleanupAge(0))
            .map_err(|error| format!("source: {error}"))?;
        let destination = if self.dry_run {
            registry::check(&self.destination_engine, &self.destination_dsn).map(|()| None)
        } else {
            registry::open_bulk(
                &self.destination_engine,
                &self.destination_dsn,
                registry::Access::Create,
                cleanup,
            )
            .map(Some)
        };
        Ok((source, destination.map_err(|error| format!("destination: {error}"))?))
    }
}
