//! The engines of this build, by the names that configuration files use.

use pyzord_core::CleanupAge;

pub use crate::access::Access;
use crate::record_store::RecordStore;

/// The names of the engines of this build.
pub const NAMES: &[&str] = &[
    #[cfg(feature = "gdbm")]
    "gdbm",
    #[cfg(feature = "sqlite")]
    "sqlite",
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
    /// The location of a file is the address of a database server.
    #[cfg(any(feature = "gdbm", feature = "sqlite"))]
    #[error(
        "it is the address of a database server, and the engine is {engine}, which takes a file: name the engine"
    )]
    NotAFile {
        /// The engine.
        engine: &'static str,
    },
    /// The gdbm file cannot be opened.
    #[cfg(feature = "gdbm")]
    #[error(transparent)]
    Gdbm(#[from] crate::gdbm::OpenError),
    /// The SQLite database cannot be opened.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Sqlite(#[from] crate::sqlite::OpenError),
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
#[error("this build has no engine {}; it has: {}", quoted(name), NAMES.join(", "))]
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

/// Returns a name between quotes. What is no name may be a misplaced DSN, with a password.
fn quoted(name: &str) -> String {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte));
    if is_name { format!("`{name}`") } else { "of this name (not shown: it may be a DSN)".to_owned() }
}

/// Opens a database to read or write whole records. `cleanup` matters to engines whose records expire by
/// themselves.
///
/// A database on a server is connected to at the first use.
///
/// # Errors
/// If this build has no such engine, the DSN is not understood, or the file cannot be opened.
#[cfg_attr(
    not(all(any(feature = "gdbm", feature = "sqlite"), feature = "redis")),
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
    check(engine, dsn)?;
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => Ok(Box::new(crate::gdbm::Gdbm::open_with(dsn.as_ref(), access)?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(crate::sqlite::Sqlite::open_patiently(dsn.as_ref(), access)?)),
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

/// Returns whether the databases of an engine are files. Its name is in lower case.
#[must_use]
pub fn is_file(engine: &str) -> bool {
    matches!(engine, "gdbm" | "sqlite")
}

/// Checks that this build has the engine and that the DSN is understood. Opens nothing.
///
/// # Errors
/// If one of them is not so.
pub fn check(engine: &str, dsn: &str) -> Result<(), RegistryError> {
    match engine {
        #[cfg(feature = "gdbm")]
        "gdbm" => check_file("gdbm", dsn),
        #[cfg(feature = "sqlite")]
        "sqlite" => check_file("sqlite", dsn),
        #[cfg(feature = "redis")]
        "redis" | "redis_v0" => Ok(crate::redis::Dsn::parse(dsn).map(drop)?),
        #[cfg(feature = "mysql")]
        "mysql" => Ok(crate::mysql::Dsn::parse(dsn).map(drop)?),
        other => Err(UnknownEngine::new(other).into()),
    }
}

/// Checks that a location can be a file of the engine.
#[cfg(any(feature = "gdbm", feature = "sqlite"))]
fn check_file(engine: &'static str, location: &str) -> Result<(), RegistryError> {
    if is_server_address(location) { Err(RegistryError::NotAFile { engine }) } else { Ok(()) }
}

/// Returns whether the location of a file is the address of a database server instead, whose password would become a
/// part of the file's name.
#[cfg(any(feature = "gdbm", feature = "sqlite"))]
fn is_server_address(text: &str) -> bool {
    let has = |separators: &[char], most: usize| {
        separators.iter().any(|separator| text.split(*separator).count() > most)
    };
    text.contains("://")
        || has(&[',', ';'], 2)
        || !text.starts_with(['/', '.', '~']) && (has(&[':', '@'], 1) || has(&[' ', '\t', '|'], 3))
}

#[cfg(all(test, feature = "gdbm"))]
mod tests {
    use super::*;

    /// An operator forgets `Engine`: the password was in the name of the file, which logs show.
    #[test]
    fn the_address_of_a_server_is_no_gdbm_file() {
        for dsn in [
            "127.0.0.1,6379,secret,0",
            "127.0.0.1;6379;secret",
            "127.0.0.1:6379",
            "127.0.0.1 6379 secret 0",
            "127.0.0.1\t6379\tsecret\t0",
            "localhost,user,secret,pyzor,digests",
            "/run/redis.sock,,secret,0",
            ":secret@127.0.0.1",
            "redis://:secret@127.0.0.1/0",
            "other:secret",
        ] {
            for error in [check("gdbm", dsn).err(), open_store("gdbm", dsn, Access::Read, None).err()] {
                let error = error.unwrap();
                assert!(
                    matches!(error, RegistryError::NotAFile { engine: "gdbm" })
                        && !error.to_string().contains("secret"),
                    "{dsn}"
                );
            }
        }
        for file in
            ["pyzord.db", "/srv/a,b/py zord.db", "/srv/a:b c d/x@y", "my spam data.db", "./a:b", "a,b"]
        {
            assert!(check("gdbm", file).is_ok(), "{file}");
        }
    }

    #[test]
    fn an_engine_that_is_a_dsn_is_not_shown() {
        assert!(UnknownEngine::new("dbm.old").to_string().contains("`dbm.old`"));
        for name in ["redis://:secret@h", "127.0.0.1,1,secret", "redis secret", "redis\nsecret"] {
            assert!(!UnknownEngine::new(name).to_string().contains("secret"), "{name}");
        }
    }
}
