//! When a count is on the disk.

use std::fmt;

use thiserror::Error;

/// The names of all promises.
pub(crate) const NAMES: [&str; 2] = ["deferred", "strict"];

/// The promise of a reply to a count, which the engine sqlite keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Durability {
    /// The count is on the disk soon after the reply: a power loss takes the counts of the last moments.
    Deferred,
    /// The count is on the disk before the reply.
    Strict,
}

impl Durability {
    /// Returns the promise with this name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "deferred" => Some(Self::Deferred),
            "strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deferred => "deferred",
            Self::Strict => "strict",
        })
    }
}

/// A promise that is asked for, and that the engine does not make.
#[derive(Debug, Error)]
#[error("{asked} is a promise of the engine sqlite; {}", promise(engine))]
pub(crate) struct ForeignPromise {
    engine: String,
    pub(crate) asked: Durability,
}

impl ForeignPromise {
    /// Returns the promise that was asked for, unless it is the engine's.
    pub(super) fn find(engine: &str, asked: Option<Durability>) -> Option<Self> {
        let is_foreign = matches!(engine, "gdbm" | "redis" | "redis_v0" | "mysql");
        asked.filter(|_| is_foreign).map(|asked| Self { engine: engine.to_owned(), asked })
    }
}

/// Returns what a reply to a count promises with another engine than sqlite.
fn promise(engine: &str) -> &'static str {
    match engine {
        "gdbm" => {
            "with gdbm a count is on the disk only after a sync, some seconds later, and a power loss can damage older \
             records: use sqlite, or remove the setting"
        }
        "redis" | "redis_v0" => {
            "with redis the server decides: a count is on the disk before the reply with `appendfsync always`, and on N \
             replicas with wait-replicas=N in DigestDB: set it there, and remove the setting"
        }
        _ => {
            "with mysql the server decides: a count is on the disk before the reply with \
             innodb_flush_log_at_trx_commit=1, its default: set it there, and remove the setting"
        }
    }
}
