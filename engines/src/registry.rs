//! The engines of this build, by the names that configuration files use.

use pyzord_core::CleanupAge;

pub use crate::access::Access;
use crate::record_store::RecordStore;

/// The names of the engines of this build.
pub const NAMES: &[&str] = &[
    #[cfg(feature = "gdbm")]
    "gdbm",
    #[cfg(feature = "redis")]
    "redis",
    #[cfg(feature = "redis")]
    "redis_v0",
    #[cfg(feature = "mysql")]
    "mysql",
];

/// Why a database cannot be opened. Its message is one line without a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// This build has no engine of that name.
    #[error(transparent)]
    UnknownEngine(#[from] UnknownEngine),
    /// The gdbm file cannot be opened.
    #[cfg(feature = "gdbm")]
    #[error(transparent)]
    Gdbm(#[from] crate::gdbm::OpenError),
    /// The DSN of a redis database is not understood.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    RedisDsn(#[from] crate::redis::DsnError),
    /// The DSN of a table of MariaDB or MySQL is not understood.
    #[cfg(feature = "mysql")]
    #[error(transparent)]
    MysqlDsn(#[from] crate::mysql::DsnError),
}

/// The name of an engine that this build does not have. Its message lists those that it has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this build has no engine `{}`; it has: {}", name.escape_default(), NAMES.join(", "))]
pub struct UnknownEngine {
    name: String,
}

impl UnknownEngine {
    /// Returns the error about this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

/// Opens a database to read or write whole records. `cleanup` matters to engines whose records expire by
/// themselves.
///
/// A database on a server is connected to at the first use.
///
/// # Errors
/// If this build has no such engine, the DSN is not understood, or the file cannot be opened.
#[cfg_attr(
    not(all(feature = "gdbm", feature = "redis")),
    expect(
        unused_variables,
        reason = "only a file has an access mode, only redis expires records by itself"
    )
)]
pub fn open_store(
    engine: &str,
    dsn: &str,
    access: Access,
    cleanup: Option<CleanupAge>,
) -> Result<Box<dyn RecordStore>, RegistryError> {
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => Ok(Box::new(crate::gdbm::Gdbm::open_with(dsn.as_ref(), access)?)),
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => {
            use crate::redis::{Dsn, Options, Redis};
            let (dsn, options) = (Dsn::parse(dsn)?, Options::migrating(cleanup));
            Ok(Box::new(if engine == "redis" { Redis::new(&dsn, options) } else { Redis::v0(&dsn, options) }))
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use crate::mysql::{Dsn, Mysql, Timeouts};
            Ok(Box::new(Mysql::new(&Dsn::parse(dsn)?, Timeouts::MIGRATING)))
        }
        other => Err(UnknownEngine::new(other).into()),
    }
}

/// Checks that this build has the engine and that the DSN is understood. Opens nothing.
///
/// # Errors
/// If one of them is not so.
#[cfg_attr(
    not(any(feature = "redis", feature = "mysql")),
    expect(unused_variables, reason = "any path is a DSN of gdbm")
)]
pub fn check(engine: &str, dsn: &str) -> Result<(), RegistryError> {
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => Ok(()),
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => Ok(crate::redis::Dsn::parse(dsn).map(drop)?),
        #[cfg(feature = "mysql")]
        "mysql" => Ok(crate::mysql::Dsn::parse(dsn).map(drop)?),
        other => Err(UnknownEngine::new(other).into()),
    }
}
