//! A connection to a table that was checked, and the statements on it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use mysql::prelude::{AsStatement, Queryable};
use mysql::{Conn, Error, Params, Row, Statement, Value};
use pyzord_core::{Digest, Record, StoreError, Tick, UnixTime};

use super::connect::ConnectError;
use super::dsn::Dsn;
use super::error::{ClientError, StatementError};
use super::plan::{BatchPlan, BatchResult, Written};
use super::row::{self, Codec, Unreadable};
use super::sql::{self, MOST_ROWS, Sql};
use super::table;

/// The server or a firewall may have closed a connection that was idle for longer than this.
const IDLE: Duration = Duration::from_secs(10);

/// How often a statement is tried that waits for the locks of another one.
pub(super) const TRIES: u32 = 6;

/// Settings that the engine relies on, whatever the server's defaults are. Invalid dates are allowed, so that
/// a stored one does not make a statement fail that keeps it; the engine writes none. A statement whose
/// client has given up does not wait long for a lock.
const SETUP: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES', \
                     autocommit = 1, innodb_lock_wait_timeout = 1";
/// Each statement is a transaction of its own and needs no repeatable reads. Without them the server does not
/// lock gaps between rows, the usual cause of deadlocks.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The record of a digest, or why it cannot be read.
pub(super) type Reading = Result<Record, Unreadable>;

/// What a prepared statement does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Read,
    Report,
    Whitelist,
    Put,
    Remove,
    Mark,
    Marked,
}

/// A connection with its prepared statements.
///
/// Dropping it sends a few small packets. The socket's buffer has room for them even if the server hangs, as
/// every statement waits for its answer before the next is sent.
pub(super) struct Session {
    pub(super) conn: Conn,
    pub(super) sql: Sql,
    pub(super) codec: Codec,
    /// Whether the table of marks can be used.
    pub(super) keeps_marks: bool,
    /// The prepared statements, by kind and number of rows.
    statements: BTreeMap<(Kind, usize), Statement>,
    /// When it last served a batch.
    pub(super) used: Tick,
}

impl Session {
    /// Sets up a new connection, and checks the table.
    pub(super) fn new(mut conn: Conn, dsn: &Dsn, zone: TimeZone) -> Result<Self, ConnectError> {
        let sql = Sql::of(dsn);
        setup(&mut conn).map_err(ClientError::from)?;
        let schema = table::schema(&mut conn, &sql)?;
        let keeps_marks = table::keeps_marks(&mut conn, &sql)?;
        Ok(Self {
            conn,
            sql,
            keeps_marks,
            codec: Codec { zone, schema },
            statements: BTreeMap::new(),
            used: Tick::default(),
        })
    }

    /// Returns whether the server still has the connection open; asks it only if the connection was idle.
    /// Fails if the server does not answer in time.
    pub(super) fn is_open(&mut self, now: Tick) -> Result<bool, ClientError> {
        if now.since(self.used) < IDLE {
            return Ok(true);
        }
        match self.conn.ping().map_err(ClientError::from) {
            Ok(()) => Ok(true),
            Err(error) if error.is_timeout() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Executes a batch. If it fails, the result has what was done before.
    pub(super) fn execute(
        &mut self,
        plan: &BatchPlan,
        now: UnixTime,
        result: &mut BatchResult,
    ) -> Result<(), StatementError> {
        let digests: Vec<Digest> = plan.reads.iter().copied().collect();
        for digests in digests.chunks(MOST_ROWS) {
            for (digest, reading) in self.read(digests)? {
                result.unreadable = result.unreadable.or(reading.err().map(|why| (digest, why)));
                result.found.insert(digest, reading.map_err(|_| StoreError::Unreadable));
            }
        }
        self.add(Kind::Report, &plan.reports, now, &mut result.reported)?;
        self.add(Kind::Whitelist, &plan.whitelists, now, &mut result.whitelisted)?;
        self.count_marked(Kind::Report, &plan.marked_reports, now, &mut result.marked)?;
        self.count_marked(Kind::Whitelist, &plan.marked_whitelists, now, &mut result.marked)
    }

    /// Reads the records of at most [`MOST_ROWS`] digests; one without a row has the default record.
    pub(super) fn read(&mut self, digests: &[Digest]) -> Result<BTreeMap<Digest, Reading>, StatementError> {
        let statement = self.prepared(Kind::Read, sql::padded(digests.len()))?;
        let rows = self.run(&statement, || keys(digests))?;
        let mut readings: BTreeMap<Digest, Reading> =
            digests.iter().map(|digest| (*digest, Ok(Record::default()))).collect();
        for row in rows {
            let values = row.unwrap();
            let (key, fields) = row::split(&values);
            // A collation may return keys that are not digests, as equal to one.
            if let Ok(digest) = self.codec.digest(key) {
                readings.insert(digest, self.codec.record(fields));
            }
        }
        Ok(readings)
    }

    /// Adds to one kind of count. The digests of each statement are added to `done` when it has succeeded.
    fn add(
        &mut self,
        kind: Kind,
        counts: &BTreeMap<Digest, u64>,
        now: UnixTime,
        written: &mut Written,
    ) -> Result<(), StatementError> {
        let counts: Vec<(Digest, u64)> = counts.iter().map(|(digest, count)| (*digest, *count)).collect();
        for counts in counts.chunks(MOST_ROWS) {
            let statement = self.prepared(kind, sql::padded(counts.len()))?;
            let values = self.addition(kind, counts, now);
            let digests = counts.iter().map(|(digest, _)| *digest);
            match self.run(&statement, || values.clone()) {
                Ok(_) => written.done.extend(digests),
                Err(error) => {
                    if error.is_doubtful() {
                        written.doubtful.extend(digests);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Returns the values of the statement that adds these counts, at most [`MOST_ROWS`].
    pub(super) fn addition(&self, kind: Kind, counts: &[(Digest, u64)], now: UnixTime) -> Vec<Value> {
        let schema = self.codec.schema;
        let most = if kind == Kind::Whitelist { schema.most_whitelists } else { schema.most_reports };
        let date = self.codec.date(now);
        // The rows that fill the statement up add 0 to the last digest.
        let fill = counts.last().map(|(digest, _)| (*digest, 0));
        let rows = counts.iter().copied().chain(fill.into_iter().cycle()).take(sql::padded(counts.len()));
        rows.flat_map(|(digest, count)| {
            [row::key(digest), Value::UInt(count.min(most)), date.clone(), date.clone()]
        })
        .collect()
    }

    /// Stores at most [`MOST_ROWS`] whole records.
    pub(super) fn put(&mut self, records: &[(Digest, Record)]) -> Result<(), StatementError> {
        let rows = sql::padded(records.len());
        let statement = self.prepared(Kind::Put, rows)?;
        let codec = self.codec.clone();
        let values = || {
            let padded = records.iter().chain(records.last().into_iter().cycle()).take(rows);
            padded.flat_map(|(digest, record)| codec.row(*digest, record)).collect()
        };
        self.run(&statement, values).map(drop)
    }

    /// Removes the rows of at most [`MOST_ROWS`] digests.
    pub(super) fn remove(&mut self, digests: &[Digest]) -> Result<(), StatementError> {
        let statement = self.prepared(Kind::Remove, sql::padded(digests.len()))?;
        self.run(&statement, || keys(digests)).map(drop)
    }

    /// Returns the statement for a number of rows. The connection keeps more statements than there are kinds
    /// and numbers, so it closes none that is kept here.
    pub(super) fn prepared(&mut self, kind: Kind, rows: usize) -> Result<Statement, StatementError> {
        if let Some(statement) = self.statements.get(&(kind, rows)) {
            return Ok(statement.clone());
        }
        let text = match kind {
            Kind::Read => self.sql.read(rows),
            Kind::Report => self.sql.report(rows, &self.codec.schema),
            Kind::Whitelist => self.sql.whitelist(rows, &self.codec.schema),
            Kind::Put => self.sql.put(rows),
            Kind::Remove => self.sql.remove(rows),
            Kind::Mark => self.sql.mark(rows),
            Kind::Marked => self.sql.marked(rows),
        };
        let statement = self.conn.prep(text)?;
        self.statements.insert((kind, rows), statement.clone());
        Ok(statement)
    }

    /// Runs a statement, and tries it again if another transaction was in its way.
    pub(super) fn run(
        &mut self,
        statement: impl AsStatement + Copy,
        values: impl Fn() -> Vec<Value>,
    ) -> Result<Vec<Row>, StatementError> {
        let mut tries = 1;
        loop {
            match self.conn.exec(statement, Params::Positional(values())).map_err(StatementError::from) {
                Err(StatementError::Contention(_)) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Returns the server's version, as the server names it.
    pub(super) fn version(&mut self) -> Result<String, StatementError> {
        let version: Option<String> = self.conn.query_first("SELECT VERSION()")?;
        Ok(version.unwrap_or_else(|| "of unknown version".to_owned()))
    }

    /// Returns how many rows the last statement changed.
    pub(super) fn changed(&self) -> u64 {
        self.conn.affected_rows()
    }
}

impl std::fmt::Debug for Session {
    /// Omits the connection: its own output shows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("sql", &self.sql).field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Applies [`SETUP`] and [`ISOLATION`].
fn setup(conn: &mut Conn) -> Result<(), Error> {
    conn.query_drop(SETUP)?;
    // A server that replicates statements instead of rows refuses to write at this isolation level.
    let format: Option<(String, String)> = conn.query_first("SHOW VARIABLES LIKE 'binlog_format'")?;
    if format.is_some_and(|(_, format)| format.eq_ignore_ascii_case("STATEMENT")) {
        return Ok(());
    }
    conn.query_drop(ISOLATION)
}

/// Returns the keys for a statement on these digests; the last one fills it up.
fn keys(digests: &[Digest]) -> Vec<Value> {
    let last = digests.last().into_iter().cycle();
    digests.iter().chain(last).take(sql::padded(digests.len())).copied().map(row::key).collect()
}
