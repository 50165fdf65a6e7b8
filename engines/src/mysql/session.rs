//! A connection whose table has been found to fit, and what it is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use mysql::prelude::Queryable;
use mysql::{Conn, Error, Params, Row, Value};
use pyzord_core::{Digest, Record, StoreError, StoreOp, Tick, UnixTime};

use super::dsn::Dsn;
use super::fault::{Fault, TIMED_OUT, cause};
use super::plan::{Outcome, Plan};
use super::row::{self, Codec, Unreadable};
use super::shape::{Column, Shape};
use super::sql::{self, MOST_ROWS, Sql};

/// A connection that was idle for longer may have been closed by the server or a firewall.
const IDLE: Duration = Duration::from_secs(10);

/// How often a statement that met another one's locks is tried.
const TRIES: u32 = 6;

/// What we rely on, whatever the server's defaults are. The dates that we write are valid; an odd one that is there
/// already must not make a statement fail that leaves it as it is. A statement that nobody waits for any more gives
/// up soon.
const SETUP: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES', \
                     autocommit = 1, innodb_lock_wait_timeout = 1";
/// Each statement is a transaction of its own, so no read has to be repeatable, and the locks of gaps between rows,
/// the usual cause of deadlocks, are not needed.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A digest's record, or why nobody can read it.
pub(super) type Reading = Result<Record, Unreadable>;

/// Not dropped while anything is unanswered but for a fault. Dropping it sends a few small packets; the socket's
/// buffer has room for them even when the server hangs, as every statement waits for its answer.
pub(super) struct Session {
    conn: Conn,
    pub(super) sql: Sql,
    pub(super) codec: Codec,
    /// When it last served a batch.
    pub(super) used: Tick,
}

impl Session {
    /// Prepares a new connection, and looks at the table.
    pub(super) fn new(mut conn: Conn, dsn: &Dsn, zone: TimeZone) -> Result<Self, String> {
        let sql = Sql { table: dsn.table.quoted() };
        setup(&mut conn).map_err(|error| cause(&error))?;
        let shape = shape(&mut conn, &sql)?;
        Ok(Self { conn, sql, codec: Codec { zone, shape }, used: Tick::default() })
    }

    /// Whether the connection is still there, asked for only when it was idle. An error is a server that does not
    /// answer in time.
    pub(super) fn is_open(&mut self, now: Tick) -> Result<bool, String> {
        if now.since(self.used) < IDLE {
            return Ok(true);
        }
        match self.conn.ping() {
            Ok(()) => Ok(true),
            Err(error) if cause(&error) == TIMED_OUT => Err(TIMED_OUT.to_owned()),
            Err(_) => Ok(false),
        }
    }

    /// Does all that a batch asks for. When it fails, the outcome has what was done before.
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        now: UnixTime,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let digests: Vec<Digest> = plan.reads.iter().copied().collect();
        for digests in digests.chunks(MOST_ROWS) {
            for (digest, reading) in self.read(digests)? {
                outcome.unreadable = outcome.unreadable.or(reading.err().map(|why| (digest, why)));
                outcome.found.insert(digest, reading.map_err(|_| StoreError::Unreadable));
            }
        }
        self.add(StoreOp::Report, &plan.reports, now, &mut outcome.reported)?;
        self.add(StoreOp::Whitelist, &plan.whitelists, now, &mut outcome.whitelisted)
    }

    /// The records of at most [`MOST_ROWS`] digests; one without a row has the default record.
    pub(super) fn read(&mut self, digests: &[Digest]) -> Result<BTreeMap<Digest, Reading>, Fault> {
        let text = self.sql.read(sql::padded(digests.len()));
        let rows = self.run(&text, keys(digests))?;
        let mut readings: BTreeMap<Digest, Reading> =
            digests.iter().map(|digest| (*digest, Ok(Record::default()))).collect();
        for row in rows {
            let values = row.unwrap();
            let Some((key, fields)) = values.split_first() else { continue };
            // Whatever the collation takes for equal and is no digest was not asked for.
            if let Ok(digest) = self.codec.digest(row::text(key)) {
                readings.insert(digest, self.codec.record(fields));
            }
        }
        Ok(readings)
    }

    /// Adds to one kind of count. Each statement's digests are in `done` when it has succeeded.
    fn add(
        &mut self,
        kind: StoreOp,
        counts: &BTreeMap<Digest, u64>,
        now: UnixTime,
        done: &mut BTreeSet<Digest>,
    ) -> Result<(), Fault> {
        let shape = self.codec.shape;
        let counts: Vec<(Digest, u64)> = counts.iter().map(|(digest, count)| (*digest, *count)).collect();
        for counts in counts.chunks(MOST_ROWS) {
            let rows = sql::padded(counts.len());
            let (text, most) = match kind {
                StoreOp::Whitelist => (self.sql.whitelist(rows, &shape), shape.most_whitelists),
                _ => (self.sql.report(rows, &shape), shape.most_reports),
            };
            // The rows that fill up the statement add nothing to the last of the others.
            let fill = counts.last().map(|(digest, _)| (*digest, 0));
            let counts_and_fill = counts.iter().copied().chain(fill.into_iter().cycle()).take(rows);
            let date = self.codec.date(now);
            let values = counts_and_fill.flat_map(|(digest, count)| {
                [row::key(digest), Value::UInt(count.min(most)), date.clone(), date.clone()]
            });
            self.run(&text, values.collect())?;
            done.extend(counts.iter().map(|(digest, _)| *digest));
        }
        Ok(())
    }

    /// Stores at most [`MOST_ROWS`] records whole.
    pub(super) fn put(&mut self, records: &[(Digest, Record)]) -> Result<(), Fault> {
        let rows = sql::padded(records.len());
        let text = self.sql.put(rows);
        let last = records.last().into_iter().cycle();
        let values = records.iter().chain(last).take(rows);
        let values = values.flat_map(|(digest, record)| self.codec.row(*digest, record)).collect();
        self.run(&text, values).map(drop)
    }

    /// Removes the rows of at most [`MOST_ROWS`] digests.
    pub(super) fn remove(&mut self, digests: &[Digest]) -> Result<(), Fault> {
        let text = self.sql.remove(sql::padded(digests.len()));
        self.run(&text, keys(digests)).map(drop)
    }

    /// Runs a prepared statement, again when other transactions were in its way.
    pub(super) fn run(&mut self, text: &str, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        let params = Params::Positional(values);
        let mut tries = 1;
        loop {
            match self.conn.exec(text, params.clone()).map_err(Fault::from) {
                Err(Fault::Contention(_)) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// The server's version, as it names itself.
    pub(super) fn version(&mut self) -> Result<String, Fault> {
        let version: Option<String> = self.conn.query_first("SELECT VERSION()")?;
        Ok(version.unwrap_or_default())
    }

    /// How many rows the last statement changed.
    pub(super) fn changed(&self) -> u64 {
        self.conn.affected_rows()
    }
}

impl std::fmt::Debug for Session {
    /// The library's own output has the password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("sql", &self.sql).field("codec", &self.codec).finish_non_exhaustive()
    }
}

fn setup(conn: &mut Conn) -> Result<(), Error> {
    conn.query_drop(SETUP)?;
    // A server that logs statements, not rows, for its replicas refuses to write in any other isolation than its
    // default one.
    let format: Option<(String, String)> = conn.query_first("SHOW VARIABLES LIKE 'binlog_format'")?;
    if format.is_some_and(|(_, format)| format.eq_ignore_ascii_case("STATEMENT")) {
        return Ok(());
    }
    conn.query_drop(ISOLATION)
}

/// Looks at the table.
pub(super) fn shape(conn: &mut Conn, sql: &Sql) -> Result<Shape, String> {
    const NO_SUCH_TABLE: u16 = 1146;
    let missing = format!(
        "table {} does not exist: create it with pyzord --create-table, or see docs/engines.md",
        sql.table
    );
    let rows: Vec<Row> = conn.query(sql.columns()).map_err(|error| match &error {
        Error::MySqlError(refusal) if refusal.code == NO_SUCH_TABLE => missing,
        _ => cause(&error),
    })?;
    let columns: Vec<Column> = rows.iter().map(column).collect();
    Shape::of(&columns).map_err(|fault| format!("table {} cannot be used: {fault}", sql.table))
}

fn column(row: &Row) -> Column {
    let text = |name: &str| match row.get_opt::<Value, _>(name) {
        Some(Ok(Value::Bytes(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    Column {
        name: text("Field"),
        kind: text("Type").to_lowercase(),
        collation: text("Collation"),
        nullable: text("Null") == "YES",
        key: text("Key"),
    }
}

/// The keys of a statement on these digests; the last one fills it up.
fn keys(digests: &[Digest]) -> Vec<Value> {
    let last = digests.last().into_iter().cycle();
    digests.iter().chain(last).take(sql::padded(digests.len())).copied().map(row::key).collect()
}
