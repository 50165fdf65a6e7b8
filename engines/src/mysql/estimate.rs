//! About how many rows the table has.

use mysql::prelude::FromValue;
use mysql::{Row, Value};

use super::dsn::Dsn;

/// Reads the server's estimate of the number of rows, which it keeps itself.
pub(super) const ESTIMATE: &str =
    "SELECT table_rows FROM information_schema.tables WHERE table_schema = ? AND table_name = ?";

/// Returns the two parameters of [`ESTIMATE`].
pub(super) fn parameters(dsn: &Dsn) -> Vec<Value> {
    vec![Value::from(dsn.table_database()), Value::from(dsn.table.table.as_str())]
}

/// Returns the number that a result consists of; `None` if it is NULL, as for a view, or missing.
pub(super) fn number(rows: &[Row]) -> Option<u64> {
    let value = rows.first()?.as_ref(0)?.clone();
    u64::from_value_opt(value).ok()
}
