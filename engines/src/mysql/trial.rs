//! Tries what serving needs, and leaves no record behind.

use mysql::Value;
use pyzord_core::{Digest, UnixTime};

use super::error::{ClientError, StatementError};
use super::estimate;
use super::session::{Kind, Session};

/// Whether the table's transactions can be undone: 1 or 0. Parameters: database, table.
const TRANSACTIONAL: &str = "SELECT COUNT(*) FROM information_schema.tables t JOIN information_schema.engines e \
    ON e.engine = t.engine WHERE t.table_schema = ? AND t.table_name = ? AND e.transactions = 'YES'";

/// What a trial writes under: no mail has this digest.
const TRIED: Digest = Digest::new([0; 20]);

/// Something that the server refuses, and serving needs.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedTrial {
    #[error("records cannot be read, requests get 500: {cause}; {}", remedy(cause, "SELECT"))]
    Read { cause: ClientError },
    #[error("nothing is counted, reports get 500: {cause}; {}", remedy(cause, "SELECT, INSERT and UPDATE"))]
    Count { cause: ClientError },
    #[error("records do not expire: {cause}; {}", remedy(cause, "DELETE"))]
    Expire { cause: ClientError },
}

/// Returns what the operator can do about a refusal.
fn remedy(cause: &ClientError, rights: &str) -> String {
    if cause.is_missing_right() {
        format!("grant the user {rights} on the table, see docs/mysql.md")
    } else if cause.is_missing_default() {
        "give that column a default, or let it be NULL".to_owned()
    } else {
        "see docs/mysql.md".to_owned()
    }
}

impl Session {
    /// Tries to read and to count, and with `expires` to remove records. `table` is the parameters that name the table.
    /// What another transaction is in the way of is left untried.
    pub(super) fn try_all(
        &mut self,
        expires: bool,
        table: &[Value],
    ) -> Result<Vec<RefusedTrial>, StatementError> {
        let read = self.read(&[TRIED]).map(drop);
        let count = self.try_count(table);
        let expire = if expires { self.run(&self.sql.probe_expiry(), &[]).map(drop) } else { Ok(()) };
        let tried = [
            refusal(read)?.map(|cause| RefusedTrial::Read { cause }),
            refusal(count)?.map(|cause| RefusedTrial::Count { cause }),
            refusal(expire)?.map(|cause| RefusedTrial::Expire { cause }),
        ];
        Ok(tried.into_iter().flatten().collect())
    }

    /// Counts nothing, and then, if that can be undone, a report that is undone: triggers and constraints judge rows only.
    fn try_count(&mut self, table: &[Value]) -> Result<(), StatementError> {
        self.probe()?;
        if estimate::number(&self.run(TRANSACTIONAL, table)?) != Some(1) {
            return Ok(());
        }
        let statement = self.prepared(Kind::Report, 1)?;
        let values = self.addition(Kind::Report, &[(TRIED, 1)], UnixTime::BUILT);
        self.query("START TRANSACTION")?;
        let counted = self.execute_once(&statement, &values);
        // If this fails the connection is closed, which undoes the count, too.
        self.query("ROLLBACK")?;
        counted.map(drop)
    }
}

/// Returns why the server refused, if it did.
fn refusal(tried: Result<(), StatementError>) -> Result<Option<ClientError>, StatementError> {
    match tried {
        Ok(()) | Err(StatementError::Contention(_)) => Ok(None),
        Err(StatementError::Refused(cause) | StatementError::ReadOnly(cause)) => Ok(Some(cause)),
        Err(StatementError::Lost(cause)) => Err(StatementError::Lost(cause)),
    }
}
