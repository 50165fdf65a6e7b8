//! The engines of this build, by the names that configuration files have for them.

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

/// One line that says that there is no such engine, and which there are.
#[must_use]
pub fn unknown(engine: &str) -> String {
    format!("this build has no engine `{}`; it has: {}", engine.escape_default(), NAMES.join(", "))
}

/// Opens a database to read or write whole records. `cleanup` is for the engines whose records expire by themselves.
///
/// Databases on a server are connected to when they are first used.
///
/// # Errors
/// When this build has no such engine, the DSN is not understood, or the database cannot be opened; in one line, and
/// never with a password.
pub fn open_store(
    engine: &str,
    dsn: &str,
    access: Access,
    cleanup: Option<CleanupAge>,
) -> Result<Box<dyn RecordStore>, String> {
    let _ = (dsn, access, cleanup);
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => {
            let opened = crate::Gdbm::open_with(dsn.as_ref(), access);
            Ok(Box::new(opened.map_err(|error| error.to_string())?))
        }
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => {
            use crate::redis::{Dsn, Options, Redis};
            let dsn = Dsn::parse(dsn).map_err(|error| error.to_string())?;
            let options = Options::migrating(cleanup);
            Ok(Box::new(if engine == "redis" { Redis::new(&dsn, options) } else { Redis::v0(&dsn, options) }))
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            use crate::mysql::{Dsn, Mysql, Timeouts};
            let dsn = Dsn::parse(dsn).map_err(|error| error.to_string())?;
            Ok(Box::new(Mysql::new(&dsn, Timeouts::MIGRATING)))
        }
        other => Err(unknown(other)),
    }
}

/// Whether this build has the engine and understands the DSN.
///
/// # Errors
/// Says what is wrong, in one line, and never with a password.
pub fn check(engine: &str, dsn: &str) -> Result<(), String> {
    let _ = dsn;
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => Ok(()),
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => crate::redis::Dsn::parse(dsn).map(drop).map_err(|error| error.to_string()),
        #[cfg(feature = "mysql")]
        "mysql" => crate::mysql::Dsn::parse(dsn).map(drop).map_err(|error| error.to_string()),
        other => Err(unknown(other)),
    }
}
