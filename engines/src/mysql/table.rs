//! Looks at the table, and creates it.

use mysql::{Row, Value};

use super::client::Client;
use super::error::ClientError;
use super::schema::{Column, KeyPart, Schema, SchemaError, date_index};
use super::sql::Sql;

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("table {table} does not exist: create it with pyzord --create-table, or see docs/mysql.md")]
    Missing { table: String },
    #[error("table {table} cannot be used: {cause}")]
    Unusable { table: String, cause: SchemaError },
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Reads what the columns of the table have room for, and the name of an index in the order of the last reports.
pub(super) fn schema(client: &mut Client, sql: &Sql) -> Result<(Schema, Option<String>), TableError> {
    let table = || sql.table.clone();
    let rows: Vec<Row> = client.query(&sql.columns()).map_err(ClientError::from).map_err(|error| {
        if error.is_missing_table() { TableError::Missing { table: table() } } else { error.into() }
    })?;
    let columns: Vec<Column> = rows.iter().map(column).collect();
    let keys = client.query(&sql.keys()).map_err(ClientError::from)?;
    let keys: Vec<KeyPart> = keys.iter().map(key_part).collect();
    let schema = Schema::of(&columns, &keys);
    let schema = schema.map_err(|cause| TableError::Unusable { table: table(), cause })?;
    Ok((schema, date_index(&keys).map(str::to_owned)))
}

/// Creates the tables that do not exist, and checks the one for records. Without those for marks and the lease
/// a server works.
pub(super) fn create(client: &mut Client, sql: &Sql) -> Result<(), TableError> {
    client.query(&sql.create()).map_err(ClientError::from)?;
    schema(client, sql)?;
    for (table, statement) in [(&sql.marks, sql.create_marks()), (&sql.lease, sql.create_lease())] {
        match client.query(&statement).map_err(ClientError::from) {
            Err(error) if error.is_refusal() => {
                log::warn!("table {table} is not created: {error}; see docs/mysql.md");
            }
            created => drop(created?),
        }
    }
    Ok(())
}

/// Returns whether the table of marks can be used.
pub(super) fn keeps_marks(client: &mut Client, sql: &Sql) -> Result<bool, ClientError> {
    for statement in sql.try_marks() {
        match client.query(&statement).map_err(ClientError::from) {
            Err(error) if error.is_missing_table_or_right() => return Ok(false),
            // A server that is read-only for a while refuses these statements, and others, for that time.
            Err(error) if !error.is_refusal() => return Err(error),
            _ => (),
        }
    }
    Ok(true)
}

/// Reads a row of `SHOW FULL COLUMNS`. A field that is missing or NULL is empty, which the schema refuses or
/// ignores.
fn column(row: &Row) -> Column {
    Column {
        name: text(row, "Field"),
        kind: text(row, "Type").to_lowercase(),
        collation: text(row, "Collation"),
        nullable: text(row, "Null") == "YES",
    }
}

/// Reads a row of `SHOW INDEX`.
fn key_part(row: &Row) -> KeyPart {
    KeyPart {
        index: text(row, "Key_name"),
        column: text(row, "Column_name"),
        prefix: text(row, "Sub_part").parse().ok(),
        unique: text(row, "Non_unique") == "0",
    }
}

fn text(row: &Row, name: &str) -> String {
    match row.get_opt::<Value, _>(name) {
        Some(Ok(Value::Bytes(bytes))) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}
