//! Which of several servers on one table expires its records.
//!
//! The holder has its name in a row of a small table, and changes the row's beat now and then. Another server takes the
//! lease by one atomic update once it has seen the row unchanged for the lease's life, by its own monotonic clock. So no
//! clock of a server or a database has to be right, and no content of the row keeps the lease from being taken: the
//! holder's end, a date in the future and what was written by hand all look alike. Two holders for a moment do no harm,
//! as both remove what has expired.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use mysql::Value;
use pyzord_core::Tick;

use super::error::StatementError;
use super::session::Session;

/// A row that stays the same for this time has no holder.
const LIFE: Duration = Duration::from_secs(60);
/// The time between two beats of the holder, and between two looks of the others.
const BEAT: Duration = Duration::from_secs(15);
/// How long a server does not take the lease again after it has given it up.
const REST: Duration = Duration::from_secs(300);

/// The row, as it was seen.
type Row = [Option<Vec<u8>>; 2];

/// What a server knows of the lease.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// The server's own name in the row.
    holder: String,
    state: State,
    /// When the row was last looked at.
    looked: Option<Tick>,
    /// Until when another server may take it first.
    rests_until: Tick,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Unknown,
    /// There is no lease: each server expires records.
    Shared,
    Held,
    /// Another server has it, as far as is known, and its row is so since this time.
    Watched(Row, Tick),
}

impl Default for Lease {
    fn default() -> Self {
        Self { holder: token(), state: State::Unknown, looked: None, rests_until: Tick::default() }
    }
}

impl Lease {
    /// Returns whether this server is to expire records. Looks at the row if it is time; `database` is for the log.
    pub(super) fn is_ours(
        &mut self,
        session: &mut Session,
        now: Tick,
        database: &str,
    ) -> Result<bool, StatementError> {
        if self.looked.is_none_or(|looked| now.since(looked) >= BEAT) {
            let state = match self.look(session, now) {
                // The table, or a right to it, is missing, or it is another table.
                Err(StatementError::Refused(_)) => State::Shared,
                Err(StatementError::Lost(cause)) if cause.is_missing_table_or_right() => State::Shared,
                state => state?,
            };
            self.looked = Some(now);
            self.log(&state, session, database);
            self.state = state;
        }
        Ok(matches!(self.state, State::Shared | State::Held))
    }

    /// Lets another server take the lease: this one's clock is not believed.
    pub(super) fn give_up(&mut self, session: &mut Session, now: Tick) -> Result<(), StatementError> {
        self.rests_until = now.after(REST);
        self.release(session)
    }

    /// Gives the lease back if this server has it.
    pub(super) fn release(&mut self, session: &mut Session) -> Result<(), StatementError> {
        if self.state != State::Held {
            return Ok(());
        }
        (self.state, self.looked) = (State::Unknown, None);
        let release = session.sql.release_lease();
        session.run(&release, &[Value::from(&self.holder)]).map(drop)
    }

    /// Returns whether this server has the lease, as far as it knows.
    pub(super) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// Takes the lease, or renews it, if that is possible.
    fn look(&mut self, session: &mut Session, now: Tick) -> Result<State, StatementError> {
        let statements = session.sql.clone();
        let rows = session.run(&statements.lease(), &[])?;
        let Some(found) = rows.first() else {
            let new = [Value::from(&self.holder), Value::from(token())];
            session.run(&statements.first_lease(), &new)?;
            return Ok(if session.changed() > 0 { State::Held } else { State::Unknown });
        };
        let [Some(holder), Some(beat)] = [0, 1].map(|column| found.as_ref(column).and_then(text)) else {
            return Ok(State::Shared);
        };
        let found: Row = [holder, beat];
        let unchanged_since = match &self.state {
            State::Watched(row, since) if *row == found => *since,
            _ => now,
        };
        let holder = found[0].as_deref().unwrap_or_default();
        let is_ours = holder == self.holder.as_bytes();
        let is_free = holder.is_empty() || now.since(unchanged_since) >= LIFE;
        if !is_ours && (!is_free || now < self.rests_until) {
            return Ok(State::Watched(found, unchanged_since));
        }
        let seen = found.iter().map(|field| field.clone().map_or(Value::NULL, Value::Bytes));
        let values: Vec<Value> =
            [Value::from(&self.holder), Value::from(token())].into_iter().chain(seen).collect();
        match session.run(&statements.take_lease(), &values) {
            Ok(_) if session.changed() > 0 => Ok(State::Held),
            // Another server was faster.
            Ok(_) | Err(StatementError::Contention(_)) => Ok(State::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Logs a change of the state.
    fn log(&self, new: &State, session: &Session, database: &str) {
        if std::mem::discriminant(&self.state) == std::mem::discriminant(new) {
            return;
        }
        match new {
            State::Unknown => (),
            State::Held => log::info!("{database}: this server expires its records, and no other one does"),
            State::Watched(..) => log::info!("{database}: another server expires its records"),
            State::Shared => log::info!(
                "{database}: each server on it expires its records: the table {} or a right to it is missing, see \
                 docs/mysql.md",
                session.sql.lease
            ),
        }
    }
}

/// Returns the bytes of a text, or `None` within for NULL. Another value is that of another table.
#[expect(clippy::option_option, reason = "NULL is a value that the row may have")]
fn text(value: &Value) -> Option<Option<Vec<u8>>> {
    match value {
        Value::Bytes(bytes) => Some(Some(bytes.clone())),
        Value::NULL => Some(None),
        _ => None,
    }
}

/// Returns a random name.
fn token() -> String {
    format!("{:016x}", RandomState::new().hash_one(0))
}
