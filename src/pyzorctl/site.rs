//! The server's settings, and its database opened beside it.

use std::thread;
use std::time::Duration;

use crate::control::Guest;
use crate::home::Home;
use crate::settings::{Settings, Sources};
use pyzord_core::{Progress, Task};
use pyzord_engines::registry::{Access, open_store};
use pyzord_engines::{RecordStore, StoredEntry};
use pyzord_runtime::Clock;

use super::failure::Failure;
use super::options::{SiteOptions, Waiting};

/// How often a file that is waited for is tried.
const RETRY: Duration = Duration::from_millis(100);

/// One server's settings.
pub(crate) struct Site {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

impl Site {
    /// Reads the configuration file, and the options over it.
    pub(crate) fn read(options: &SiteOptions) -> Result<Self, Failure> {
        let home = Home::new(options.homedir.as_deref())?;
        let sources = Sources::read(&home, options.settings())?;
        Ok(Self { settings: Settings::new(&sources, &home, 1)?, clock: Clock::start() })
    }

    /// The database as messages name it, without a password.
    pub(crate) fn database_name(&self) -> String {
        match self.settings.engine.as_str() {
            "gdbm" => self.settings.database.display().to_string(),
            #[cfg(feature = "redis")]
            "redis" | "redis_v0" => pyzord_engines::redis::Dsn::parse(&self.settings.dsn)
                .map_or_else(|_| UNKNOWN.to_owned(), |dsn| dsn.name()),
            #[cfg(feature = "mysql")]
            "mysql" => pyzord_engines::mysql::Dsn::parse(&self.settings.dsn)
                .map_or_else(|_| UNKNOWN.to_owned(), |dsn| dsn.name()),
            _ => UNKNOWN.to_owned(),
        }
    }

    /// Opens the database. A gdbm file that a server has is used through the server.
    pub(crate) fn open(&self, access: Access) -> Result<Box<dyn RecordStore>, Shut> {
        let Settings { engine, dsn, cleanup, .. } = &self.settings;
        match engine.as_str() {
            #[cfg(feature = "gdbm")]
            "gdbm" => self.open_file(access),
            engine => {
                open_store(engine, dsn, access, *cleanup).map_err(|error| Shut::Unusable(error.to_string()))
            }
        }
    }

    #[cfg(feature = "gdbm")]
    fn open_file(&self, access: Access) -> Result<Box<dyn RecordStore>, Shut> {
        use pyzord_engines::{Gdbm, OpenCause};
        let path = &self.settings.database;
        // First, since a file is no business of others while a server has it.
        let absent = match Guest::of(path) {
            Ok(guest) => return Ok(Box::new(guest)),
            Err(cause) => cause,
        };
        match Gdbm::open_with(path, access) {
            Ok(store) => Ok(Box::new(store)),
            Err(error) => Err(match error.cause {
                OpenCause::InUse => Shut::InUse(format!("{error}, and no pyzord lends it at {absent}")),
                OpenCause::Damaged(_) | OpenCause::NotRecovered { .. } => Shut::Damaged(error.to_string()),
                _ => Shut::Unusable(error.to_string()),
            }),
        }
    }

    /// The database of a running server, through that server.
    pub(crate) fn lent(&self) -> Option<Box<dyn RecordStore>> {
        let lent =
            || -> Option<Box<dyn RecordStore>> { Some(Box::new(Guest::of(&self.settings.database).ok()?)) };
        (self.settings.engine == "gdbm").then(lent).flatten()
    }

    /// Opens the database, waiting for its file as long as the operator wants.
    pub(crate) fn wait(&self, access: Access, waiting: &Waiting) -> Result<Box<dyn RecordStore>, Shut> {
        let deadline = self.clock.tick().after(Duration::from_secs(waiting.wait.unwrap_or(0).into()));
        loop {
            match self.open(access) {
                Err(Shut::InUse(_)) if self.clock.tick() < deadline => thread::sleep(RETRY),
                opened => return opened,
            }
        }
    }

    /// Puts on the disk what was changed.
    pub(crate) fn sync(&self, database: &mut dyn RecordStore) -> Result<(), Failure> {
        Ok(database.upkeep(self.clock.now(), Task::Sync).map(drop)?)
    }
}

const UNKNOWN: &str = "(not understood)";

/// Why a database cannot be opened: one line that names it.
#[cfg_attr(
    not(feature = "gdbm"),
    expect(dead_code, reason = "only a file has a lock, and a start that recovers it")
)]
pub(crate) enum Shut {
    /// Another process has its file.
    InUse(String),
    /// A start would recover it.
    Damaged(String),
    /// Anything else.
    Unusable(String),
}

impl Shut {
    /// The failure of a command that a running server can be in the way of, and what to do then.
    pub(crate) fn or(self, advice: &str) -> Failure {
        match self {
            Self::InUse(cause) => Failure::Said(format!("{cause}: {advice}")),
            Self::Damaged(cause) | Self::Unusable(cause) => Failure::Said(cause),
        }
    }
}

/// What to do when a server has the file that is to be read.
pub(crate) const STOP: &str = "stop it, or use --wait";

/// Gives every entry of a database to `each`, a slice in memory at a time.
pub(crate) fn each(
    database: &mut dyn RecordStore,
    mut each: impl FnMut(StoredEntry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut found = Vec::new();
    loop {
        let progress = database.scan(&mut found)?;
        found.drain(..).try_for_each(&mut each)?;
        if progress == Progress::Done {
            return Ok(());
        }
    }
}
