//! The server's database, opened beside the server or used through it.

use std::error::Error as StdError;
use std::io;
use std::thread;
use std::time::Duration;

use pyzord_core::{Progress, StoreFailure, Task};
use pyzord_engines::registry::{self, Access, check, open_store};
use pyzord_engines::{RecordStore, StoredEntry};
use thiserror::Error;

use super::context::Context;
use crate::control::ControlClient;
use crate::settings::Settings;
use crate::write_access;

/// The time between two attempts to open a file that another process has open.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The name of a database whose engine or DSN is not known.
const UNKNOWN: &str = "(not understood)";

/// Why a database cannot be opened. The message names it, without a password.
#[derive(Debug, Error)]
#[cfg_attr(
    not(feature = "gdbm"),
    expect(dead_code, reason = "only gdbm has a lock, and only files are damaged")
)]
pub(crate) enum OpenError {
    /// Another process has the file open, and no server gives access to it.
    #[error("{error}, and no pyzord gives access to it at {control}")]
    InUse { error: Cause, control: Cause },
    /// The server would recover the file when it starts.
    #[error(transparent)]
    Damaged(Cause),
    #[error(transparent)]
    Unusable(Cause),
}

type Cause = Box<dyn StdError + Send + Sync>;

impl Context {
    /// Returns the name of the database for messages, without a password.
    pub(crate) fn database_name(&self) -> String {
        match self.settings.engine.as_str() {
            file if registry::is_file(file) => match check(file, &self.settings.dsn) {
                Ok(()) => self.settings.database.display().to_string(),
                Err(_) => UNKNOWN.to_owned(),
            },
            #[cfg(feature = "redis")]
            "redis" | "redis_v0" => pyzord_engines::redis::Dsn::parse(&self.settings.dsn)
                .map_or_else(|_| UNKNOWN.to_owned(), |dsn| dsn.name()),
            #[cfg(feature = "mysql")]
            "mysql" => pyzord_engines::mysql::Dsn::parse(&self.settings.dsn)
                .map_or_else(|_| UNKNOWN.to_owned(), |dsn| dsn.name()),
            _ => UNKNOWN.to_owned(),
        }
    }

    /// Opens the database. A gdbm file that a running server has open is used through the server.
    pub(crate) fn open(&self, access: Access) -> Result<Box<dyn RecordStore>, OpenError> {
        let Settings { engine, dsn, cleanup, .. } = &self.settings;
        match engine.as_str() {
            #[cfg(feature = "gdbm")]
            "gdbm" => self.open_new(access, || self.open_file(access)),
            #[cfg(feature = "sqlite")]
            "sqlite" => self.open_new(access, || Ok(Box::new(self.open_sqlite(access)?))),
            engine => {
                open_store(engine, dsn, access, *cleanup).map_err(|error| OpenError::Unusable(error.into()))
            }
        }
    }

    /// Opens a database with `open`. A file that is made then must not be root's, if the service is not root's.
    #[cfg(any(feature = "gdbm", feature = "sqlite"))]
    fn open_new(
        &self,
        access: Access,
        open: impl FnOnce() -> Result<Box<dyn RecordStore>, OpenError>,
    ) -> Result<Box<dyn RecordStore>, OpenError> {
        let path = &self.settings.database;
        let is_new = access == Access::Create && !path.exists();
        let opened = open()?;
        if is_new {
            crate::folder_owner::give_database("pyzorctl", path);
        }
        Ok(opened)
    }

    /// Opens a SQLite database, beside the server if one runs.
    #[cfg(feature = "sqlite")]
    pub(super) fn open_sqlite(&self, access: Access) -> Result<pyzord_engines::Sqlite, OpenError> {
        use pyzord_engines::sqlite::OpenCause;
        check("sqlite", &self.settings.dsn).map_err(|error| OpenError::Unusable(error.into()))?;
        let opened = pyzord_engines::Sqlite::open_patiently(&self.settings.database, access);
        opened.map_err(|error| match error.cause {
            OpenCause::Damaged(_) => OpenError::Damaged(error.into()),
            _ => OpenError::Unusable(error.into()),
        })
    }

    /// Fails if a server could not write the database of an engine of files, or create it.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        let check = match self.settings.engine.as_str() {
            "sqlite" => write_access::check_database,
            _ => write_access::check,
        };
        check(&self.settings.database, self.home.path())
    }

    #[cfg(feature = "gdbm")]
    fn open_file(&self, access: Access) -> Result<Box<dyn RecordStore>, OpenError> {
        use pyzord_engines::{Gdbm, OpenCause};
        check("gdbm", &self.settings.dsn).map_err(|error| OpenError::Unusable(error.into()))?;
        let path = &self.settings.database;
        // The server first: while it runs, no other process may touch the file.
        let unavailable = match ControlClient::connect(self.settings.control.as_deref(), path) {
            Ok(client) => return Ok(Box::new(client)),
            Err(error) => error,
        };
        let opened = match access {
            Access::Read => Gdbm::open_with(path, pyzord_engines::Access::Read),
            Access::Change => Gdbm::open_with(path, pyzord_engines::Access::Change),
            Access::Create => Gdbm::open(path),
        };
        match opened {
            Ok(store) => Ok(Box::new(store)),
            Err(error) => Err(match error.cause {
                OpenCause::InUse => OpenError::InUse { error: error.into(), control: unavailable.into() },
                OpenCause::Damaged(_) | OpenCause::Unfinished | OpenCause::CreationCutShort => {
                    OpenError::Damaged(error.into())
                }
                _ => OpenError::Unusable(error.into()),
            }),
        }
    }

    /// Returns the gdbm file of a running server, used through the server; `None` if no server gives access to it.
    pub(crate) fn open_through_server(&self) -> Option<ControlClient> {
        if self.settings.engine != "gdbm" {
            return None;
        }
        match ControlClient::connect(self.settings.control.as_deref(), &self.settings.database) {
            Ok(client) => Some(client),
            Err(error) => {
                log::debug!("{error}");
                None
            }
        }
    }

    /// Opens the database. While another process has its file open, tries again for up to `seconds`.
    pub(crate) fn open_within(
        &self,
        access: Access,
        seconds: Option<u32>,
    ) -> Result<Box<dyn RecordStore>, OpenError> {
        let deadline = self.clock.tick().after(Duration::from_secs(seconds.unwrap_or(0).into()));
        loop {
            match self.open(access) {
                Err(OpenError::InUse { .. }) if self.clock.tick() < deadline => thread::sleep(RETRY_INTERVAL),
                opened => return opened,
            }
        }
    }

    /// Writes all changes to the disk.
    pub(crate) fn sync(&self, database: &mut dyn RecordStore) -> Result<(), StoreFailure> {
        database.upkeep(self.clock.now(), Task::Sync).map(drop)
    }
}

/// Calls `each` for every entry of a database. Few of them are in memory at a time.
pub(crate) fn for_each_entry<E: From<StoreFailure>>(
    database: &mut dyn RecordStore,
    mut each: impl FnMut(StoredEntry) -> Result<(), E>,
) -> Result<(), E> {
    let mut found = Vec::new();
    loop {
        let progress = database.scan(&mut found)?;
        found.drain(..).try_for_each(&mut each)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}
