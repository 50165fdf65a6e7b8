//! The two databases of a migration: opened, and proved to be two.

use std::fs;
use std::path::{Path, PathBuf};

use pyzord_core::{CleanupAge, Digest, Record, Tally, UnixTime};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::{self, Access, check, open_store};

use super::error::{MigrateError, Side};
use super::options::MigrateOptions;
use crate::bulk::{fetch, fetch_one, put_one};
use crate::folder_owner;
use crate::home::Home;
use crate::output::complain;

/// The digest of the mark by which one database under two names is recognised; no mail has it.
const MARK: [u8; 20] = *b"pyzor-migrate's mark";
/// More than any count of a mark, which fits into the smallest columns.
const MOST_MARKS: u32 = 1 << 30;

/// The databases of a migration.
pub(crate) struct Databases {
    pub(crate) source: Box<dyn RecordStore>,
    /// In a dry run it is only read, and `None` if there is none or it cannot be read.
    pub(crate) destination: Option<Box<dyn RecordStore>>,
    /// Whether they may be one.
    doubtful: bool,
}

impl Databases {
    /// Opens both databases.
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
        fetch_one(&mut *source, Digest::new(MARK))
            .map_err(|failure| MigrateError::Database(Side::Source.failed(failure)))?;
        let file = registry::is_file(&destination_engine).then(|| Path::new(&options.destination_dsn));
        if options.dry_run {
            let destination = readable(&destination_engine, &options.destination_dsn, file);
            return Ok(Self { source, destination, doubtful: false });
        }
        let new_file = file.filter(|file| !file.exists());
        let cleanup = CleanupAge::from_seconds(options.cleanup_age);
        let destination = open_store(&destination_engine, &options.destination_dsn, Access::Create, cleanup);
        let destination = destination.map_err(|error| failed(error.into()))?;
        new_file.into_iter().for_each(|file| folder_owner::give_database("pyzor-migrate", file));
        Ok(Self { source, destination: Some(destination), doubtful: same_engine })
    }

    /// Returns one of the two.
    pub(super) fn side(&mut self, side: Side) -> Option<&mut (dyn RecordStore + 'static)> {
        match side {
            Side::Source => Some(&mut *self.source),
            Side::Destination => self.destination.as_deref_mut(),
        }
    }

    /// Fails if both are one database, before the first records are moved.
    pub(crate) fn check_different(&mut self, records: &[(Digest, Record)]) -> Result<(), MigrateError> {
        let Some(destination) = self.destination.as_deref_mut().filter(|_| self.doubtful) else {
            return Ok(());
        };
        // A run that was killed may have left its mark.
        let failed = |failure| MigrateError::Database(Side::Destination.failed(failure));
        if fetch_one(destination, Digest::new(MARK)).map_err(failed)? != Record::default() {
            destination.remove(&[Digest::new(MARK)]).map_err(failed)?;
        }
        let digests: Vec<Digest> = records.iter().map(|(digest, _)| *digest).collect();
        let held = fetch(destination, &digests).map_err(failed)?;
        let same = held
            .iter()
            .zip(records)
            .all(|(held, (_, record))| held.as_ref().is_ok_and(|held| *held == destination.rounded(record)));
        if same && is_same(&mut *self.source, destination)? {
            return Err(MigrateError::SameDatabase);
        }
        self.doubtful = false;
        Ok(())
    }
}

/// Opens the destination of a dry run, which may be created only later.
fn readable(engine: &str, dsn: &str, file: Option<&Path>) -> Option<Box<dyn RecordStore>> {
    if file.is_some_and(|file| !file.exists()) {
        return None;
    }
    let cause = match open_store(engine, dsn, Access::Read, None) {
        Ok(mut destination) => match fetch_one(&mut *destination, Digest::new(MARK)) {
            Ok(_) => return Some(destination),
            Err(failure) => failure.to_string(),
        },
        Err(error) => error.to_string(),
    };
    complain!("pyzor-migrate: destination: {cause}; records that it has already are not looked for");
    None
}

/// Returns whether a key is that of the mark, which a run that was killed may have left.
pub(crate) fn is_mark(digest: Digest) -> bool {
    *digest.as_bytes() == MARK
}

/// Returns whether two databases of one engine are the same. A database server has many names, so a mark is put into the
/// destination and looked for in the source. A mistake here would, with `--delete`, remove all records.
fn is_same(source: &mut dyn RecordStore, destination: &mut dyn RecordStore) -> Result<bool, MigrateError> {
    let digest = Digest::new(MARK);
    let time = Some(UnixTime::from_seconds(1));
    let count = u64::from(1 + getrandom::u32()? % MOST_MARKS);
    let mark = Record { reports: Tally { count, entered: time, updated: time }, ..Record::default() };
    let put = put_one(destination, digest, &mark);
    let found = fetch_one(source, digest);
    // The mark is removed even if one of the two calls failed.
    let removed = destination.remove(&[digest]);
    put.and(removed).map_err(|failure| MigrateError::Database(Side::Destination.failed(failure)))?;
    let found = found.map_err(|failure| MigrateError::Database(Side::Source.failed(failure)))?;
    Ok(found.reports.count == count)
}

/// Returns the name of a database for messages and the journal, without a password.
pub(crate) fn name(engine: &str, dsn: &str) -> String {
    let engine = engine.to_lowercase();
    let name = match engine.as_str() {
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => pyzord_engines::redis::Dsn::parse(dsn).ok().map(|dsn| dsn.name()),
        #[cfg(feature = "mysql")]
        "mysql" => pyzord_engines::mysql::Dsn::parse(dsn).ok().map(|dsn| dsn.name()),
        file if registry::is_file(file) => fs::canonicalize(dsn).ok().map(|path| path.display().to_string()),
        _ => None,
    };
    format!("{engine} {}", name.unwrap_or_else(|| dsn.to_owned()))
}

/// Returns where the journal of a migration is, unless an option says it: beside the file of the destination or else of the
/// source, or in the home directory.
pub(crate) fn journal_path(options: &MigrateOptions, names: [&str; 2]) -> Result<PathBuf, MigrateError> {
    if let Some(path) = &options.journal {
        return Ok(path.clone());
    }
    for (engine, dsn) in [
        (&options.destination_engine, &options.destination_dsn),
        (&options.source_engine, &options.source_dsn),
    ] {
        if registry::is_file(&engine.to_lowercase()) {
            return Ok(format!("{dsn}.migration").into());
        }
    }
    let printable = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = names.join(" to ").chars().map(printable).take(200).collect();
    let file = format!("{name}.migration");
    // An interrupted migration goes on by the journal that it has, whichever folder got a configuration file since.
    let own = Home::new(None)?.path().join(&file);
    if own.exists() {
        return Ok(own);
    }
    let home = Home::for_tools(None)?;
    home.create()?;
    Ok(home.path().join(file))
}
