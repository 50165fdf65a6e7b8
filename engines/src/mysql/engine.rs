//! The engine as workers use it.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, Task, Tick};

use super::connect::{ConnectError, connect};
use super::dsn::Dsn;
use super::error::StatementError;
use super::estimate;
use super::expire::ExpiryRound;
use super::plan::{BatchPlan, BatchResult};
use super::row::Codec;
use super::schema::Schema;
use super::session::Session;
use super::sql::Sql;
use super::table;
use super::timeouts::Timeouts;
use crate::connection_manager::ConnectionManager;
use crate::connector::{AttemptError, Connector, Waits};
use crate::failure::failure;
use crate::log_limiter::LogLimiter;

/// Tables with fewer rows are counted; for larger ones the server's estimate is used.
const COUNTED: usize = 100_000;

/// A table, used through one connection. Each worker has an engine of its own.
#[derive(Debug)]
pub struct Mysql {
    dsn: Arc<Dsn>,
    timeouts: Timeouts,
    connection: ConnectionManager<Session>,
    connector: Connector<Session, ConnectError>,
    /// With the schema of the last connection.
    pub(super) codec: Codec,
    round: ExpiryRound,
    /// The last key that a scan found.
    pub(super) scanned: Option<Vec<u8>>,
    unreadable: LogLimiter,
    refused: LogLimiter,
    /// Whether the log says that there are no marks.
    unmarked_logged: bool,
}

/// Why a slice of expiry failed.
#[derive(Debug, thiserror::Error)]
enum ExpiryError {
    #[error("it is away, and nothing expires")]
    Away,
    #[error(transparent)]
    Statement(StatementError),
}

impl Mysql {
    /// Returns an engine for the table that a DSN names. It connects at the first use, and again after the
    /// connection was lost.
    #[must_use]
    pub fn new(dsn: &Dsn, timeouts: Timeouts) -> Self {
        // An attempt that an earlier call has started is not waited for: that call has waited already.
        let waits = Waits { new: timeouts.connect, pending: Duration::ZERO };
        Self {
            dsn: Arc::new(dsn.clone()),
            timeouts,
            connection: ConnectionManager::new(format!("database {}", dsn.name())),
            connector: Connector::new("mysql-connect", waits),
            codec: Codec { zone: TimeZone::system(), schema: Schema::default() },
            round: ExpiryRound::default(),
            scanned: None,
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            unmarked_logged: false,
        }
    }

    /// Creates the table if there is none.
    ///
    /// # Errors
    /// If the server is away or refuses, or if the existing table cannot be used.
    pub fn create_table(&mut self) -> Result<(), StoreFailure> {
        let sql = Sql::of(&self.dsn);
        let create = || -> Result<(), ConnectError> {
            Ok(table::create(&mut connect(&self.dsn, self.timeouts)?, &sql)?)
        };
        create().map_err(|error| self.failure(error))
    }

    /// Checks whether the table can be used, and describes it in one line.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn check(&mut self) -> Result<String, StoreFailure> {
        let version = self.with(Session::version)?;
        let rows = self.row_estimate().map_or_else(String::new, |rows| format!(", about {rows} records"));
        Ok(format!("{}: server {version}{rows}", self.connection.name()))
    }

    /// Returns about how many rows the table has; `None` if the server does not say.
    pub(super) fn row_estimate(&mut self) -> Option<u64> {
        let parameters = estimate::parameters(&self.dsn);
        let estimated = self.with(|session| {
            let counted = estimate::number(&session.run(&session.sql.count(COUNTED), Vec::new)?);
            if counted.is_some_and(|rows| rows < COUNTED as u64) {
                return Ok(counted);
            }
            let estimated = session.run(estimate::ESTIMATE, || parameters.clone())?;
            Ok(counted.max(estimate::number(&estimated)))
        });
        estimated.inspect_err(|failure| log::debug!("{failure}")).ok().flatten()
    }

    /// Does something with a connection, which is made at once if there is none: for callers that can wait.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, StatementError>,
    ) -> Result<T, StoreFailure> {
        let (dsn, zone) = (&self.dsn, &self.codec.zone);
        let open = || open(&mut self.connector, dsn, self.timeouts, zone);
        let result = match self.connection.wait(open) {
            Ok(session) => {
                self.codec.schema = session.codec.schema;
                work(session)
            }
            Err(error) => return Err(self.failure(error)),
        };
        result.map_err(|error| {
            if let StatementError::Lost(_) = error {
                self.connection.close();
            }
            self.failure(error)
        })
    }

    /// Returns the failure with this cause.
    pub(super) fn failure(&self, cause: impl std::error::Error + Send + Sync + 'static) -> StoreFailure {
        failure(self.connection.name(), cause)
    }

    /// Returns the connection for a batch or a task: `None` at once while the server is away.
    fn session(&mut self, now: Tick) -> Option<&mut Session> {
        self.connection.refresh(now, |session| session.is_open(now));
        let (dsn, zone) = (&self.dsn, &self.codec.zone);
        let open = || open(&mut self.connector, dsn, self.timeouts, zone);
        let session = self.connection.connection(now, open)?;
        session.used = now;
        self.codec.schema = session.codec.schema;
        Some(session)
    }

    fn execute_plan(&mut self, now: Now, plan: BatchPlan) -> BatchResult {
        let mut batch = BatchResult::default();
        let executed = match self.session(now.tick) {
            Some(session) => {
                let plan = if session.keeps_marks { plan } else { plan.without_marks() };
                session.execute(&plan, now.wall, &mut batch)
            }
            None => Ok(()),
        };
        if let Err(error) = executed {
            self.log(now.tick, &error);
        }
        batch
    }

    /// Logs why a request's statement failed, and drops a connection that is of no more use.
    fn log(&mut self, began: Tick, error: &StatementError) {
        match error {
            StatementError::Lost(_) => self.connection.lost(began, error),
            StatementError::Contention(_) | StatementError::Refused(_) => {
                if let Some(more) = self.refused.due(began) {
                    log::error!("{}: {error}{more}", self.connection.name());
                }
            }
        }
    }

    /// Removes old marks. Warns once if there are none. If the server is away, they are removed later.
    fn forget_marks(&mut self, now: Now) {
        let Some(session) = self.session(now.tick) else { return };
        if session.keeps_marks {
            if let Err(error) = session.forget_marks() {
                self.log(now.tick, &error);
            }
        } else if !mem::replace(&mut self.unmarked_logged, true) {
            log::warn!(
                "{}: the table {} of marks is missing, or a right to it: a restart forgets which signed counts were \
                 counted, and servers on this table do not know it of each other; create it with pyzord \
                 --create-table, or see docs/mysql.md",
                self.connection.name(),
                self.dsn.table.marks(),
            );
        }
    }

    /// Returns the failure of a slice of expiry, and drops a connection that is of no more use.
    fn expiry_failure(&mut self, began: Tick, error: ExpiryError) -> StoreFailure {
        if let ExpiryError::Statement(StatementError::Lost(_)) = error {
            self.connection.lost(began, &error);
        }
        self.failure(error)
    }
}

impl Store for Mysql {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let result = self.execute_plan(now, BatchPlan::new(calls));
        if let Some((digest, why)) = result.unreadable
            && let Some(more) = self.unreadable.due(now.tick)
        {
            log::warn!("{}: the record of {digest} is unreadable: {why}{more}", self.connection.name());
        }
        result.answers(calls, now.wall, |record| self.codec.rounded(record), answers);
    }

    /// Returns the server's own estimate.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        let parameters = estimate::parameters(&self.dsn);
        match self.session(now.tick)?.run(estimate::ESTIMATE, || parameters.clone()) {
            Ok(rows) => estimate::number(&rows),
            Err(error) => {
                self.log(now.tick, &error);
                None
            }
        }
    }

    /// Removes expired records, and at each sync the marks whose time is over. The server syncs by itself, as it is
    /// configured.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let Task::Expire(limit) = task else {
            self.forget_marks(now);
            return Ok(Progress::Done);
        };
        let mut round = mem::take(&mut self.round);
        let slice = match self.session(now.tick) {
            Some(session) => round.slice(session, limit).map_err(ExpiryError::Statement),
            None => Err(ExpiryError::Away),
        };
        if let Ok(true) = slice {
            if round.removed > 0 {
                let name = self.connection.name();
                log::info!("{name}: {} records have expired and were removed", round.removed);
            }
            return Ok(Progress::Done);
        }
        self.round = round;
        slice.map(|_| Progress::More).map_err(|error| self.expiry_failure(now.tick, error))
    }
}

/// Connects, on the connector's thread.
fn open(
    connector: &mut Connector<Session, ConnectError>,
    dsn: &Arc<Dsn>,
    timeouts: Timeouts,
    zone: &TimeZone,
) -> Result<Session, AttemptError<ConnectError>> {
    let (dsn, zone) = (Arc::clone(dsn), zone.clone());
    connector.connect(move || Session::new(connect(&dsn, timeouts)?, &dsn, zone))
}
