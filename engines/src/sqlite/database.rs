//! What all handles of one database share.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{FairMutex, FairMutexGuard};
use pyzord_core::{StoreFailure, Tick};
use rusqlite::Connection;

use super::durability::Commits;
use super::error::{CAUSES, DatabaseError};
use super::options::Options;
use super::presence::{Away, Files};
use super::{checkpoint_thread, connection, sync_thread};
use crate::access::Access;
use crate::failure::failure;
use crate::file_id::FileId;
use crate::log_limiter::LogLimiter;

/// How often the paths are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a handle reads with.
pub(super) type ReaderSlot = Arc<Reader>;

/// A connection to read with.
#[derive(Debug)]
pub(super) struct Reader {
    /// `None` while it cannot be opened.
    connection: Mutex<Option<Connection>>,
    /// Its memory for pages, in bytes.
    cache: u64,
}

/// A database, and the threads that wait for its disk.
#[derive(Debug)]
pub(super) struct Database {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What handles and threads share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) options: Options,
    /// How long a call waits for its turn to write, and then for a lock of another process.
    pub(super) patience: Duration,
    /// The writer's connection, which writers take in turn; `None` while it is opened anew.
    writer: FairMutex<Option<Connection>>,
    /// The connections of all handles, to be closed with it.
    readers: Mutex<Vec<Weak<Reader>>>,
    pub(super) commits: Commits,
    /// An earlier process has written the log, and parts of it may not be on the disk although a sync would succeed.
    pub(super) has_old_log: AtomicBool,
    pub(super) presence: Mutex<Presence>,
    pub(super) limiters: Mutex<Limiters>,
}

/// Whether the paths lead to the open files.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) files: Files,
    pub(super) away: Option<Away>,
    looked: Option<Tick>,
    /// A copy of a database that was removed has been made.
    pub(super) rescued: bool,
}

/// Lines that requests can cause.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    pub(super) unreadable: LogLimiter,
    /// By cause: one does not keep another from being told.
    pub(super) failing: [LogLimiter; CAUSES],
    pub(super) late: LogLimiter,
}

impl Database {
    /// Shares an open connection. `id` is what the path led to before it was opened. An old log is written again, in the
    /// background.
    pub(super) fn new(
        path: &Path,
        options: Options,
        patience: Duration,
        writer: Connection,
        id: FileId,
        has_old_log: bool,
    ) -> Result<Self, std::io::Error> {
        let presence = Presence { files: Files::of(path, id)?, away: None, looked: None, rescued: false };
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options,
            patience,
            writer: FairMutex::new(Some(writer)),
            readers: Mutex::default(),
            commits: Commits::default(),
            has_old_log: AtomicBool::new(has_old_log),
            presence: Mutex::new(presence),
            limiters: Mutex::default(),
        });
        if has_old_log {
            shared.commits.add();
        }
        let mut threads = Vec::new();
        if options.access != Access::Read {
            threads.push(start("sqlite-sync", &shared, sync_thread::run)?);
            threads.push(start("sqlite-log", &shared, checkpoint_thread::run)?);
        }
        Ok(Self { shared, threads })
    }
}

fn start(name: &str, shared: &Arc<Shared>, work: fn(&Shared)) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared))
}

impl std::ops::Deref for Database {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.shared.commits.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("{}: a thread has panicked; please report it", self.shared.name());
            }
        }
    }
}

impl Shared {
    /// Returns the database's name in logs.
    pub(super) fn name(&self) -> impl fmt::Display {
        format!("database {}", self.path.display())
    }

    pub(super) fn failure(&self, cause: impl Into<DatabaseError>) -> StoreFailure {
        failure(self.name(), cause.into())
    }

    /// Returns a connection to read with, which has so much memory for pages, in bytes. It is opened now, as the file may
    /// lose its name.
    pub(super) fn reader_slot(&self, cache: u64) -> ReaderSlot {
        let opened = self.open_reader(cache).inspect_err(|error| log::debug!("{}: {error}", self.name()));
        let slot = Arc::new(Reader { connection: Mutex::new(opened.ok()), cache });
        let mut readers = lock(&self.readers);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&slot));
        slot
    }

    /// Reads with the connection of a handle.
    pub(super) fn read<T>(
        &self,
        slot: &ReaderSlot,
        read: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut reader = lock(&slot.connection);
        let connection = match &mut *reader {
            Some(connection) => connection,
            None => reader.insert(self.open_reader(slot.cache)?),
        };
        read(connection)
    }

    /// Opens a connection to read with, unless the path leads to another file.
    fn open_reader(&self, cache: u64) -> Result<Connection, DatabaseError> {
        if let Some(away) = lock(&self.presence).files.away(&self.path) {
            return Err(away.into());
        }
        let opened = self.connect(cache)?;
        opened.pragma_update(None, "query_only", true)?;
        // Looks at all cells of each page that is read, which is to keep damage from spreading: here nothing is written, and
        // beside writers most pages of a check are read anew.
        opened.pragma_update(None, "cell_size_check", false)?;
        Ok(opened)
    }

    fn connect(&self, cache: u64) -> rusqlite::Result<Connection> {
        connection::open(&self.path, self.options.access, cache, self.patience)
    }

    /// Waits for a turn to write; a call that waits for too long fails.
    pub(super) fn turn(&self) -> Result<FairMutexGuard<'_, Option<Connection>>, DatabaseError> {
        self.writer.try_lock_for(self.patience).ok_or(DatabaseError::Occupied)
    }

    /// Waits for a turn as long as it takes.
    pub(super) fn long_turn(&self) -> FairMutexGuard<'_, Option<Connection>> {
        self.writer.lock()
    }

    /// Writes in one step, and returns the number of the commit.
    pub(super) fn write<T>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<(T, u64), DatabaseError> {
        let writer = self.turn()?;
        let connection = writer.as_ref().ok_or(DatabaseError::Occupied)?;
        let written = connection::in_one_step(connection, write)?;
        Ok((written, self.commits.add()))
    }

    /// Closes all connections and opens them again: the writer's for `prepare`, which works on the files, then those that
    /// read. Nothing is written before `check` has succeeded.
    pub(super) fn reopen<E: From<rusqlite::Error>>(
        &self,
        prepare: impl FnOnce(&Connection) -> Result<(), E>,
        check: impl FnOnce(&Connection) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut writer = self.long_turn();
        for slot in lock(&self.readers).iter().filter_map(Weak::upgrade) {
            *lock(&slot.connection) = None;
        }
        // As it is closed, SQLite moves the log, part of which may not be on the disk, and removes what has its name.
        if let Some(writer) = writer.take()
            && (self.commits.failure().is_some() || lock(&self.presence).files.is_log_replaced(&self.path))
        {
            connection::ends_log(&writer, false)?;
        }
        let connection = self.connect(self.options.writers_share())?;
        prepare(&connection)?;
        for slot in lock(&self.readers).iter().filter_map(Weak::upgrade) {
            let opened =
                self.open_reader(slot.cache).inspect_err(|error| log::debug!("{}: {error}", self.name()));
            *lock(&slot.connection) = opened.ok();
        }
        check(&connection)?;
        connection::ends_log(&connection, true)?;
        *writer = Some(connection);
        self.commits.mended();
        Ok(())
    }

    /// Fails if a path does not lead to its open file, as a look of the last second has found.
    pub(super) fn check_presence(&self, now: Tick) -> Result<(), DatabaseError> {
        let mut presence = lock(&self.presence);
        if presence.looked.is_none_or(|at| now.since(at) >= LOOK) {
            presence.looked = Some(now);
            self.look(&mut presence);
        }
        presence.away.map_or(Ok(()), |away| Err(away.into()))
    }

    /// Fails if a path does not lead to its open file.
    pub(super) fn check_presence_now(&self) -> Result<(), DatabaseError> {
        let mut presence = lock(&self.presence);
        self.look(&mut presence);
        presence.away.map_or(Ok(()), |away| Err(away.into()))
    }

    fn look(&self, presence: &mut Presence) {
        let away = presence.files.away(&self.path);
        if away == presence.away {
            return;
        }
        presence.away = away;
        match away {
            Some(away) => log::error!(
                "{}: {away}; checks are answered from the open files, reports and whitelistings get 500 until a database \
                 is at this path",
                self.name()
            ),
            None => log::warn!("{}: its files are back, reports and whitelistings are counted", self.name()),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Locks what stays whole if a thread panics with it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
