//! What the table's columns have room for; each connection reads it once.

use pyzord_core::Tally;

use super::row::FIELDS;

/// Where the user's guide describes the table.
const ADVICE: &str = "see docs/mysql.md";
/// The length of a digest in hex digits.
const DIGEST_LEN: u32 = 40;

/// What the columns have room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schema {
    /// The largest `r_count`.
    pub most_reports: u64,
    /// The largest `wl_count`.
    pub most_whitelists: u64,
    /// The smallest difference between two dates, in microseconds.
    pub unit: i64,
    /// Whether a digest in upper case is the same key as one in lower case.
    pub any_case: bool,
}

impl Default for Schema {
    /// The table of the user's guide.
    fn default() -> Self {
        Self { most_reports: INT, most_whitelists: INT, unit: 1_000_000, any_case: true }
    }
}

/// The largest value of an `int`.
const INT: u64 = (1 << 31) - 1;

/// A row of `SHOW FULL COLUMNS`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Column {
    pub(super) name: String,
    /// As in `bigint(20) unsigned`.
    pub(super) kind: String,
    pub(super) collation: String,
    pub(super) nullable: bool,
}

/// A row of `SHOW INDEX`: a column of an index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KeyPart {
    pub(super) index: String,
    /// Empty for an expression.
    pub(super) column: String,
    /// How many characters of the column the index has; `None` for all.
    pub(super) prefix: Option<u32>,
    pub(super) unique: bool,
}

/// Why a table cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error("it has no column {0}; {ADVICE}")]
    NoColumn(&'static str),
    #[error("its column {column} is {found}, not {expected}; {ADVICE}")]
    Type { column: String, found: String, expected: &'static str },
    #[error("its column digest is not the primary key; {ADVICE}")]
    NoKey,
    #[error(
        "its key {index} has only the first {length} characters of a digest, so that digests which begin alike would \
         share their counts: make the whole column the primary key; {ADVICE}"
    )]
    PrefixKey { index: String, length: u32 },
    #[error("its unique key {0} would make several digests share their counts: drop it; {ADVICE}")]
    SharedKey(String),
    #[error("its column {0} does not allow NULL; {ADVICE}")]
    NotNull(String),
}

impl Schema {
    /// Reads the columns of a table, and the parts of its indexes.
    ///
    /// # Errors
    /// If the table cannot be used.
    pub(super) fn of(columns: &[Column], keys: &[KeyPart]) -> Result<Self, SchemaError> {
        let column = |name: &'static str| {
            let found = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
            found.ok_or(SchemaError::NoColumn(name))
        };
        let digest = column("digest")?;
        check_digest(digest)?;
        check_keys(keys)?;
        let mut coarsest = 1;
        for date in ["r_entered", "r_updated", "wl_entered", "wl_updated"] {
            coarsest = coarsest.max(unit(column(date)?)?);
        }
        Ok(Self {
            most_reports: most(column("r_count")?)?,
            most_whitelists: most(column("wl_count")?)?,
            unit: coarsest,
            // The names of collations that ignore case end so on both servers.
            any_case: digest.collation.ends_with("_ci"),
        })
    }
}

/// Returns the name of an index in the order of the last reports, if there is one.
pub(super) fn date_index(parts: &[KeyPart]) -> Option<&str> {
    let is_first = |number: usize, part: &KeyPart| {
        parts.iter().position(|other| other.index == part.index) == Some(number)
    };
    let dated = |part: &KeyPart| part.column.eq_ignore_ascii_case("r_updated") && part.prefix.is_none();
    let mut found = parts.iter().enumerate().filter(|(number, part)| dated(part) && is_first(*number, part));
    found.next().map(|(_, part)| part.index.as_str())
}

/// Checks that the column has room for a digest.
fn check_digest(digest: &Column) -> Result<(), SchemaError> {
    let (kind, length, _) = kind(&digest.kind);
    if !["char", "varchar"].contains(&kind) || length.is_none_or(|length| length < DIGEST_LEN) {
        return Err(unfit(digest, "char(40)"));
    }
    Ok(())
}

/// Checks that the digest has a unique key of its own, without which each report adds a row; and that two digests share
/// no unique key, through which a count of one would be added to the other.
fn check_keys(parts: &[KeyPart]) -> Result<(), SchemaError> {
    let mut has_key = false;
    for last in parts.iter().filter(|part| part.unique) {
        let index = || parts.iter().filter(|part| part.index == last.index);
        if index().next_back() != Some(last) {
            continue;
        }
        has_key |= index().all(KeyPart::is_digest);
        // The values of a column that is not ours may differ from row to row.
        if index().any(|part| part.is_digest() || !part.is_ours()) {
            continue;
        }
        return Err(match last.prefix.filter(|_| last.column.eq_ignore_ascii_case("digest")) {
            Some(length) => SchemaError::PrefixKey { index: last.index.clone(), length },
            None => SchemaError::SharedKey(last.index.clone()),
        });
    }
    if has_key { Ok(()) } else { Err(SchemaError::NoKey) }
}

impl KeyPart {
    /// Returns whether this part tells any two digests apart.
    fn is_digest(&self) -> bool {
        self.column.eq_ignore_ascii_case("digest") && self.prefix.is_none_or(|length| length >= DIGEST_LEN)
    }

    fn is_ours(&self) -> bool {
        FIELDS.split(", ").any(|name| name.eq_ignore_ascii_case(&self.column))
    }
}

/// Returns the largest count that both a column and a reply have room for.
fn most(column: &Column) -> Result<u64, SchemaError> {
    let (kind, _, unsigned) = kind(&column.kind);
    let bits = match kind {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return Err(unfit(column, "int")),
    };
    let largest = u64::MAX >> (64 - bits + u32::from(!unsigned));
    Ok(largest.min(Tally::MAX))
}

/// Returns the smallest difference between two dates of a column, in microseconds.
fn unit(column: &Column) -> Result<i64, SchemaError> {
    let (kind, digits, _) = kind(&column.kind);
    // `datetime` without a number is `datetime(0)`.
    let digits = digits.unwrap_or(0);
    if kind != "datetime" || digits > 6 {
        return Err(unfit(column, "datetime"));
    }
    if !column.nullable {
        return Err(SchemaError::NotNull(column.name.clone()));
    }
    Ok(10_i64.pow(6 - digits))
}

fn unfit(column: &Column, expected: &'static str) -> SchemaError {
    SchemaError::Type { column: column.name.clone(), found: column.kind.clone(), expected }
}

/// Splits a type such as `int(11) unsigned` into its name, the number in brackets, and whether it is
/// unsigned.
fn kind(text: &str) -> (&str, Option<u32>, bool) {
    let name = text.split_once(['(', ' ']).map_or(text, |(name, _)| name);
    let number = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
    (name, number, text.split(' ').any(|word| word == "unsigned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        let collation = if name == "digest" { "latin1_swedish_ci" } else { "" };
        Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            collation: collation.to_owned(),
            nullable: true,
        }
    }

    fn columns(digest: &str, count: &str, date: &str) -> Vec<Column> {
        let mut columns = vec![column("digest", digest)];
        columns.extend(["r_count", "wl_count"].map(|name| column(name, count)));
        columns.extend(["r_entered", "wl_entered", "r_updated", "wl_updated"].map(|name| column(name, date)));
        columns
    }

    fn part(index: &str, column: &str, prefix: Option<u32>) -> KeyPart {
        KeyPart { index: index.to_owned(), column: column.to_owned(), prefix, unique: true }
    }

    fn primary() -> Vec<KeyPart> {
        vec![part("PRIMARY", "digest", None)]
    }

    #[test]
    fn room_is_what_the_types_have() {
        let table = [
            (columns("char(40)", "int(11)", "datetime"), INT, 1_000_000),
            (columns("varchar(64)", "int", "datetime(6)"), INT, 1),
            (columns("char(40)", "int(10) unsigned", "datetime(3)"), u64::from(u32::MAX), 1000),
            (columns("char(40)", "bigint(20)", "datetime"), Tally::MAX, 1_000_000),
            (columns("char(40)", "bigint(20) unsigned zerofill", "datetime"), Tally::MAX, 1_000_000),
            (columns("char(40)", "tinyint(4)", "datetime"), 127, 1_000_000),
            (columns("char(40)", "smallint(5) unsigned", "datetime"), 65535, 1_000_000),
            (columns("char(40)", "mediumint(9)", "datetime"), 8_388_607, 1_000_000),
        ];
        for (columns, most, unit) in table {
            let expected = Schema { most_reports: most, most_whitelists: most, unit, any_case: true };
            assert_eq!(Schema::of(&columns, &primary()), Ok(expected), "{columns:?}");
        }
    }

    #[test]
    fn the_least_exact_date_and_the_collation_count() {
        let mut columns = columns("char(40)", "int(11)", "datetime(6)");
        columns[3].kind = "datetime(2)".into();
        columns[0].collation = "latin1_bin".into();
        columns[0].name = "Digest".into();
        let schema = Schema::of(&columns, &[part("digests", "Digest", Some(40))]).unwrap();
        assert_eq!((schema.unit, schema.any_case), (10_000, false));
    }

    #[test]
    fn a_table_of_another_kind_is_refused_with_the_cause() {
        let changed = |change: fn(&mut Vec<Column>)| {
            let mut columns = columns("char(40)", "int(11)", "datetime");
            change(&mut columns);
            Schema::of(&columns, &primary()).unwrap_err()
        };
        let table = [
            (changed(Vec::clear), "it has no column digest"),
            (changed(|columns| drop(columns.remove(1))), "it has no column r_count"),
            (
                changed(|columns| columns[0].kind = "char(39)".into()),
                "its column digest is char(39), not char(40)",
            ),
            (changed(|columns| columns[0].kind = "text".into()), "its column digest is text, not char(40)"),
            (changed(|columns| columns[2].kind = "double".into()), "its column wl_count is double, not int"),
            (
                changed(|columns| columns[4].kind = "timestamp".into()),
                "its column wl_entered is timestamp, not",
            ),
            (changed(|columns| columns[4].nullable = false), "its column wl_entered does not allow NULL"),
        ];
        for (error, expected) in table {
            let error = error.to_string();
            assert!(error.starts_with(expected) && error.ends_with(ADVICE), "{error}");
        }
    }

    #[test]
    fn an_index_that_begins_with_the_last_report_serves() {
        let (id, date, other) = (
            part("PRIMARY", "digest", None),
            part("by date", "R_updated", None),
            part("x", "wl_updated", None),
        );
        assert_eq!(date_index(&[id.clone(), other.clone(), date.clone()]), Some("by date"));
        let second = KeyPart { index: "x".into(), ..date };
        assert_eq!(date_index(&[id, other, second]), None);
    }

    /// A key on the first eight characters counted the reports of one digest for another.
    #[test]
    fn keys_that_digests_could_share_are_refused() {
        let columns = columns("char(40)", "int(11)", "datetime");
        let of = |parts: &[KeyPart]| Schema::of(&columns, parts).map(drop).map_err(|error| error.to_string());
        let (id, stamp) = (part("PRIMARY", "id", None), part("stamps", "r_entered", None));
        let prefix = part("short", "digest", Some(8));
        let plain = KeyPart { unique: false, ..prefix.clone() };
        for good in [
            primary(),
            vec![id.clone(), part("digests", "digest", None)],
            vec![
                primary()[0].clone(),
                part("both", "r_count", None),
                part("both", "digest", None),
                plain.clone(),
            ],
        ] {
            assert_eq!(of(&good), Ok(()), "{good:?}");
        }
        for (bad, cause) in [
            (vec![], "its column digest is not the primary key"),
            (vec![plain], "its column digest is not the primary key"),
            (
                vec![part("PRIMARY", "digest", None), part("PRIMARY", "id", None)],
                "its column digest is not the",
            ),
            (vec![prefix.clone()], "its key short has only the first 8 characters of a digest"),
            (vec![primary()[0].clone(), prefix], "its key short has only the first 8 characters of a digest"),
            (vec![primary()[0].clone(), stamp], "its unique key stamps would make several digests share"),
        ] {
            assert!(of(&bad).unwrap_err().starts_with(cause), "{bad:?}: {:?}", of(&bad));
        }
    }
}
