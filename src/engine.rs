//! Opens the engine that the settings name.

use std::fmt;

use pyzord_core::Store;
use pyzord_engines::registry::{self, UnknownEngine};
use pyzord_runtime::Stores;
use thiserror::Error;

use crate::control::OpenHandle;
use crate::settings::Settings;

/// The stores of one database.
pub(crate) struct EngineStores {
    /// The stores that requests use.
    pub(crate) stores: Stores<Box<dyn Store>>,
    /// The store for syncs and expiry.
    pub(crate) upkeep: Box<dyn Store>,
    /// The store that the health check asks.
    pub(crate) probe: Box<dyn Store>,
    /// Gives `pyzorctl` access to a file that it cannot open while this process has it open.
    pub(crate) lend: Option<OpenHandle>,
}

/// Why a database cannot be used. No message holds a password.
#[derive(Debug, Error)]
pub(crate) enum EngineError {
    /// The gdbm file is the address of a database server.
    #[cfg(feature = "gdbm")]
    #[error("DigestDB: {0}")]
    Location(#[source] registry::RegistryError),
    /// The gdbm file cannot be opened.
    #[cfg(feature = "gdbm")]
    #[error("{0}")]
    Gdbm(#[source] pyzord_engines::OpenError),
    /// The DSN of redis is malformed.
    #[cfg(feature = "redis")]
    #[error("DigestDB: {0}")]
    RedisDsn(#[source] pyzord_engines::redis::DsnError),
    /// The redis database cannot be opened.
    #[cfg(feature = "redis")]
    #[error("{0}")]
    Redis(Box<dyn std::error::Error + Send + Sync>),
    /// The DSN of MySQL is malformed.
    #[cfg(feature = "mysql")]
    #[error("DigestDB: {0}")]
    MysqlDsn(#[source] pyzord_engines::mysql::DsnError),
    /// The table of MySQL cannot be created.
    #[cfg(feature = "mysql")]
    #[error("{0}")]
    CreateTable(#[source] pyzord_core::StoreFailure),
    /// The engine has no table that can be created.
    #[error("option --create-table: the engine {0} has no table")]
    NoTable(String),
    /// This build does not have the engine.
    #[error("Engine: {0}")]
    Unknown(#[from] UnknownEngine),
}

/// The report of `--check-config` about a database that a start can use.
pub(crate) enum DatabaseReport {
    /// The database is as it should be.
    Fine(String),
    /// The operator should know this; the server starts nevertheless.
    Warning(String),
}

impl DatabaseReport {
    #[cfg(any(feature = "gdbm", feature = "redis", feature = "mysql"))]
    fn warning(cause: &dyn fmt::Display) -> Self {
        Self::Warning(cause.to_string())
    }
}

impl fmt::Display for DatabaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine(text) => f.write_str(text),
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// Opens the database. A database server is connected to on first use: pyzord starts without it and waits for it.
pub(crate) fn open(settings: &Settings) -> Result<EngineStores, EngineError> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            registry::check("gdbm", &settings.dsn).map_err(EngineError::Location)?;
            let store = pyzord_engines::Gdbm::open(&settings.database).map_err(EngineError::Gdbm)?;
            Ok(local(&store, settings.workers))
        }
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => {
            use pyzord_engines::redis::{Dsn, Options, Redis};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::RedisDsn)?;
            let options = Options::serving(settings.cleanup);
            let connect = if settings.engine == "redis" { Redis::new } else { Redis::v0 };
            Ok(remote(settings, || connect(&dsn, options)))
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::MysqlDsn)?;
            Ok(remote(settings, || Mysql::new(&dsn, Timeouts::SERVING)))
        }
        other => Err(UnknownEngine::new(other).into()),
    }
}

/// Reads the database without changing it, for `--check-config`.
pub(crate) fn check(settings: &Settings) -> Result<DatabaseReport, EngineError> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            registry::check("gdbm", &settings.dsn).map_err(EngineError::Location)?;
            check_gdbm(&settings.database)
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::MysqlDsn)?;
            // pyzord starts while its database server is away.
            let checked = Mysql::new(&dsn, Timeouts::MIGRATING).check();
            Ok(checked.map_or_else(|failure| DatabaseReport::warning(&failure), DatabaseReport::Fine))
        }
        #[cfg(feature = "redis")]
        engine @ ("redis" | "redis_v0") => check_redis(engine, &settings.dsn),
        other => Err(UnknownEngine::new(other).into()),
    }
}

/// Creates the table of the mysql engine, for `--create-table`.
pub(crate) fn create_table(settings: &Settings) -> Result<(), EngineError> {
    match settings.engine.as_str() {
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::MysqlDsn)?;
            Mysql::new(&dsn, Timeouts::MIGRATING).create_table().map_err(EngineError::CreateTable)
        }
        other if registry::NAMES.contains(&other) => Err(EngineError::NoTable(other.to_owned())),
        other => Err(UnknownEngine::new(other).into()),
    }
}

#[cfg(feature = "gdbm")]
fn check_gdbm(path: &std::path::Path) -> Result<DatabaseReport, EngineError> {
    use pyzord_engines::{Access, Gdbm, OpenCause};
    let name = path.display();
    // An error other than an absent file comes again below, from the attempt to open it.
    let absent = match std::fs::metadata(path) {
        Ok(file) => file.is_file() && file.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if absent {
        return Ok(DatabaseReport::Fine(format!("database {name} does not exist yet and will be created")));
    }
    match Gdbm::open_with(path, Access::Read) {
        Ok(_) => Ok(DatabaseReport::Fine(format!("database {name} can be opened"))),
        // A running server has the file open, and a start recovers a damaged one.
        Err(error)
            if matches!(error.cause, OpenCause::InUse | OpenCause::Damaged(_) | OpenCause::Unfinished) =>
        {
            Ok(DatabaseReport::warning(&error))
        }
        Err(error) => Err(EngineError::Gdbm(error)),
    }
}

#[cfg(feature = "redis")]
fn check_redis(engine: &str, dsn: &str) -> Result<DatabaseReport, EngineError> {
    let parsed = pyzord_engines::redis::Dsn::parse(dsn).map_err(EngineError::RedisDsn)?;
    let opened = registry::open_store(engine, dsn, registry::Access::Read, None);
    let mut database = opened.map_err(|error| EngineError::Redis(error.into()))?;
    let mut answers = Vec::new();
    database.fetch(&[pyzord_core::Digest::new([0; 20])], &mut answers);
    debug_assert_eq!(answers.len(), 1, "one answer for each digest");
    Ok(match answers.pop() {
        Some(Ok(_)) => DatabaseReport::Fine(format!("{} answers", parsed.name())),
        Some(Err(failure)) => DatabaseReport::warning(&failure),
        None => {
            DatabaseReport::Warning(format!("{}: internal error: the engine gave no answer", parsed.name()))
        }
    })
}

/// Returns stores that share one open file.
#[cfg(feature = "gdbm")]
fn local<S: pyzord_engines::RecordStore + Clone + Sync + 'static>(store: &S, workers: usize) -> EngineStores {
    let boxed = || -> Box<dyn Store> { Box::new(store.clone()) };
    let stores = Stores::Local { workers: (0..workers).map(|_| boxed()).collect(), large: boxed() };
    let lent = store.clone();
    let lend: OpenHandle = Box::new(move || Box::new(lent.clone()));
    EngineStores { stores, upkeep: boxed(), probe: boxed(), lend: Some(lend) }
}

/// Returns stores that have a connection each, made on first use.
#[cfg(any(feature = "redis", feature = "mysql"))]
fn remote<S: Store + 'static>(settings: &Settings, connect: impl Fn() -> S) -> EngineStores {
    let boxed = || -> Box<dyn Store> { Box::new(connect()) };
    let stores = (0..settings.connections).map(|_| boxed()).collect();
    let stores = Stores::Remote { workers: settings.workers, stores };
    EngineStores { stores, upkeep: boxed(), probe: boxed(), lend: None }
}
