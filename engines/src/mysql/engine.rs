//! The engine as workers use it.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, Task, Tick, UnixTime};

use super::connect::ConnectError;
use super::dial::{self, DialOptions};
use super::dsn::Dsn;
use super::error::StatementError;
use super::estimate;
use super::expire::{ExpiryRound, SurveyRound};
use super::lease::Lease;
use super::plan::{BatchPlan, BatchResult};
use super::row::Codec;
use super::schema::Schema;
use super::servers::Servers;
use super::session::Session;
use super::timeouts::Timeouts;
use super::zone;
use crate::connection_manager::{ConnectionManager, Wait};
use crate::connector::Connector;
use crate::failure::failure;
use crate::log_limiter::LogLimiter;
use crate::wire::Deadline;

/// Tables with fewer rows are counted; for larger ones the server's estimate is used.
const COUNTED: usize = 100_000;

/// What a server's unknown zone means.
const UNKNOWN_ZONE: &str = "the time zone of the database server is not known here: dates are read with its present \
                            offset, and those from before a change of its clocks are wrong; name a zone with the \
                            server's variable time_zone";

/// How long a statement that finds a row locked fails at once, after one had no answer in time: the lock of a client that
/// hangs costs each connection one batch in this time, and then only the digests that it has locked.
const NO_WAIT: Duration = Duration::from_secs(60);

/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_millis(100);

/// How long a call without a batch waits for a connection that is being made.
const MOMENT: Duration = Duration::from_millis(5);

/// A table, used through one connection. Each worker has an engine of its own.
#[derive(Debug)]
pub struct Mysql {
    servers: Arc<Servers>,
    timeouts: Timeouts,
    connection: ConnectionManager<Session>,
    connector: Connector<Session, ConnectError>,
    /// The call that made the last connection.
    fresh: Option<Tick>,
    /// When a statement had no answer in time.
    timed_out: Option<Tick>,
    /// With the schema and the zone of the last connection.
    pub(super) codec: Codec,
    round: ExpiryRound,
    /// How many rows expiry has removed.
    expired: u64,
    survey: Option<SurveyRound>,
    /// Which of several servers on the table expires its records; `None` if this engine does in any case.
    lease: Option<Lease>,
    /// The limit of a survey that no expiry has followed yet.
    surveyed: Option<UnixTime>,
    /// The last key that a scan found.
    pub(super) scanned: Option<Vec<u8>>,
    unreadable: LogLimiter,
    refused: LogLimiter,
    /// Whether the log says that there are no marks.
    unmarked_logged: bool,
    /// Whether the log says what the server refuses.
    tried: bool,
    /// Whether the log says whose time the dates are.
    zone_logged: bool,
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
        Self::on(Arc::new(Servers::new(dsn)), timeouts)
    }

    /// Returns an engine for the same table, with a connection of its own. Of several hosts, all such engines use the same
    /// one.
    #[must_use]
    pub fn another(&self) -> Self {
        let lease = self.lease.as_ref().map(|_| Lease::default());
        let mut another = Self::on(Arc::clone(&self.servers), self.timeouts);
        another.lease = lease;
        another
    }

    /// Returns the engine, which leaves expiry to other servers on the table, as long as one of them does it.
    #[must_use]
    pub fn sharing_expiry(mut self) -> Self {
        self.lease = Some(Lease::default());
        self
    }

    fn on(servers: Arc<Servers>, timeouts: Timeouts) -> Self {
        Self {
            connection: ConnectionManager::new(format!("database {}", servers.dsn.name())),
            servers,
            timeouts,
            connector: Connector::new("mysql-connect", timeouts.connect),
            fresh: None,
            timed_out: None,
            codec: Codec { zone: TimeZone::system(), schema: Schema::default() },
            round: ExpiryRound::default(),
            expired: 0,
            survey: None,
            lease: None,
            surveyed: None,
            scanned: None,
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            unmarked_logged: false,
            tried: false,
            zone_logged: false,
        }
    }

    /// Creates the table if there is none.
    ///
    /// # Errors
    /// If the server is away or refuses, or if the existing table cannot be used.
    pub fn create_table(&mut self) -> Result<(), StoreFailure> {
        dial::create_tables(&self.servers, self.timeouts).map_err(|error| self.failure(error))
    }

    /// Checks whether the table can be used, and describes it in one line.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn check(&mut self) -> Result<String, StoreFailure> {
        let version = self.with(Session::version)?;
        let rows = self.row_estimate().map_or_else(String::new, |rows| format!(", about {rows} records"));
        let zone = match self.zone_note() {
            Some(note) => format!("; {note}"),
            None => String::new(),
        };
        let hosts = self.host_states();
        Ok(format!("{}: server {version}{rows}{zone}{hosts}", self.connection.name()))
    }

    /// Says of each host whether it answers and is writable; empty for a single one.
    fn host_states(&self) -> String {
        if !self.servers.are_several() {
            return String::new();
        }
        let state = |(host, state): (String, Result<_, ConnectError>)| match state {
            Ok(None) => format!("; {host} is writable"),
            Ok(Some(shortcoming)) => format!("; {host} answers, and is not used: {shortcoming}"),
            Err(error) => format!("; {host} cannot be used: {error}"),
        };
        dial::states(&self.servers, &self.options(Tick::default(), None)).into_iter().map(state).collect()
    }

    /// Says whose time the dates in the table are, unless it is this machine's.
    fn zone_note(&mut self) -> Option<String> {
        let (zone, known) = (&self.codec.zone, self.connection.current()?.knows_zone);
        if !known {
            return Some(UNKNOWN_ZONE.to_owned());
        }
        let machine = TimeZone::system();
        (*zone != machine).then(|| {
            let [zone, machine] = [zone, &machine].map(zone::name);
            format!("dates are the database server's time, {zone}; this machine has {machine}")
        })
    }

    /// Tries what serving needs, and with `expires` what expiry needs; returns what the server refuses. It leaves no record
    /// behind.
    ///
    /// # Errors
    /// If the table cannot be used at all.
    pub fn refusals(&mut self, expires: bool) -> Result<Vec<StoreFailure>, StoreFailure> {
        let parameters = estimate::parameters(&self.servers.dsn);
        let refused = self.with(|session| session.try_all(expires, &parameters))?;
        Ok(refused.into_iter().map(|refused| self.failure(refused)).collect())
    }

    /// Returns about how many rows the table has; `None` if the server does not say.
    pub(super) fn row_estimate(&mut self) -> Option<u64> {
        let parameters = estimate::parameters(&self.servers.dsn);
        let estimated = self.with(|session| {
            let counted = estimate::number(&session.run(&session.sql.count(COUNTED), &[])?);
            if counted.is_some_and(|rows| rows < COUNTED as u64) {
                return Ok(counted);
            }
            let estimated = session.run(estimate::ESTIMATE, &parameters)?;
            Ok(counted.max(estimate::number(&estimated)))
        });
        estimated.inspect_err(|failure| log::debug!("{failure}")).ok().flatten()
    }

    /// Does something with a connection, which is made at once if there is none: for callers that can wait.
    pub(super) fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, StatementError>,
    ) -> Result<T, StoreFailure> {
        self.connection.refresh(Tick::default(), |session| session.is_open(Tick::default()));
        let open = open(&self.servers, self.options(Tick::default(), None));
        let connector = &mut self.connector;
        let result = match self.connection.wait(|| connector.connect(open)) {
            Ok(session) => {
                self.codec.clone_from(&session.codec);
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

    /// Returns the connection for a batch or a task: `None` at once while the server is away. Waits for a new
    /// one until the deadline.
    fn session(&mut self, now: Tick, deadline: Deadline) -> Option<&mut Session> {
        self.connection.refresh(now, |session| {
            session.finish_by(Some(deadline));
            session.is_open(now)
        });
        let open = self.dial(now);
        let Self { connector, fresh, .. } = self;
        let session = self.connection.connection(now, |wait| {
            let left = if wait == Wait::Nothing { None } else { deadline.left() };
            let connected = connector.poll(left.unwrap_or_default(), open);
            if matches!(connected, Ok(Some(_))) {
                *fresh = Some(now);
            }
            connected
        })?;
        if let Some(shortcoming) = session.shortcoming.clone() {
            self.connection.doubt(now, &shortcoming);
        }
        let session = self.connection.current()?;
        session.used = now;
        session.finish_by(None);
        self.codec.clone_from(&session.codec);
        Some(session)
    }

    /// Returns the time by which a call that begins now must be done.
    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeouts.answer)
    }

    /// Executes a batch. After the server has closed the connection, sends once more on a fresh one what was certainly
    /// not executed, and counts whose marks the server keeps.
    fn execute_plan(&mut self, now: Now, mut plan: BatchPlan) -> BatchResult {
        let mut batch = BatchResult::default();
        let deadline = self.deadline();
        while let Some(session) = self.session(now.tick, deadline) {
            if *batch.keeps_marks.get_or_insert(session.keeps_marks) != session.keeps_marks {
                // The plan of the first connection is not for this one.
                break;
            }
            if !session.keeps_marks {
                plan = plan.without_marks();
            }
            session.finish_by(Some(deadline));
            let executed = session.execute(&plan, now.wall, &mut batch);
            session.finish_by(None);
            let (host, is_stopgap) = (session.host, session.shortcoming.is_some());
            match executed {
                Ok(()) => break,
                Err(StatementError::Lost(error)) if error.is_closed() && self.fresh != Some(now.tick) => {
                    log::debug!("{}: {error}; the connection is made again", self.connection.name());
                    self.connection.close();
                }
                Err(error)
                    if error.leaves_host()
                        && self.servers.are_several()
                        && !is_stopgap
                        && self.fresh != Some(now.tick) =>
                {
                    self.servers.leave(host, &error);
                    self.connection.close();
                }
                Err(error) => {
                    self.log(now.tick, &error);
                    break;
                }
            }
        }
        if let Some(error) = &batch.contended {
            self.log(now.tick, error);
        }
        batch
    }

    /// Logs why a request's statement failed, and drops or doubts a connection that is of no more use.
    fn log(&mut self, began: Tick, error: &StatementError) {
        match error {
            StatementError::Lost(cause) => {
                if cause.is_timeout() {
                    self.note_timeout(began, error);
                }
                self.connection.lost(began, error);
            }
            StatementError::ReadOnly(_) => self.connection.doubt(began, error),
            StatementError::Contention(_) | StatementError::Refused(_) => {
                if let Some(more) = self.refused.due(began) {
                    log::error!("{}: {error}{more}", self.connection.name());
                }
            }
        }
    }

    /// Notes that a statement had no answer in time. A host on which no count succeeds is left.
    fn note_timeout(&mut self, began: Tick, error: &StatementError) {
        self.timed_out = Some(began);
        let several = self.servers.are_several();
        if let Some(session) = self.connection.current().filter(|session| several && !session.proven) {
            self.servers.leave(session.host, error);
        }
    }

    /// Returns how the next connection is made.
    fn options(&self, now: Tick, only: Option<usize>) -> DialOptions {
        let no_wait = self.timed_out.is_some_and(|then| now.since(then) < NO_WAIT);
        DialOptions { timeouts: self.timeouts, zone: self.codec.zone.clone(), no_wait, only }
    }

    /// Returns what makes the next connection. A good one is replaced if the other engines use another host by now.
    fn dial(&mut self, now: Tick) -> impl FnOnce() -> Result<Session, ConnectError> + Send + 'static {
        let preferred = self.servers.preferred();
        let elsewhere = |session: &&mut Session| session.host != preferred && session.shortcoming.is_none();
        let follows = self.connection.current().filter(elsewhere).is_some();
        if follows {
            self.connection.replace();
        }
        open(&self.servers, self.options(now, follows.then_some(preferred)))
    }

    /// Returns whether this engine is to expire records, and keeps the lease if it is.
    fn expires(&mut self, now: Now) -> Result<bool, ExpiryError> {
        let Some(mut lease) = self.lease.take() else { return Ok(true) };
        let name = self.connection.name().to_owned();
        let ours = match self.session(now.tick, self.deadline()) {
            Some(session) => lease.is_ours(session, now.tick, &name).map_err(ExpiryError::Statement),
            None => Err(ExpiryError::Away),
        };
        self.lease = Some(lease);
        ours
    }

    /// Lets another server expire records if this one does not believe its clock: after a survey it began another one.
    fn yield_expiry(&mut self, now: Now, limit: UnixTime) -> Result<bool, ExpiryError> {
        if self.surveyed.replace(limit).is_none_or(|before| before == limit) {
            return Ok(false);
        }
        if !self.lease.as_ref().is_some_and(Lease::is_held) {
            return Ok(false);
        }
        let Some(mut lease) = self.lease.take() else { return Ok(false) };
        let given = match self.session(now.tick, self.deadline()) {
            Some(session) => lease.give_up(session, now.tick).map_err(ExpiryError::Statement),
            None => Err(ExpiryError::Away),
        };
        self.lease = Some(lease);
        given.map(|()| true)
    }

    /// Examines the next slice of a survey.
    fn survey(&mut self, now: Now, limit: UnixTime) -> Result<Progress, StoreFailure> {
        let begun = self.survey.take().filter(|survey| survey.limit == limit);
        let estimate = || estimate::parameters(&self.servers.dsn);
        let mut survey = begun.unwrap_or_else(|| SurveyRound::new(limit, estimate()));
        let slice = match self.session(now.tick, self.deadline()) {
            Some(session) => survey.slice(session).map_err(ExpiryError::Statement),
            None => Err(ExpiryError::Away),
        };
        if let Ok(true) = slice {
            return Ok(Progress::Surveyed(survey.found));
        }
        self.survey = Some(survey);
        slice.map(|_| Progress::More).map_err(|error| self.expiry_failure(now.tick, error))
    }

    /// Removes old marks. Warns once if there are none. If the server is away, they are removed later.
    fn forget_marks(&mut self, now: Now) {
        let Some(session) = self.session(now.tick, self.deadline()) else { return };
        if session.keeps_marks {
            if let Err(error) = session.forget_marks() {
                self.log(now.tick, &error);
            }
        } else if !mem::replace(&mut self.unmarked_logged, true) {
            log::warn!(
                "{}: the table {} of marks is missing, or a right to it: a signed report that is sent again \
                 counts twice if pyzord was restarted meanwhile or another server on this table gets it; create the \
                 table with pyzord --create-table, or see docs/mysql.md",
                self.connection.name(),
                self.servers.dsn.table.marks(),
            );
        }
    }

    /// Logs once what serving needs and the server refuses. If the server is away, it is tried later. Expiry finds its own
    /// errors.
    fn try_once(&mut self, now: Now) {
        let parameters = estimate::parameters(&self.servers.dsn);
        let deadline = self.deadline();
        let Some(session) = self.session(now.tick, deadline) else { return };
        match session.try_all(false, &parameters) {
            Ok(refused) => {
                self.tried = true;
                refused.iter().for_each(|refused| log::error!("{}: {refused}", self.connection.name()));
            }
            Err(error) => self.log(now.tick, &error),
        }
    }

    /// Logs whose time the dates are, once.
    fn log_zone(&mut self) {
        if self.connection.current().is_none() || mem::replace(&mut self.zone_logged, true) {
            return;
        }
        if let Some(note) = self.zone_note() {
            log::warn!("{}: {note}", self.connection.name());
        }
    }

    /// Returns the failure of a slice of expiry, and drops a connection that is of no more use.
    fn expiry_failure(&mut self, began: Tick, error: ExpiryError) -> StoreFailure {
        match error {
            ExpiryError::Statement(StatementError::Lost(_)) => self.connection.lost(began, &error),
            ExpiryError::Statement(StatementError::ReadOnly(_)) => self.connection.doubt(began, &error),
            _ => (),
        }
        self.failure(error)
    }
}

impl Store for Mysql {
    fn prepare(&mut self, now: Now) -> bool {
        let open = self.dial(now.tick);
        let connector = &mut self.connector;
        self.connection.prepare(now.tick, |wait| {
            let wait = if wait == Wait::Nothing { Duration::ZERO } else { MOMENT };
            connector.poll(wait, open)
        })
    }

    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let result = self.execute_plan(now, BatchPlan::new(calls));
        if let Some((digest, why)) = result.unreadable
            && let Some(more) = self.unreadable.due(now.tick)
        {
            log::warn!("{}: the record of {digest} is unreadable: {why}{more}", self.connection.name());
        }
        result.answers(calls, now.wall, |record| self.codec.rounded(record), answers);
    }

    fn probe(&mut self, now: Now) -> Result<(), StoreFailure> {
        let probed = match self.session(now.tick, self.deadline()) {
            Some(session) => session.probe(),
            None => {
                let cause = self.connection.cause().to_owned();
                return Err(failure(self.connection.name(), cause));
            }
        };
        probed.map_err(|error| {
            self.log(now.tick, &error);
            self.failure(error)
        })
    }

    /// Returns the server's own estimate.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        let parameters = estimate::parameters(&self.servers.dsn);
        match self.session(now.tick, self.deadline())?.run(estimate::ESTIMATE, &parameters) {
            Ok(rows) => estimate::number(&rows),
            Err(error) => {
                self.log(now.tick, &error);
                None
            }
        }
    }

    fn expired(&self) -> Option<u64> {
        Some(self.expired)
    }

    /// Removes expired records, and at each sync the marks whose time is over. The server syncs by itself, as it is
    /// configured.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let limit = match task {
            Task::Sync => {
                if !self.tried {
                    self.try_once(now);
                }
                self.forget_marks(now);
                self.log_zone();
                if let Err(ExpiryError::Statement(error)) = self.expires(now) {
                    self.log(now.tick, &error);
                }
                return Ok(Progress::Done);
            }
            Task::Survey(limit) | Task::Expire(limit) => limit,
        };
        let mut ours = self.expires(now).map_err(|error| self.expiry_failure(now.tick, error))?;
        if let Task::Survey(_) = task {
            ours &= !self.yield_expiry(now, limit).map_err(|error| self.expiry_failure(now.tick, error))?;
        }
        if !ours {
            (self.round, self.survey, self.surveyed) = (ExpiryRound::default(), None, None);
            return Ok(Progress::Elsewhere);
        }
        if let Task::Survey(_) = task {
            return self.survey(now, limit);
        }
        self.surveyed = None;
        let mut round = mem::take(&mut self.round);
        let before = round.removed;
        let slice = match self.session(now.tick, self.deadline()) {
            Some(session) => round.slice(session, limit).map_err(ExpiryError::Statement),
            None => Err(ExpiryError::Away),
        };
        self.expired += round.removed.saturating_sub(before);
        if let Ok(true) = slice {
            if round.removed > 0 {
                let name = self.connection.name();
                log::info!("{name}: {} records have expired and were removed", round.removed);
            }
            // The next round is hours away. A server may allow few connections, and requests need them.
            self.connection.close();
            return Ok(Progress::Done);
        }
        self.round = round;
        slice.map(|_| Progress::More).map_err(|error| self.expiry_failure(now.tick, error))
    }
}

impl Drop for Mysql {
    /// Gives the lease back, so that a server that is started again expires records at once.
    fn drop(&mut self) {
        let Self { lease: Some(lease), connection, .. } = self else { return };
        let Some(session) = connection.current().filter(|_| lease.is_held()) else { return };
        session.finish_by(Some(Deadline::after(RELEASE)));
        if let Err(error) = lease.release(session) {
            log::debug!("{}: the lease of expiry is not given back: {error}", connection.name());
        }
    }
}

/// Returns what makes a connection, on the connector's thread.
fn open(
    servers: &Arc<Servers>,
    options: DialOptions,
) -> impl FnOnce() -> Result<Session, ConnectError> + Send + 'static {
    let servers = Arc::clone(servers);
    move || dial::dial(&servers, &options)
}
