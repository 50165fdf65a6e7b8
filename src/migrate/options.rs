//! The command line: Python's options, and ours.

use std::hash::{BuildHasher as _, RandomState};

use clap::Parser;
use pyzord_core::{CleanupAge, Digest, Record, StoreFailure, Tally, UnixTime};
use pyzord_engines::RecordStore;
use pyzord_engines::registry::{Access, check, open_store};

/// Move the records of one database to another.
///
/// The destination's record of a digest is replaced, so an interrupted run can simply be repeated.
#[derive(Parser)]
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

type Databases = (Box<dyn RecordStore>, Option<Box<dyn RecordStore>>);

impl Options {
    /// Opens both databases; in a dry run, the source alone.
    pub(crate) fn open(&self) -> Result<Databases, String> {
        let [from, to] = [&self.source_engine, &self.destination_engine].map(|engine| engine.to_lowercase());
        if from == to && self.source_dsn == self.destination_dsn {
            return Err(SAME.to_owned());
        }
        let access = if self.delete { Access::Change } else { Access::Read };
        let mut source =
            open_store(&from, &self.source_dsn, access, None).map_err(|e| format!("source: {e}"))?;
        check(&to, &self.destination_dsn).map_err(|error| format!("destination: {error}"))?;
        // A source that is away must not leave an empty destination behind.
        fetch_one(&mut *source, random_digest()).map_err(|failure| format!("source: {failure}"))?;
        if self.dry_run {
            return Ok((source, None));
        }
        let destination =
            open_store(&to, &self.destination_dsn, Access::Create, CleanupAge::from_seconds(self.cleanup_age));
        let mut destination = destination.map_err(|error| format!("destination: {error}"))?;
        if from == to && is_same(&mut *source, &mut *destination)? {
            return Err(SAME.to_owned());
        }
        Ok((source, Some(destination)))
    }
}

const SAME: &str = "the source and the destination are the same database";

/// Whether two databases of one engine are one: a server has many names, so a mark is put into the destination and
/// looked for in the source. With `--delete` a mistake here would remove everything.
fn is_same(source: &mut dyn RecordStore, destination: &mut dyn RecordStore) -> Result<bool, String> {
    let mark = random_digest();
    let time = Some(UnixTime::from_seconds(1));
    let reports = Tally { count: 1, entered: time, updated: time };
    let mut put = Vec::new();
    destination.put(&[(mark, Record { reports, ..Record::default() })], &mut put);
    let seen = fetch_one(source, mark);
    let removed = destination.remove(&[mark]);
    put.pop().unwrap_or(Ok(())).and(removed).map_err(|failure| format!("destination: {failure}"))?;
    seen.map(|record| record != Record::default()).map_err(|failure| format!("source: {failure}"))
}

/// A digest that no mail has.
fn random_digest() -> Digest {
    let hasher = RandomState::new();
    Digest::new(std::array::from_fn(|index| hasher.hash_one(index).to_le_bytes()[0]))
}

fn fetch_one(database: &mut dyn RecordStore, digest: Digest) -> Result<Record, StoreFailure> {
    let mut fetched = Vec::new();
    database.fetch(&[digest], &mut fetched);
    fetched.pop().unwrap_or_else(|| Err(StoreFailure::new("no answer")))
}
