//! The two databases of a migration: opened, and proved to be two.

use pyzord_core::{CleanupAge, Digest, Record, Tally, UnixTime};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::{Access, check, open_store};

use super::error::{MigrateError, Side};
use super::options::MigrateOptions;
use crate::bulk::{fetch_one, put_one};

/// The databases of a migration.
pub(crate) struct Databases {
    pub(crate) source: Box<dyn RecordStore>,
    /// `None` in a dry run.
    pub(crate) destination: Option<Box<dyn RecordStore>>,
}

impl Databases {
    /// Opens both databases; in a dry run, only the source.
    pub(crate) fn open(options: &MigrateOptions) -> Result<Self, MigrateError> {
        let source_engine = options.source_engine.to_lowercase();
        let destination_engine = options.destination_engine.to_lowercase();
        let same_engine = source_engine == destination_engine;
        if same_engine && options.source_dsn == options.destination_dsn {
            return Err(MigrateError::SameDatabase);
        }
        let access = if options.delete { Access::Change } else { Access::Read };
        let source = open_store(&source_engine, &options.source_dsn, access, None);
        let mut source =
            source.map_err(|error| MigrateError::Open { side: Side::Source, cause: error.into() })?;
        let failed = |error| MigrateError::Open { side: Side::Destination, cause: error };
        check(&destination_engine, &options.destination_dsn).map_err(|error| failed(error.into()))?;
        // If the source is not available, no empty destination is created.
        fetch_one(&mut *source, random_digest()?)
            .map_err(|failure| MigrateError::Database(Side::Source.failed(failure)))?;
        if options.dry_run {
            return Ok(Self { source, destination: None });
        }
        let cleanup = CleanupAge::from_seconds(options.cleanup_age);
        let destination = open_store(&destination_engine, &options.destination_dsn, Access::Create, cleanup);
        let mut destination = destination.map_err(|error| failed(error.into()))?;
        if same_engine && is_same(&mut *source, &mut *destination)? {
            return Err(MigrateError::SameDatabase);
        }
        Ok(Self { source, destination: Some(destination) })
    }
}

/// Returns whether two databases of one engine are the same. A database server has many names, so a record is put into
/// the destination and looked for in the source. A mistake here would, with `--delete`, remove all records.
fn is_same(source: &mut dyn RecordStore, destination: &mut dyn RecordStore) -> Result<bool, MigrateError> {
    let digest = random_digest()?;
    let time = Some(UnixTime::from_seconds(1));
    let reports = Tally { count: 1, entered: time, updated: time };
    let put = put_one(destination, digest, &Record { reports, ..Record::default() });
    let found = fetch_one(source, digest);
    // The record is removed even if one of the two calls failed.
    let removed = destination.remove(&[digest]);
    put.and(removed).map_err(|failure| MigrateError::Database(Side::Destination.failed(failure)))?;
    let found = found.map_err(|failure| MigrateError::Database(Side::Source.failed(failure)))?;
    Ok(found != Record::default())
}

/// Returns a digest that no mail has.
fn random_digest() -> Result<Digest, getrandom::Error> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes)?;
    Ok(Digest::new(bytes))
}
