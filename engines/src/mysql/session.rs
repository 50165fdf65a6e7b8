//! A connection whose table has been found to fit, and what it is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use mysql::prelude::{AsStatement, Queryable};
use mysql::{Conn, Error, Params, Row, Statement, Value};
use pyzord_core::{Digest, Record, StoreError, Tick, UnixTime};

use super::dsn::Dsn;
use super::fault::{Fault, TIMED_OUT, cause};
use super::plan::{Outcome, Plan};
use super::row::{self, Codec, Unreadable};
use super::schema::{Column, Schema};
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

/// What a statement does with its rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Read,
    Report,
    Whitelist,
    Put,
    Remove,
}

/// Not dropped while anything is unanswered but for a fault. Dropping it sends a few small packets; the socket's
/// buffer has room for them even when the server hangs, as every statement waits for its answer.
pub(super) struct Session {
    conn: Conn,
    pub(super) sql: Sql,
    pub(super) codec: Codec,
    /// What has been prepared: the texts are long, and are the same each time.
    statements: BTreeMap<(Kind, usize), Statement>,
    /// When it last served a batch.
    pub(super) used: Tick,
}

impl Session {
    /// Prepares a new connection, and looks at the table.
    pub(super) fn new(mut conn: Conn, dsn: &Dsn, zone: TimeZone) -> Result<Self, String> {
        let sql = Sql { table: dsn.table.quoted() };
        setup(&mut conn).map_err(|error| cause(&error))?;
        let schema = schema(&mut conn, &sql)?;
        Ok(Self {
            conn,
            sql,
            codec: Codec { zone, schema },
            statements: BTreeMap::new(),
            used: Tick::default(),
        })
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
        self.add(Kind::Report, &plan.reports, now, &mut outcome.reported)?;
        self.add(Kind::Whitelist, &plan.whitelists, now, &mut outcome.whitelisted)
    }

    /// The records of at most [`MOST_ROWS`] digests; one without a row has the default record.
    pub(super) fn read(&mut self, digests: &[Digest]) -> Result<BTreeMap<Digest, Reading>, Fault> {
        let statement = self.prepared(Kind::Read, sql::padded(digests.len()))?;
        let rows = self.run(&statement, || keys(digests))?;
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
        kind: Kind,
        counts: &BTreeMap<Digest, u64>,
        now: UnixTime,
        done: &mut BTreeSet<Digest>,
    ) -> Result<(), Fault> {
        let schema = self.codec.schema;
        let most = if kind == Kind::Whitelist { schema.most_whitelists } else { schema.most_reports };
        let date = self.codec.date(now);
        let counts: Vec<(Digest, u64)> = counts.iter().map(|(digest, count)| (*digest, *count)).collect();
        for counts in counts.chunks(MOST_ROWS) {
            let rows = sql::padded(counts.len());
            let statement = self.prepared(kind, rows)?;
            // The rows that fill up the statement add nothing to the last of the others.
            let fill = counts.last().map(|(digest, _)| (*digest, 0));
            let values = || {
                let counts_and_fill = counts.iter().copied().chain(fill.into_iter().cycle()).take(rows);
                counts_and_fill
                    .flat_map(|(digest, count)| {
                        [row::key(digest), Value::UInt(count.min(most)), date.clone(), date.clone()]
                    })
                    .collect()
            };
            self.run(&statement, values)?;
            done.extend(counts.iter().map(|(digest, _)| *digest));
        }
        Ok(())
    }

    /// Stores at most [`MOST_ROWS`] records whole.
    pub(super) fn put(&mut self, records: &[(Digest, Record)]) -> Result<(), Fault> {
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
    pub(super) fn remove(&mut self, digests: &[Digest]) -> Result<(), Fault> {
        let statement = self.prepared(Kind::Remove, sql::padded(digests.len()))?;
        self.run(&statement, || keys(digests)).map(drop)
    }

    /// The statement for so many rows. The connection keeps more of them than there are kinds and sizes, so none that
    /// is kept here is closed there.
    fn prepared(&mut self, kind: Kind, rows: usize) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(&(kind, rows)) {
            return Ok(statement.clone());
        }
        let text = match kind {
            Kind::Read => self.sql.read(rows),
            Kind::Report => self.sql.report(rows, &self.codec.schema),
            Kind::Whitelist => self.sql.whitelist(rows, &self.codec.schema),
            Kind::Put => self.sql.put(rows),
            Kind::Remove => self.sql.remove(rows),
        };
        let statement = self.conn.prep(text)?;
        self.statements.insert((kind, rows), statement.clone());
        Ok(statement)
    }

    /// Runs a prepared statement, again when other transactions were in its way.
    pub(super) fn run(
        &mut self,
        statement: impl AsStatement + Copy,
        values: impl Fn() -> Vec<Value>,
    ) -> Result<Vec<Row>, Fault> {
        let mut tries = 1;
        loop {
            match self.conn.exec(statement, Params::Positional(values())).map_err(Fault::from) {
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
pub(super) fn schema(conn: &mut Conn, sql: &Sql) -> Result<Schema, String> {
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
    Schema::of(&columns).map_err(|fault| format!("table {} cannot be used: {fault}", sql.table))
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
