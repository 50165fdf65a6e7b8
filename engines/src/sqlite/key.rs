//! Keys of rows: digests, and what another program or damage has put in their place.

use std::cmp::Ordering;
use std::fmt;

use pyzord_core::Digest;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// A key of any type. A text need not be valid UTF-8.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Key {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Key {
    pub(super) fn digest(&self) -> Option<Digest> {
        let Self::Blob(bytes) = self else { return None };
        bytes.as_slice().try_into().map(Digest::new).ok()
    }

    /// Compares keys as SQLite does: numbers are before texts, and texts before bytes.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Integer(one), Self::Real(other)) => compare(*one, *other),
            (Self::Real(one), Self::Integer(other)) => compare(*other, *one).reverse(),
            (Self::Real(one), Self::Real(other)) => one.total_cmp(other),
            (Self::Text(one), Self::Text(other)) | (Self::Blob(one), Self::Blob(other)) => one.cmp(other),
            _ => self.kind().cmp(&other.kind()),
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Integer(_) | Self::Real(_) => 1,
            Self::Text(_) => 2,
            Self::Blob(_) => 3,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "neighbours of a walk need no more")]
fn compare(one: i64, other: f64) -> Ordering {
    (one as f64).total_cmp(&other)
}

impl From<ValueRef<'_>> for Key {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Writes the digits of bytes, and a name of the type before anything else.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Integer(number) => write!(f, "integer {number}"),
            Self::Real(number) => write!(f, "real {number}"),
            Self::Text(bytes) => write!(f, "text '{}'", bytes.escape_ascii()),
            Self::Blob(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
