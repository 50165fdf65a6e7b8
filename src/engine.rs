//! Opens the engine that the settings name.

use std::path::Path;

use pyzord_core::Store;
#[cfg(any(feature = "redis", feature = "mysql"))]
use pyzord_core::StoreFailure;
use pyzord_engines::registry::{self, UnknownEngine};
use pyzord_runtime::Stores;
use thiserror::Error;

use crate::control::OpenHandle;
use crate::settings::{Durability, ForeignPromise, Setting, Settings};
#[cfg(any(feature = "gdbm", feature = "sqlite"))]
use crate::write_access;

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
    /// The file is the address of a database server.
    #[cfg(any(feature = "gdbm", feature = "sqlite"))]
    #[error("{0}")]
    Location(#[source] registry::RegistryError),
    /// The gdbm file cannot be opened.
    #[cfg(feature = "gdbm")]
    #[error("{0}")]
    Gdbm(#[source] pyzord_engines::OpenError),
    /// The SQLite database cannot be opened.
    #[cfg(feature = "sqlite")]
    #[error("{0}")]
    Sqlite(#[source] pyzord_engines::sqlite::OpenError),
    /// The DSN of redis is malformed.
    #[cfg(feature = "redis")]
    #[error("{0}")]
    RedisDsn(#[source] pyzord_engines::redis::DsnError),
    /// The DSN of MySQL is malformed.
    #[cfg(feature = "mysql")]
    #[error("{0}")]
    MysqlDsn(#[source] pyzord_engines::mysql::DsnError),
    /// The table of MySQL cannot be created.
    #[cfg(feature = "mysql")]
    #[error("{0}")]
    CreateTable(#[source] pyzord_core::StoreFailure),
    /// The engine does not keep the promise that the settings ask for.
    #[error("{0}")]
    Promise(#[source] ForeignPromise),
    /// The engine has no table that can be created.
    #[error("option --create-table: the engine {0} has no table")]
    NoTable(String),
    /// This build does not have the engine.
    #[error("{0}")]
    Unknown(#[from] UnknownEngine),
}

impl EngineError {
    /// Returns the setting whose value is the cause.
    pub(crate) fn setting(&self) -> Option<Setting> {
        match self {
            #[cfg(any(feature = "gdbm", feature = "sqlite"))]
            Self::Location(_) => Some(Setting::DigestDB),
            #[cfg(feature = "redis")]
            Self::RedisDsn(_) => Some(Setting::DigestDB),
            #[cfg(feature = "mysql")]
            Self::MysqlDsn(_) => Some(Setting::DigestDB),
            Self::Promise(_) => Some(Setting::Durability),
            Self::Unknown(_) => Some(Setting::Engine),
            _ => None,
        }
    }
}

/// The report of `--check-config` about a database with which a start succeeds.
#[derive(Default)]
pub(crate) struct DatabaseReport {
    /// The state of a database that can be used.
    pub(crate) state: Option<String>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl DatabaseReport {
    #[cfg(any(feature = "gdbm", feature = "sqlite"))]
    fn fine(state: String) -> Self {
        Self { state: Some(state), warnings: Vec::new() }
    }

    #[cfg(any(feature = "gdbm", feature = "sqlite", feature = "redis", feature = "mysql"))]
    fn warning(cause: &dyn std::fmt::Display) -> Self {
        Self { state: None, warnings: vec![cause.to_string()] }
    }

    /// Returns the report about a database server. A start succeeds while it is away.
    #[cfg(any(feature = "redis", feature = "mysql"))]
    fn of_server(checked: Result<(String, Vec<StoreFailure>), StoreFailure>) -> Self {
        match checked {
            Ok((state, refused)) => {
                Self { state: Some(state), warnings: refused.iter().map(ToString::to_string).collect() }
            }
            Err(failure) => Self::warning(&failure),
        }
    }
}

/// Opens the database. A database server is connected to on first use: pyzord starts without it and waits for it.
pub(crate) fn open(settings: &Settings) -> Result<EngineStores, EngineError> {
    if let Some(promise) = possible_promise(settings)? {
        log::warn!("{}: {promise}", Setting::Durability);
    }
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            registry::check("gdbm", &settings.dsn).map_err(EngineError::Location)?;
            let store = pyzord_engines::Gdbm::open(&settings.database).map_err(EngineError::Gdbm)?;
            Ok(local(&store, settings.workers))
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => open_sqlite(settings),
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
            let first = Mysql::new(&dsn, Timeouts::SERVING);
            // A server whose records never expire leaves expiry to others.
            let first = if settings.cleanup.is_some() { first.sharing_expiry() } else { first };
            Ok(remote(settings, || first.another()))
        }
        other => Err(UnknownEngine::new(other).into()),
    }
}

/// Returns a promise that is not the engine's, if it is one that can be ignored.
///
/// # Errors
/// If counts would be acknowledged earlier than the settings ask for.
fn possible_promise(settings: &Settings) -> Result<Option<ForeignPromise>, EngineError> {
    match settings.foreign_promise() {
        Some(promise) if promise.asked == Durability::Strict => Err(EngineError::Promise(promise)),
        promise => Ok(promise),
    }
}

/// Tries all that a start and serving need, and leaves no record in the database. `home` may be created before a file.
pub(crate) fn check(settings: &Settings, home: &Path) -> Result<DatabaseReport, EngineError> {
    let promise = possible_promise(settings)?;
    let mut report = check_database(settings, home)?;
    report.warnings.extend(promise.map(|promise| format!("{}: {promise}", Setting::Durability)));
    Ok(report)
}

#[cfg_attr(
    not(any(feature = "gdbm", feature = "sqlite")),
    expect(unused_variables, reason = "no other engine makes a file")
)]
fn check_database(settings: &Settings, home: &Path) -> Result<DatabaseReport, EngineError> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            registry::check("gdbm", &settings.dsn).map_err(EngineError::Location)?;
            check_gdbm(&settings.database, home)
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            registry::check("sqlite", &settings.dsn).map_err(EngineError::Location)?;
            check_sqlite(&settings.database, home)
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::MysqlDsn)?;
            let mut database = Mysql::new(&dsn, Timeouts::MIGRATING);
            let mut check = || Ok((database.check()?, database.refusals(settings.cleanup.is_some())?));
            Ok(DatabaseReport::of_server(check()))
        }
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => {
            use pyzord_engines::redis::{Dsn, Options, Redis};
            let dsn = Dsn::parse(&settings.dsn).map_err(EngineError::RedisDsn)?;
            let connect = if settings.engine == "redis" { Redis::new } else { Redis::v0 };
            Ok(DatabaseReport::of_server(connect(&dsn, Options::migrating(settings.cleanup)).check()))
        }
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
fn check_gdbm(path: &Path, home: &Path) -> Result<DatabaseReport, EngineError> {
    use pyzord_engines::{Access, Gdbm, OpenCause, OpenError};
    let name = path.display();
    let failed =
        |cause: std::io::Error| EngineError::Gdbm(OpenError { path: path.to_owned(), cause: cause.into() });
    if write_access::is_absent(path) {
        write_access::check(path, home).map_err(failed)?;
        return Ok(DatabaseReport::fine(format!("database {name} does not exist yet and will be created")));
    }
    let opened = Gdbm::open_with(path, Access::Read);
    // What is no database, a folder for example, is the first cause.
    let writable = || write_access::check(path, home).map_err(failed);
    let Err(error) = opened else {
        writable()?;
        return Ok(DatabaseReport::fine(format!("database {name} can be opened")));
    };
    match error.cause {
        // A running server has the file open, and a start mends it.
        OpenCause::InUse | OpenCause::Unfinished | OpenCause::CreationCutShort => writable()?,
        // A start recovers it, and keeps a backup beside it.
        OpenCause::Damaged(_) => {
            writable()?;
            let target = std::fs::canonicalize(path).map_err(failed)?;
            write_access::check_folder(write_access::folder(&target)).map_err(failed)?;
        }
        _ => return Err(EngineError::Gdbm(error)),
    }
    Ok(DatabaseReport::warning(&error))
}

/// The most threads that count in a SQLite database. One that waits for a sync lets another one write.
#[cfg(feature = "sqlite")]
const MOST_WRITERS: usize = 8;

#[cfg(feature = "sqlite")]
fn open_sqlite(settings: &Settings) -> Result<EngineStores, EngineError> {
    use pyzord_engines::sqlite::{Durability, Options, Sqlite};
    registry::check("sqlite", &settings.dsn).map_err(EngineError::Location)?;
    let strict = settings.durability == Some(crate::settings::Durability::Strict);
    let options = Options {
        access: pyzord_engines::Access::Create,
        durability: if strict { Durability::Strict } else { Durability::Deferred },
        cache: settings.cache,
        handles: settings.workers,
    };
    let store = Sqlite::open(&settings.database, options).map_err(EngineError::Sqlite)?;
    let sparing = || -> Box<dyn Store> { Box::new(store.sparing()) };
    let stores = Stores::Split {
        readers: (0..settings.workers).map(|_| -> Box<dyn Store> { Box::new(store.clone()) }).collect(),
        // They take turns: more of them only wait.
        writers: (0..settings.connections.min(MOST_WRITERS)).map(|_| sparing()).collect(),
    };
    Ok(EngineStores { stores, upkeep: sparing(), probe: sparing(), lend: None })
}

#[cfg(feature = "sqlite")]
fn check_sqlite(path: &Path, home: &Path) -> Result<DatabaseReport, EngineError> {
    use pyzord_engines::sqlite::{OpenCause, OpenError, Options};
    use pyzord_engines::{Access, Sqlite};
    let name = path.display();
    let failed =
        |cause: std::io::Error| EngineError::Sqlite(OpenError { path: path.to_owned(), cause: cause.into() });
    let writable = || write_access::check_database(path, home).map_err(failed);
    let is_new =
        || Ok(DatabaseReport::fine(format!("database {name} does not exist yet and will be created")));
    if write_access::is_absent(path) {
        pyzord_engines::sqlite::check_absent(path).map_err(EngineError::Sqlite)?;
        writable()?;
        return is_new();
    }
    match Sqlite::open(path, Options::alone(Access::Read)).map_err(|error| (error.cause, error.path)) {
        Ok(_) => {
            writable()?;
            Ok(DatabaseReport::fine(format!("database {name} can be opened")))
        }
        // Its creation was cut short.
        Err((OpenCause::Empty, _)) => writable().and_then(|()| is_new()),
        Err((cause @ OpenCause::Busy, path)) => {
            writable()?;
            Ok(DatabaseReport::warning(&OpenError { path, cause }))
        }
        Err((cause, path)) => Err(EngineError::Sqlite(OpenError { path, cause })),
    }
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
