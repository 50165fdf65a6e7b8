//! The texts of the statements.
//!
//! In an update, `VALUES(column)` is the only way to name the row to be inserted that MariaDB and MySQL
//! share. MySQL 8 keeps it as deprecated.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pyzord_core::UnixTime;

use super::dsn::Dsn;
use super::row::{Codec, FIELDS};
use super::schema::Schema;

/// The largest number of rows of one statement.
pub(super) const MOST_ROWS: usize = 128;

/// Returns how many rows a statement for `count` rows has: the next power of two, so that few statements are
/// prepared.
pub(super) fn padded(count: usize) -> usize {
    count.next_power_of_two()
}

/// The statements on one table; `table` is its name between backticks.
#[derive(Clone, Debug)]
pub(super) struct Sql {
    pub(super) table: String,
    /// The table with the marks of signed counts, likewise.
    pub(super) marks: String,
    /// The table with the lease of expiry, likewise.
    pub(super) lease: String,
}

impl Sql {
    /// Returns the statements on the tables of a DSN.
    pub(super) fn of(dsn: &Dsn) -> Self {
        let table = &dsn.table;
        Self { table: table.quoted(), marks: table.marks().quoted(), lease: table.lease().quoted() }
    }

    /// Reads the rows of `rows` digests.
    pub(super) fn read(&self, rows: usize) -> String {
        format!("SELECT {FIELDS} FROM {} WHERE digest IN ({})", self.table, list("?", rows))
    }

    /// Removes the rows of `rows` digests.
    pub(super) fn remove(&self, rows: usize) -> String {
        format!("DELETE FROM {} WHERE digest IN ({})", self.table, list("?", rows))
    }

    /// Adds to the reports of `rows` digests. Parameters of each: digest, how many, now, now.
    pub(super) fn report(&self, rows: usize, codec: &Codec) -> String {
        self.add(&values(rows), "r", "wl", codec.schema.most_reports, &codec.zone)
    }

    /// Adds to the whitelistings, as [`report`](Self::report) does.
    pub(super) fn whitelist(&self, rows: usize, codec: &Codec) -> String {
        self.add(&values(rows), "wl", "r", codec.schema.most_whitelists, &codec.zone)
    }

    /// Adds to a count, up to `most`. A zero date, which some servers accept, has the year 0 and counts as
    /// missing. A date does not go back, as [`UnixTime::or_later`] says.
    fn add(&self, rows: &str, kind: &str, other: &str, most: u64, zone: &TimeZone) -> String {
        let built = built(zone);
        format!(
            "INSERT INTO {table} (digest, {kind}_count, {kind}_entered, {kind}_updated, {other}_count, \
             {other}_entered, {other}_updated) {rows} ON DUPLICATE KEY UPDATE \
             {sum}, \
             {kind}_entered = IF(YEAR({kind}_entered) > 0, {kind}_entered, VALUES({kind}_entered)), \
             {kind}_updated = IF({kind}_updated > VALUES({kind}_updated) AND (VALUES({kind}_updated) < '{built}' OR \
             {kind}_updated <= VALUES({kind}_updated) + INTERVAL 1 DAY), {kind}_updated, VALUES({kind}_updated))",
            table = self.table,
            sum = sum(&format!("{kind}_count"), most)
        )
    }

    /// Counts no report, and is refused where a count is: by a server that is read-only, without a right, or as another
    /// column needs a value.
    pub(super) fn probe(&self, codec: &Codec) -> String {
        let none = "SELECT '', 0, NULL, NULL, 0, NULL, NULL FROM DUAL WHERE 1 = 0";
        self.add(none, "r", "wl", codec.schema.most_reports, &codec.zone)
    }

    /// Removes no row, and is refused where expiry is.
    pub(super) fn probe_expiry(&self) -> String {
        format!("DELETE FROM {} WHERE 1 = 0", self.table)
    }

    /// Stores `rows` whole rows.
    pub(super) fn put(&self, rows: usize) -> String {
        let columns: Vec<&str> = FIELDS.split(", ").skip(1).collect();
        let updates: Vec<String> =
            columns.iter().map(|column| format!("{column} = VALUES({column})")).collect();
        format!(
            "INSERT INTO {} ({FIELDS}) VALUES {} ON DUPLICATE KEY UPDATE {}",
            self.table,
            list("(?,?,?,?,?,?,?)", rows),
            updates.join(", ")
        )
    }

    /// Adds the counts of `rows` rows, and keeps the outermost dates. Parameters as for [`put`](Self::put).
    pub(super) fn merge(&self, rows: usize, schema: &Schema) -> String {
        let updates = [("r", schema.most_reports), ("wl", schema.most_whitelists)].map(|(kind, most)| {
            let outermost = |column: &str, choice: &str| {
                format!(
                    "{column} = IF(YEAR({column}) > 0, COALESCE({choice}({column}, VALUES({column})), {column}), \
                     VALUES({column}))"
                )
            };
            [
                sum(&format!("{kind}_count"), most),
                outermost(&format!("{kind}_entered"), "LEAST"),
                outermost(&format!("{kind}_updated"), "GREATEST"),
            ]
            .join(", ")
        });
        format!(
            "INSERT INTO {} ({FIELDS}) VALUES {} ON DUPLICATE KEY UPDATE {}",
            self.table,
            list("(?,?,?,?,?,?,?)", rows),
            updates.join(", ")
        )
    }

    /// Makes assignments to the row of a digest, if there is one. Last parameter: the digest.
    pub(super) fn update(&self, assignments: &[String]) -> String {
        format!("UPDATE {} SET {} WHERE digest = ?", self.table, assignments.join(", "))
    }

    /// Inserts a row, or makes assignments to that of its digest. First parameters: the row.
    pub(super) fn insert_or_update(&self, assignments: &[String]) -> String {
        format!(
            "INSERT INTO {} ({FIELDS}) VALUES (?,?,?,?,?,?,?) ON DUPLICATE KEY UPDATE {}",
            self.table,
            assignments.join(", ")
        )
    }

    /// Inserts `rows` whole rows whose digests have none; the server counts those that it inserts.
    pub(super) fn insert(&self, rows: usize) -> String {
        let values = list("(?,?,?,?,?,?,?)", rows);
        let table = &self.table;
        format!(
            "INSERT INTO {table} ({FIELDS}) VALUES {values} ON DUPLICATE KEY UPDATE digest = {table}.digest"
        )
    }

    /// Replaces a row that has the stored values. Parameters: the new values without the key, the stored ones with it.
    pub(super) fn exchange(&self) -> String {
        let assignments: Vec<String> =
            FIELDS.split(", ").skip(1).map(|column| format!("{column} = ?")).collect();
        format!("UPDATE {} SET {} WHERE {}", self.table, assignments.join(", "), stored())
    }

    /// Removes `rows` rows that have the stored values.
    pub(super) fn delete_rows(&self, rows: usize) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, vec![stored(); rows].join(" OR "))
    }

    /// Reads the next `rows` rows after a key, or from a key on for the `first` time. Parameter: the key.
    pub(super) fn scan(&self, first: bool, rows: usize) -> String {
        let after = if first { ">=" } else { ">" };
        format!("SELECT {FIELDS} FROM {} WHERE digest {after} ? ORDER BY digest LIMIT {rows}", self.table)
    }

    /// Reads the key that is `rows` rows after another one, if there are so many. Parameter: the key.
    pub(super) fn bound(&self, rows: usize) -> String {
        let offset = rows.saturating_sub(1);
        format!("SELECT digest FROM {} WHERE digest > ? ORDER BY digest LIMIT 1 OFFSET {offset}", self.table)
    }

    /// Reads the last of `rows` expired keys after a key, and up to another one if `bounded`; none if there
    /// are fewer. Parameters: key, key if bounded, limit.
    pub(super) fn expired(&self, bounded: bool, rows: usize) -> String {
        let (expired, offset) = (Self::has_expired(bounded), rows.saturating_sub(1));
        format!("SELECT digest FROM {} WHERE {expired} ORDER BY digest LIMIT 1 OFFSET {offset}", self.table)
    }

    /// Removes the rows that have expired after a key, and up to another one if `bounded`. Parameters: key,
    /// key if bounded, limit.
    pub(super) fn expire(&self, bounded: bool) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, Self::has_expired(bounded))
    }

    /// Counts the rows and the expired rows after a key, and up to another one if `bounded`, and reads their latest
    /// date. Parameters: limit, key, key if bounded.
    pub(super) fn survey(&self, bounded: bool) -> String {
        let bound = if bounded { " AND digest <= ?" } else { "" };
        format!(
            "SELECT COUNT(*), COUNT(IF({LATEST} < ? AND YEAR({LATEST}) > 0, 1, NULL)), \
             MAX(IF(YEAR({LATEST}) > 0, {LATEST}, NULL)) FROM {} WHERE digest > ?{bound}",
            self.table
        )
    }

    /// Reads the next `rows` rows that may have expired: key, last report, whether it has, last whitelisting. Those that were
    /// `reported` are read through the index, in its order. Parameters: limit, then the date, the limit, the date and the
    /// key if `reported`, else the key.
    pub(super) fn dated(&self, index: &str, reported: bool, rows: usize) -> String {
        let (bounds, order) = if reported {
            ("r_updated >= ? AND r_updated < ? AND (r_updated > ? OR digest > ?)", "r_updated, digest")
        } else {
            ("r_updated IS NULL AND digest > ?", "digest")
        };
        format!(
            "SELECT digest, r_updated, COALESCE({LATEST} < ? AND YEAR({LATEST}) > 0, 0), wl_updated FROM {} FORCE INDEX \
             ({}) WHERE {bounds} ORDER BY {order} LIMIT {rows}",
            self.table,
            quoted(index)
        )
    }

    /// Removes those of `rows` rows that have expired. Parameters: keys, limit.
    pub(super) fn expire_some(&self, rows: usize) -> String {
        let keys = list("?", rows);
        format!("DELETE FROM {} WHERE digest IN ({keys}) AND {LATEST} < ? AND YEAR({LATEST}) > 0", self.table)
    }

    /// Reads the date of the latest report.
    pub(super) fn latest_report(&self) -> String {
        format!("SELECT MAX(r_updated) FROM {}", self.table)
    }

    /// Returns the condition for expired rows. A row whose dates are all missing or zero does not expire.
    fn has_expired(bounded: bool) -> String {
        let bound = if bounded { " AND digest <= ?" } else { "" };
        format!("digest > ?{bound} AND {LATEST} < ? AND YEAR({LATEST}) > 0")
    }

    /// Counts the rows, up to `most`.
    pub(super) fn count(&self, most: usize) -> String {
        format!("SELECT COUNT(*) FROM (SELECT 1 FROM {} LIMIT {most}) AS counted", self.table)
    }

    /// Describes the columns of the table.
    pub(super) fn columns(&self) -> String {
        format!("SHOW FULL COLUMNS FROM {}", self.table)
    }

    /// Describes the indexes of the table.
    pub(super) fn keys(&self) -> String {
        format!("SHOW INDEX FROM {}", self.table)
    }

    /// Creates the table. Keys are ASCII, as one byte a character makes the index small.
    pub(super) fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (digest CHAR(40) CHARACTER SET ascii NOT NULL, r_count INT, wl_count INT, \
             r_entered DATETIME NULL, wl_entered DATETIME NULL, r_updated DATETIME NULL, wl_updated DATETIME NULL, \
             PRIMARY KEY (digest))",
            self.table
        )
    }
}

/// The latest activity of a row.
const LATEST: &str = "GREATEST(COALESCE(r_updated, wl_updated), COALESCE(wl_updated, r_updated))";

/// The statements on the table of marks. The server's clock gives them their dates, as all servers on a table share it.
impl Sql {
    /// Adds `rows` marks, but for those that are there.
    pub(super) fn mark(&self, rows: usize) -> String {
        let rows = list("(?,UNIX_TIMESTAMP())", rows);
        format!("INSERT IGNORE INTO {} (mark, made) VALUES {rows}", self.marks)
    }

    /// Reads those of `rows` marks that are there.
    pub(super) fn marked(&self, rows: usize) -> String {
        format!("SELECT mark FROM {} WHERE mark IN ({})", self.marks, list("?", rows))
    }

    /// Removes `rows` marks that are older than `age` seconds.
    pub(super) fn forget(&self, age: u64, rows: usize) -> String {
        let old = format!("made < UNIX_TIMESTAMP() - {age}");
        format!("DELETE FROM {} WHERE {old} ORDER BY made LIMIT {rows}", self.marks)
    }

    /// Changes nothing, and fails if the table or a right to it is missing.
    pub(super) fn try_marks(&self) -> [String; 2] {
        let marks = &self.marks;
        [
            format!("INSERT INTO {marks} (mark, made) SELECT mark, made FROM {marks} WHERE 1 = 0"),
            format!("DELETE FROM {marks} WHERE 1 = 0"),
        ]
    }

    /// Creates the table of marks. It must be transactional.
    pub(super) fn create_marks(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (mark CHAR(42) CHARACTER SET ascii NOT NULL, made BIGINT NOT NULL, \
             PRIMARY KEY (mark), KEY made (made)) ENGINE=InnoDB",
            self.marks
        )
    }
}

/// The statements on the table of the lease, which has one row. A beat is a new random text each time.
impl Sql {
    /// Reads the holder and the beat.
    pub(super) fn lease(&self) -> String {
        format!("SELECT holder, beat FROM {} WHERE name = 'expiry'", self.lease)
    }

    /// Adds the row, unless it is there. Parameters: holder, beat.
    pub(super) fn first_lease(&self) -> String {
        format!(
            "INSERT INTO {lease} (name, holder, beat) VALUES ('expiry', ?, ?) ON DUPLICATE KEY UPDATE holder = {lease}.holder",
            lease = self.lease
        )
    }

    /// Takes the lease if the row is as it was seen. Parameters: new holder, new beat, seen holder, seen beat.
    pub(super) fn take_lease(&self) -> String {
        format!(
            "UPDATE {} SET holder = ?, beat = ? WHERE name = 'expiry' AND holder <=> ? AND beat <=> ?",
            self.lease
        )
    }

    /// Gives the lease back. Parameter: the holder.
    pub(super) fn release_lease(&self) -> String {
        format!("UPDATE {} SET holder = '' WHERE name = 'expiry' AND holder = ?", self.lease)
    }

    /// Creates the table of the lease.
    pub(super) fn create_lease(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (name CHAR(16) CHARACTER SET ascii NOT NULL, holder CHAR(16) CHARACTER SET \
             ascii NOT NULL, beat CHAR(16) CHARACTER SET ascii NOT NULL, PRIMARY KEY (name)) ENGINE=InnoDB",
            self.lease
        )
    }
}

/// Adds the count to be inserted, up to `most`.
fn sum(column: &str, most: u64) -> String {
    format!(
        "{column} = IF(COALESCE({column}, 0) > {most} - VALUES({column}), {most}, \
         COALESCE({column}, 0) + VALUES({column}))"
    )
}

/// Returns the condition for a row that has all of the stored values.
fn stored() -> String {
    let fields = FIELDS.split(", ").skip(1).map(|column| format!(" AND {column} <=> ?"));
    format!("(digest = ?{})", fields.collect::<String>())
}

/// Returns the local date of this build.
fn built(zone: &TimeZone) -> String {
    let built = Timestamp::from_second(UnixTime::BUILT.seconds()).unwrap_or(Timestamp::MIN);
    zone.to_datetime(built).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns the rows of an addition, with parameters.
fn values(rows: usize) -> String {
    format!("VALUES {}", list("(?,?,?,?,0,NULL,NULL)", rows))
}

/// Returns the name of an index between backticks.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn list(item: &str, count: usize) -> String {
    vec![item; count].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_sizes_serve_any_number_of_rows() {
        let sizes: std::collections::BTreeSet<usize> = (1..=MOST_ROWS).map(padded).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 128]);
    }

    #[test]
    fn statements_name_the_table_and_as_many_values_as_rows() {
        let sql = Sql::of(&Dsn::parse("host,user,,pyzor,a.b-c").unwrap());
        assert!(sql.read(3).ends_with("FROM `a`.`b-c` WHERE digest IN (?,?,?)"), "{}", sql.read(3));
        let schema = Schema::default();
        let codec = Codec { zone: TimeZone::UTC, schema };
        for (text, values) in [
            (sql.report(4, &codec), 16),
            (sql.whitelist(1, &codec), 4),
            (sql.put(2), 14),
            (sql.merge(2, &schema), 14),
            (sql.remove(8), 8),
            (sql.expired(true, 5), 3),
            (sql.survey(true), 3),
            (sql.survey(false), 2),
            (sql.expire(true), 3),
            (sql.expire(false), 2),
            (sql.dated("a`b", true, 5), 5),
            (sql.dated("a`b", false, 5), 2),
            (sql.expire_some(4), 5),
            (sql.scan(true, 5), 1),
            (sql.bound(5), 1),
            (sql.insert(2), 14),
            (sql.exchange(), 13),
            (sql.delete_rows(2), 14),
            (sql.mark(2), 2),
            (sql.marked(4), 4),
            (sql.forget(9, 5), 0),
            (sql.first_lease(), 2),
            (sql.take_lease(), 4),
        ] {
            assert_eq!(text.matches('?').count(), values, "{text}");
            assert!(text.contains("`a`.`b-c"), "{text}");
        }
    }
}
