//! Names of tables and databases.

use std::fmt;

use super::error::DsnError;

/// The longest name of a database or a table.
const LONGEST_NAME: usize = 64;

/// The name of a table, with that of its database if it is given. `Display` is for logs,
/// [`quoted`](Self::quoted) for SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct TableName {
    pub(in super::super) database: Option<String>,
    pub(in super::super) table: String,
}

impl TableName {
    /// Parses `table` or `database.table`.
    pub(in super::super) fn parse(text: &str) -> Result<Self, DsnError> {
        let (database, table) = match text.split_once('.') {
            Some((database, table)) => (Some(database), table),
            None => (None, text),
        };
        if !is_name(table) || !database.is_none_or(is_name) {
            return Err(DsnError::Table);
        }
        Ok(Self { database: database.map(str::to_owned), table: table.to_owned() })
    }

    /// Returns the name of the table with the marks of signed counts.
    pub(in super::super) fn marks(&self) -> Self {
        Self { database: self.database.clone(), table: format!("{}_marks", self.table) }
    }

    /// Returns the name of the table with the lease of expiry.
    pub(in super::super) fn lease(&self) -> Self {
        Self { database: self.database.clone(), table: format!("{}_lease", self.table) }
    }

    /// Returns the name between backticks; a name has no backtick.
    pub(in super::super) fn quoted(&self) -> String {
        match &self.database {
            Some(database) => format!("`{database}`.`{}`", self.table),
            None => format!("`{}`", self.table),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{database}.")?;
        }
        f.write_str(&self.table)
    }
}

/// Returns whether a text can be the name of a database or a table.
pub(super) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_$-".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(known)
}
