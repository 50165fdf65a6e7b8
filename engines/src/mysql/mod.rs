//! Records in a table of MariaDB or MySQL.
//!
//! Each worker has a connection of its own. It is made when it is wanted, and made again, not too often, when it was
//! lost; meanwhile calls are answered at once. A batch takes at most three statements, each of them a transaction
//! of its own: one reads all records that are asked for, one adds the reports, one the whitelistings.
//!
//! Increments are done by the server, in one statement, so any number of workers and servers may share a table, and
//! the Python server, too.

mod dial;
mod dsn;
mod expire;
mod fault;
mod plan;
mod record_store;
#[doc(hidden)]
pub mod row;
mod schema;
mod session;
mod sql;
mod url;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use mysql::prelude::Queryable;
use pyzord_core::{Now, Progress, Store, StoreAnswer, StoreCall, StoreFailure, Task, Tick};

use crate::connection_manager::ConnectionManager;
use crate::log_limiter::LogLimiter;
use crate::record_store::RecordStore;
use dial::Dial;
pub use dsn::{Dsn, DsnError};
use expire::Round;
use fault::{Fault, cause};
use plan::{Outcome, Plan};
use row::Codec;
#[doc(hidden)]
pub use schema::Schema;
use session::Session;
use sql::Sql;

/// How long to wait for the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a connection: name resolution, TLS, logging in and a look at the table, all together.
    pub connect: Duration,
    /// For the answer to one statement.
    pub answer: Duration,
}

impl Timeouts {
    /// While clients wait: as long as they do.
    pub const SERVING: Self =
        Self { connect: Duration::from_millis(400), answer: Duration::from_millis(400) };
    /// For migrations and maintenance.
    pub const MIGRATING: Self = Self { connect: Duration::from_secs(10), answer: Duration::from_secs(60) };
}

/// A table, used through one connection.
#[derive(Debug)]
pub struct Mysql {
    dsn: Arc<Dsn>,
    timeouts: Timeouts,
    dial: Dial,
    link: ConnectionManager<Session>,
    /// With the schema that the table had when it was last seen.
    codec: Codec,
    round: Round,
    /// The last key that a scan found.
    scanned: Option<Vec<u8>>,
    unreadable: LogLimiter,
    refused: LogLimiter,
}

impl Mysql {
    /// The table that a DSN names. It connects when it is first used.
    #[must_use]
    pub fn new(dsn: &Dsn, timeouts: Timeouts) -> Self {
        let (dsn, zone) = (Arc::new(dsn.clone()), TimeZone::system());
        Self {
            timeouts,
            dial: Dial::new(Arc::clone(&dsn), timeouts, zone.clone()),
            link: ConnectionManager::new(format!("database {}", dsn.name())),
            codec: Codec { zone, schema: Schema::default() },
            round: Round::default(),
            scanned: None,
            unreadable: LogLimiter::default(),
            refused: LogLimiter::default(),
            dsn,
        }
    }

    /// Creates the table if there is none.
    ///
    /// # Errors
    /// When the server is away or refuses, and when there is a table already that cannot be used.
    pub fn create_table(&mut self) -> Result<(), StoreFailure> {
        let sql = Sql { table: self.dsn.table.quoted() };
        let create = || {
            let mut conn = dial::connect(&self.dsn, self.timeouts)?;
            conn.query_drop(sql.create()).map_err(|error| cause(&error))?;
            session::schema(&mut conn, &sql)
        };
        create().map(drop).map_err(|cause| self.failure(&cause))
    }

    /// Looks whether the table can be used, and says in one line what was found.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&mut self) -> Result<String, StoreFailure> {
        let version = self.with(Session::version)?;
        let rows = self.estimate().map_or_else(String::new, |rows| format!(", about {rows} records"));
        Ok(format!("{}: server {version}{rows}", self.link.name()))
    }

    /// The connection for a batch or a task: `None` at once while the server is away.
    fn session(&mut self, now: Tick) -> Option<&mut Session> {
        self.link.refresh(now, |session| session.is_open(now));
        let session = self.link.connection(now, || self.dial.call())?;
        session.used = now;
        self.codec.schema = session.codec.schema;
        Some(session)
    }

    /// Does something that no client waits for, so that a connection is made whether one is due or not.
    fn with<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T, Fault>) -> Result<T, StoreFailure> {
        let connected = self.link.wait(|| self.dial.call());
        let result = connected.map_err(Fault::Refused).and_then(|session| {
            self.codec.schema = session.codec.schema;
            work(session)
        });
        result.map_err(|fault| {
            if let Fault::Lost(_) = fault {
                self.link.close();
            }
            self.failure(&fault.into_cause())
        })
    }

    fn carry_out(&mut self, now: Now, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let result = match self.session(now.tick) {
            Some(session) => session.carry_out(plan, now.wall, &mut outcome),
            None => Ok(()),
        };
        if let Err(fault) = result {
            self.note(now.tick, fault);
        }
        outcome
    }

    fn note(&mut self, began: Tick, fault: Fault) {
        match fault {
            Fault::Lost(cause) => self.link.lost(began, &cause),
            Fault::Contention(cause) | Fault::Refused(cause) => {
                if let Some(more) = self.refused.due(began) {
                    log::error!("{}: {cause}{more}", self.link.name());
                }
            }
        }
    }

    fn tell(&self, round: &Round) {
        if round.removed > 0 {
            log::info!("{}: {} records have expired and were removed", self.link.name(), round.removed);
        }
    }

    /// What a task failed with; its caller tells of it.
    fn interrupted(&mut self, began: Tick, fault: Fault) -> StoreFailure {
        if let Fault::Lost(cause) = &fault {
            self.link.lost(began, cause);
        }
        self.failure(&fault.into_cause())
    }

    fn failure(&self, cause: &str) -> StoreFailure {
        StoreFailure::new(format!("{}: {cause}", self.link.name()))
    }
}

impl Store for Mysql {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let outcome = self.carry_out(now, &Plan::new(calls));
        if let Some((digest, why)) = outcome.unreadable
            && let Some(more) = self.unreadable.due(now.tick)
        {
            log::warn!("{}: the record of {digest} is unreadable: {why}{more}", self.link.name());
        }
        outcome.answers(calls, now.wall, |record| self.codec.rounded(record), answers);
    }

    /// The server's own estimate, of which it takes care itself.
    fn record_count(&mut self, now: Now) -> Option<u64> {
        let parameters = record_store::table(&self.dsn);
        match self.session(now.tick)?.run(record_store::ESTIMATE, || parameters.clone()) {
            Ok(rows) => record_store::number(&rows),
            Err(fault) => {
                self.note(now.tick, fault);
                None
            }
        }
    }

    /// There is nothing to sync: the server does that as its settings say.
    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        let Task::Expire(limit) = task else { return Ok(Progress::Done) };
        let mut round = std::mem::take(&mut self.round);
        let slice = match self.session(now.tick) {
            Some(session) => round.slice(session, limit),
            None => Err(Fault::Refused("it is away, and nothing expires".to_owned())),
        };
        if slice == Ok(true) {
            self.tell(&round);
            return Ok(Progress::Done);
        }
        self.round = round;
        slice.map(|_| Progress::More).map_err(|fault| self.interrupted(now.tick, fault))
    }
}
