//! The tables, and what marks a database as ours.

use rusqlite::{Connection, Error, Result};

use super::open::OpenCause;

/// Marks a file as a database of pyzord: `pyzd`. Programs such as file(1) read it.
const APPLICATION_ID: i32 = 0x7079_7a64;
/// The version of the tables.
const VERSION: i32 = 1;

/// The table of records. Dates are in microseconds since 1970, and null where there is none.
const DIGESTS: &str = "CREATE TABLE digests(\
    digest BLOB PRIMARY KEY CHECK(length(digest) = 20), \
    r_count INTEGER NOT NULL CHECK(r_count >= 0), r_entered INTEGER, r_updated INTEGER, \
    wl_count INTEGER NOT NULL CHECK(wl_count >= 0), wl_entered INTEGER, wl_updated INTEGER\
    ) STRICT, WITHOUT ROWID";
/// Figures about the records.
const META: &str =
    "CREATE TABLE pyzord_meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Nothing yet: it is new, or its creation was cut short.
    Nothing,
    /// Records.
    Records,
}

/// Makes the tables. Call it in one step, so that a creation that is cut short leaves none of them.
pub(super) fn create(connection: &Connection) -> Result<()> {
    connection.execute_batch(&format!(
        "{DIGESTS}; {META}; INSERT INTO pyzord_meta VALUES('generation', 0), ('id', random()), ('records', 0), ('trials', 0); \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}"
    ))
}

/// Checks that the tables are ours.
pub(super) fn check(connection: &Connection) -> Result<Content, OpenCause> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables = "SELECT name FROM sqlite_schema ORDER BY name";
    let mut statement = connection.prepare(tables)?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>>>()?;
    if names.is_empty() && application == 0 && version == 0 {
        return Ok(Content::Nothing);
    }
    if application != APPLICATION_ID {
        return Err(OpenCause::Foreign { tables: names });
    }
    if version != VERSION {
        return Err(OpenCause::Version { found: version, known: VERSION });
    }
    for (name, expected) in [("digests", DIGESTS), ("pyzord_meta", META)] {
        let found = connection.query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [name], |row| {
            row.get::<_, Option<String>>(0)
        });
        match found {
            Ok(Some(sql)) if sql == expected => (),
            Ok(_) | Err(Error::QueryReturnedNoRows) => return Err(OpenCause::Changed { table: name }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Content::Records)
}
