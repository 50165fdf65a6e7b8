//! A connection to a table that was checked, and the statements on it.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql::{Error, Row, Value};
use pyzord_core::{Digest, Record, StoreError, StoreOp, Tick, UnixTime};

use super::client::{Client, Statement};
use super::connect::{ConnectError, limits};
use super::dial::DialOptions;
use super::dsn::Dsn;
use super::error::{ClientError, StatementError};
use super::pauses::{Pauses, has_time};
use super::plan::{BatchPlan, BatchResult};
use super::row::{self, Codec, Unreadable};
use super::sql::{self, MOST_ROWS, Sql};
use super::table;
use super::timeouts::Timeouts;
use super::zone::{self, ServerZone};
use crate::outcome::in_doubt;
use crate::wire::{Deadline, Limits};

/// A firewall may have dropped a connection that was idle for longer than this, without a word: the server is
/// asked before a batch could be lost on it.
const IDLE: Duration = Duration::from_secs(10);

/// Settings that the engine relies on, whatever the server's defaults are. Invalid dates are allowed, so that
/// a stored one does not make a statement fail that keeps it; the engine writes none. A statement whose
/// client has given up does not wait long for a lock.
const SETUP: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES', \
                     autocommit = 1, innodb_lock_wait_timeout = 1";
/// Each statement is a transaction of its own and needs no repeatable reads. Without them the server does not
/// lock gaps between rows, the usual cause of deadlocks.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
/// The locks of a client that died within a transaction, without a word, are released after this. MySQL has no such setting.
const ABANDONED: &str = "SET SESSION idle_transaction_timeout = 5";
/// A statement that finds a row locked fails at once. MySQL waits for a second at least.
const NO_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 0";

/// The record of a digest, or why it cannot be read.
pub(super) type Reading = Result<Record, Unreadable>;

/// What a prepared statement does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Read,
    Report,
    Whitelist,
    Put,
    Merge,
    Remove,
    Mark,
    Marked,
}

/// How long the last word to a server may take: the socket's buffer has room for it even if the server hangs, as
/// every statement waits for its answer before the next is sent.
const GOODBYE: Duration = Duration::from_millis(10);

/// A connection with its prepared statements.
pub(super) struct Session {
    client: Client,
    timeouts: Timeouts,
    /// When the batch at hand must be done; every other statement has a deadline of its own.
    deadline: Option<Deadline>,
    /// The number of its host.
    pub(super) host: usize,
    /// Why another host would be better.
    pub(super) shortcoming: Option<String>,
    /// Whether a count succeeded on it.
    pub(super) proven: bool,
    pub(super) sql: Sql,
    pub(super) codec: Codec,
    /// Whether the table of marks can be used.
    pub(super) keeps_marks: bool,
    /// Whether the codec's zone has the server's offsets at all times.
    pub(super) knows_zone: bool,
    /// An index in the order of the last reports, if the table has one.
    pub(super) date_index: Option<String>,
    /// The prepared statements, by kind and number of rows.
    statements: BTreeMap<(Kind, usize), Statement>,
    /// The other prepared statements, of which there are a few.
    texts: BTreeMap<String, Statement>,
    /// When it last served a batch.
    pub(super) used: Tick,
}

impl Session {
    /// Sets up a new connection, and checks the table.
    pub(super) fn new(
        mut client: Client,
        dsn: &Dsn,
        options: &DialOptions,
        host: usize,
        limits: Limits,
    ) -> Result<Self, ConnectError> {
        let sql = Sql::of(dsn);
        client.begin(limits);
        setup(&mut client, options.no_wait).map_err(ClientError::from)?;
        let ServerZone { zone, known } = zone::ask(&mut client, &options.zone)?;
        let (schema, date_index) = table::schema(&mut client, &sql)?;
        let keeps_marks = table::keeps_marks(&mut client, &sql)?;
        Ok(Self {
            client,
            timeouts: options.timeouts,
            deadline: None,
            host,
            shortcoming: None,
            proven: false,
            sql,
            keeps_marks,
            knows_zone: known,
            date_index,
            codec: Codec { zone, schema },
            statements: BTreeMap::new(),
            texts: BTreeMap::new(),
            used: Tick::default(),
        })
    }

    /// Returns whether the server still has the connection open; asks it only if the connection was idle.
    /// Fails if the server does not answer in time.
    pub(super) fn is_open(&mut self, now: Tick) -> Result<bool, ClientError> {
        if !self.client.is_idle() {
            return Ok(false);
        }
        if now.since(self.used) < IDLE {
            return Ok(true);
        }
        self.begin();
        match self.client.ping().map_err(ClientError::from) {
            Ok(()) => Ok(true),
            Err(error) if error.is_timeout() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Sets the time by which the statements that follow must be done; `None` gives each its own.
    pub(super) fn finish_by(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
    }

    fn begin(&mut self) {
        let deadline = self.deadline.unwrap_or_else(|| Deadline::after(self.timeouts.answer));
        self.client.begin(limits(deadline, self.timeouts));
    }

    /// Executes what the result of a batch is missing. If it fails, the result has what was done before, and the
    /// next call goes on there.
    pub(super) fn execute(
        &mut self,
        plan: &BatchPlan,
        now: UnixTime,
        result: &mut BatchResult,
    ) -> Result<(), StatementError> {
        let missing = |digest: &&Digest| !result.found.contains_key(*digest);
        let digests: Vec<Digest> = plan.reads.iter().filter(missing).copied().collect();
        for digests in digests.chunks(MOST_ROWS) {
            for (digest, reading) in self.read(digests)? {
                result.unreadable = result.unreadable.or(reading.err().map(|why| (digest, why)));
                result.found.insert(digest, reading.map_err(|_| StoreError::Unreadable));
            }
        }
        let contended = &mut result.contended;
        self.add(Kind::Report, &plan.reports, now, &mut result.reported, contended)?;
        self.add(Kind::Whitelist, &plan.whitelists, now, &mut result.whitelisted, contended)?;
        self.count_marked(Kind::Report, &plan.marked_reports, now, &mut result.marked, contended)?;
        self.count_marked(Kind::Whitelist, &plan.marked_whitelists, now, &mut result.marked, contended)
    }

    /// Reads the records of at most [`MOST_ROWS`] digests; one without a row has the default record.
    pub(super) fn read(&mut self, digests: &[Digest]) -> Result<BTreeMap<Digest, Reading>, StatementError> {
        let statement = self.prepared(Kind::Read, sql::padded(digests.len()))?;
        let rows = self.execute_statement(&statement, &keys(digests), 1)?;
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

    /// Adds to one kind of count. The digests of each statement are added to `done` with its outcome: also if it
    /// failed after it was sent, as it must not be sent again then.
    ///
    /// A statement that other transactions stay in the way of is split, so that only the contended digests fail.
    fn add(
        &mut self,
        kind: Kind,
        counts: &BTreeMap<Digest, u64>,
        now: UnixTime,
        done: &mut BTreeMap<Digest, Result<(), StoreError>>,
        contended: &mut Option<StatementError>,
    ) -> Result<(), StatementError> {
        let missing = counts.iter().filter(|(digest, _)| !done.contains_key(*digest));
        let counts: Vec<(Digest, u64)> = missing.map(|(digest, count)| (*digest, *count)).collect();
        let op = if kind == Kind::Whitelist { StoreOp::Whitelist } else { StoreOp::Report };
        let mut parts: Vec<&[(Digest, u64)]> = counts.chunks(MOST_ROWS).rev().collect();
        while let Some(counts) = parts.pop() {
            let statement = self.prepared(kind, sql::padded(counts.len()))?;
            let values = self.addition(kind, counts, now);
            let counted = self.execute_statement(&statement, &values, counts.len());
            let outcome = match &counted {
                Ok(_) => Some(Ok(())),
                Err(StatementError::Contention(_))
                    if counts.len() > 1 && has_time(self.deadline, Duration::ZERO) =>
                {
                    let (first, second) = counts.split_at(counts.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                // The server undid it.
                Err(StatementError::Refused(_) | StatementError::Contention(_)) => {
                    Some(Err(StoreError::Unavailable))
                }
                // The server did not begin it, and another one may.
                Err(StatementError::ReadOnly(_)) => None,
                Err(StatementError::Lost(error)) if error.is_refusal() => None,
                Err(StatementError::Lost(_)) => self.has_sent().then_some(Err(in_doubt(op, false))),
            };
            if let Some(outcome) = outcome {
                done.extend(counts.iter().map(|(digest, _)| (*digest, outcome)));
            }
            match counted {
                Err(error @ StatementError::Contention(_)) => *contended = Some(error),
                counted => {
                    counted?;
                    self.proven = true;
                }
            }
        }
        Ok(())
    }

    /// Returns the time by which the batch at hand must be done.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.deadline
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

    /// Runs a count that counts nothing.
    pub(super) fn probe(&mut self) -> Result<(), StatementError> {
        let count = self.sql.probe(&self.codec);
        self.run(&count, &[]).map(drop)
    }

    /// Stores at most [`MOST_ROWS`] whole records.
    pub(super) fn put(&mut self, records: &[(Digest, Record)]) -> Result<(), StatementError> {
        let rows = sql::padded(records.len());
        let statement = self.prepared(Kind::Put, rows)?;
        let codec = self.codec.clone();
        let padded = records.iter().chain(records.last().into_iter().cycle()).take(rows);
        let values: Vec<Value> = padded.flat_map(|(digest, record)| codec.row(*digest, record)).collect();
        self.execute_statement(&statement, &values, 1).map(drop)
    }

    /// Removes the rows of at most [`MOST_ROWS`] digests.
    pub(super) fn remove(&mut self, digests: &[Digest]) -> Result<(), StatementError> {
        let statement = self.prepared(Kind::Remove, sql::padded(digests.len()))?;
        self.execute_statement(&statement, &keys(digests), 1).map(drop)
    }

    /// Returns the statement for a number of rows.
    pub(super) fn prepared(&mut self, kind: Kind, rows: usize) -> Result<Statement, StatementError> {
        if let Some(statement) = self.statements.get(&(kind, rows)) {
            return Ok(statement.clone());
        }
        let text = match kind {
            Kind::Read => self.sql.read(rows),
            Kind::Report => self.sql.report(rows, &self.codec),
            Kind::Whitelist => self.sql.whitelist(rows, &self.codec),
            Kind::Put => self.sql.put(rows),
            Kind::Merge => self.sql.merge(rows, &self.codec.schema),
            Kind::Remove => self.sql.remove(rows),
            Kind::Mark => self.sql.mark(rows),
            Kind::Marked => self.sql.marked(rows),
        };
        self.begin();
        let statement = self.client.prepare(&text)?;
        self.statements.insert((kind, rows), statement.clone());
        Ok(statement)
    }

    /// Runs a statement, and tries it again if another transaction was in its way.
    pub(super) fn run(&mut self, text: &str, values: &[Value]) -> Result<Vec<Row>, StatementError> {
        let statement = self.prepared_text(text)?;
        self.execute_statement(&statement, values, 1)
    }

    /// Runs a statement that is one of a transaction.
    pub(super) fn run_once(&mut self, text: &str, values: &[Value]) -> Result<Vec<Row>, StatementError> {
        let statement = self.prepared_text(text)?;
        self.execute_once(&statement, values)
    }

    fn prepared_text(&mut self, text: &str) -> Result<Statement, StatementError> {
        if let Some(statement) = self.texts.get(text) {
            return Ok(statement.clone());
        }
        self.begin();
        let statement = self.client.prepare(text)?;
        self.texts.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement on so many rows, and tries it again if another transaction was in its way.
    pub(super) fn execute_statement(
        &mut self,
        statement: &Statement,
        values: &[Value],
        rows: usize,
    ) -> Result<Vec<Row>, StatementError> {
        let mut pauses = Pauses::for_rows(rows);
        loop {
            match self.execute_once(statement, values) {
                Err(StatementError::Contention(_)) if pauses.again(self.deadline) => (),
                result => return result,
            }
        }
    }

    /// Runs a statement that is one of a transaction.
    pub(super) fn execute_once(
        &mut self,
        statement: &Statement,
        values: &[Value],
    ) -> Result<Vec<Row>, StatementError> {
        self.begin();
        Ok(self.client.execute(statement, values)?)
    }

    /// Runs a statement without parameters.
    pub(super) fn query(&mut self, text: &str) -> Result<Vec<Row>, StatementError> {
        self.begin();
        Ok(self.client.query(text)?)
    }

    /// Returns whether the server may have received bytes of the last statement.
    pub(super) fn has_sent(&self) -> bool {
        self.client.has_sent()
    }

    /// Returns the server's version, as the server names it.
    pub(super) fn version(&mut self) -> Result<String, StatementError> {
        let rows = self.query("SELECT VERSION()")?;
        Ok(rows.first().map_or_else(|| "of unknown version".to_owned(), |row| text(row, 0)))
    }

    /// Returns how many rows the last statement changed.
    pub(super) fn changed(&self) -> u64 {
        self.client.changed()
    }
}

impl std::fmt::Debug for Session {
    /// Omits the connection: its own output shows the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("sql", &self.sql).field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (deadline, pause) = (Deadline::after(GOODBYE), GOODBYE);
        self.client.quit(Limits { deadline, pause, reply: 0 });
    }
}

/// Applies [`SETUP`], [`ISOLATION`], and what the server knows of the others.
fn setup(client: &mut Client, no_wait: bool) -> Result<(), Error> {
    client.query(SETUP)?;
    for setting in [Some(ABANDONED), Some(NO_WAIT).filter(|_| no_wait)].into_iter().flatten() {
        match client.query(setting) {
            Ok(_) | Err(Error::MySqlError(_)) => (),
            Err(error) => return Err(error),
        }
    }
    // A server that replicates statements instead of rows refuses to write at this isolation level.
    let format = client.query("SHOW VARIABLES LIKE 'binlog_format'")?;
    if format.first().is_some_and(|row| text(row, 1).eq_ignore_ascii_case("STATEMENT")) {
        return Ok(());
    }
    client.query(ISOLATION).map(drop)
}

/// Returns a text of a row; empty if there is none.
fn text(row: &Row, index: usize) -> String {
    row.as_ref(index).map_or_else(String::new, |value| String::from_utf8_lossy(row::text(value)).into_owned())
}

/// Returns the keys for a statement on these digests; the last one fills it up.
pub(super) fn keys(digests: &[Digest]) -> Vec<Value> {
    let last = digests.last().into_iter().cycle();
    digests.iter().chain(last).take(sql::padded(digests.len())).copied().map(row::key).collect()
}
