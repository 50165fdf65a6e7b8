//! Opens the engine that the settings name.

use pyzord_core::Store;
use pyzord_engines::registry;
use pyzord_runtime::Stores;

use crate::control::Lend;
use crate::settings::Settings;

/// The stores that requests ask, one for upkeep, and one to ask whether the database answers.
pub(crate) struct Engine {
    pub(crate) stores: Stores<Box<dyn Store>>,
    pub(crate) upkeep: Box<dyn Store>,
    pub(crate) probe: Box<dyn Store>,
    /// For `pyzorctl`, which cannot open a file that this process has.
    pub(crate) lend: Option<Lend>,
}

/// Opens the database, or says in one line why it cannot be. One on a server is connected to when it is first used:
/// pyzord starts without it and waits for it.
pub(crate) fn open(settings: &Settings) -> Result<Engine, String> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            let store = pyzord_engines::Gdbm::open(&settings.database).map_err(|error| error.to_string())?;
            Ok(shared(&store, settings.workers))
        }
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => {
            use pyzord_engines::redis::{Dsn, Options, Redis};
            let dsn = Dsn::parse(&settings.dsn).map_err(|error| dsn_error(&error))?;
            let options = Options::serving(settings.cleanup);
            let connect = if settings.engine == "redis" { Redis::new } else { Redis::v0 };
            Ok(remote(settings, || connect(&dsn, options)))
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(|error| dsn_error(&error))?;
            Ok(remote(settings, || Mysql::new(&dsn, Timeouts::SERVING)))
        }
        other => Err(unknown(other)),
    }
}

/// Looks at the database without changing it, for `--check-config`: what a start would find.
pub(crate) fn check(settings: &Settings) -> Result<String, String> {
    match settings.engine.as_str() {
        #[cfg(feature = "gdbm")]
        "gdbm" => check_gdbm(&settings.database),
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(|error| dsn_error(&error))?;
            // A server that is away does not keep pyzord from starting.
            let found = Mysql::new(&dsn, Timeouts::MIGRATING).check();
            Ok(found.unwrap_or_else(|failure| format!("warning: {failure}")))
        }
        #[cfg(feature = "redis")]
        engine @ ("redis" | "redis_v0") => check_redis(engine, &settings.dsn),
        other => Err(unknown(other)),
    }
}

/// Creates the table of the mysql engine, for `--create-table`.
pub(crate) fn create_table(settings: &Settings) -> Result<(), String> {
    match settings.engine.as_str() {
        #[cfg(feature = "mysql")]
        "mysql" => {
            use pyzord_engines::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(&settings.dsn).map_err(|error| dsn_error(&error))?;
            Mysql::new(&dsn, Timeouts::MIGRATING).create_table().map_err(|failure| failure.to_string())
        }
        other if registry::NAMES.contains(&other) => {
            Err(format!("option --create-table: the engine {other} has no table"))
        }
        other => Err(unknown(other)),
    }
}

#[cfg(feature = "gdbm")]
fn check_gdbm(path: &std::path::Path) -> Result<String, String> {
    use pyzord_engines::{Access, Gdbm, OpenCause};
    if std::fs::metadata(path).map_or(true, |file| file.is_file() && file.len() == 0) {
        return Ok(format!("database {} does not exist yet and will be created", path.display()));
    }
    match Gdbm::open_with(path, Access::Read) {
        Ok(_) => Ok(format!("database {} can be opened", path.display())),
        // A check beside a running server is the usual one, and a start would recover what is damaged.
        Err(error) if matches!(error.cause, OpenCause::InUse) => Ok(format!("warning: {error}")),
        Err(error) if matches!(error.cause, OpenCause::Damaged(_)) => Ok(format!("warning: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(feature = "redis")]
fn check_redis(engine: &str, dsn: &str) -> Result<String, String> {
    let parsed = pyzord_engines::redis::Dsn::parse(dsn).map_err(|error| dsn_error(&error))?;
    let access = registry::Access::Read;
    let mut database = registry::open_store(engine, dsn, access, None)
        .map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    database.fetch(&[pyzord_core::Digest::new([0; 20])], &mut answer);
    Ok(match answer.pop() {
        Some(Err(failure)) => format!("warning: {failure}"),
        _ => format!("{} answers", parsed.name()),
    })
}

/// All workers use one open file.
#[cfg(feature = "gdbm")]
fn shared<S: pyzord_engines::RecordStore + Clone + Sync + 'static>(store: &S, workers: usize) -> Engine {
    let boxed = || -> Box<dyn Store> { Box::new(store.clone()) };
    let stores = Stores::Local((0..workers).map(|_| boxed()).collect());
    let lent = store.clone();
    let lend: Lend = Box::new(move || Box::new(lent.clone()));
    Engine { stores, upkeep: boxed(), probe: boxed(), lend: Some(lend) }
}

/// Each store has a connection of its own.
#[cfg(any(feature = "redis", feature = "mysql"))]
fn remote<S: Store + 'static>(settings: &Settings, connect: impl Fn() -> S) -> Engine {
    let boxed = || -> Box<dyn Store> { Box::new(connect()) };
    let stores = (0..settings.connections).map(|_| boxed()).collect();
    // Nothing is connected before it is used.
    let stores = Stores::Remote { workers: settings.workers, stores };
    Engine { stores, upkeep: boxed(), probe: boxed(), lend: None }
}

#[cfg(any(feature = "redis", feature = "mysql"))]
fn dsn_error(error: &dyn std::fmt::Display) -> String {
    format!("DigestDB: {error}")
}

fn unknown(engine: &str) -> String {
    format!("Engine: {}", registry::UnknownEngine::new(engine))
}
