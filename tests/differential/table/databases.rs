//! The engines, and the move from one to another.

use super::{Row, Section};

pub(super) const DATABASES: Section = Section {
    level: 2,
    title: "Databases",
    rows: &[
        Row {
            id: "dsn-urls",
            matter: "DSN",
            python: "parts with commas between them",
            pyzord: "the same, or a URL with users, TLS, unix sockets, and passwords with a comma",
            why: "a database may be on another machine",
        },
        Row {
            id: "age",
            matter: "age of a record, gdbm and mysql",
            python: "from the latest report",
            pyzord: "from the latest report or whitelisting",
            why: "Python's server removes records that are still being whitelisted",
        },
        Row {
            id: "lost-counts",
            matter: "several threads, gdbm and redis_v0",
            python: "reads, adds and writes separately: counts get lost",
            pyzord: "counts in one atomic step",
            why: "counts must be correct",
        },
        Row {
            id: "unreadable-record",
            matter: "unreadable record",
            python: "500 with an exception's message, or the count continues, or the server does not \
                start",
            pyzord: "500 `The record of this digest is unreadable.` and a warning; in gdbm and redis it \
                stays unchanged",
            why: "one record must not stop a server, and nothing is destroyed",
        },
        Row {
            id: "partial-report",
            matter: "report or whitelisting with several digests, one of them with an unreadable record",
            python: "500; the digests before it are counted",
            pyzord: "500; all other digests are counted",
            why: "the order of digests has no meaning",
        },
        Row {
            id: "oldest-record",
            matter: "record in the oldest format of gdbm",
            python: "info gives 500; a report makes it unreadable",
            pyzord: "is an ordinary record",
            why: "no record is lost",
        },
        Row {
            id: "lax-record",
            matter: "record in a form that no server writes, such as the counts `-3`, `+5`, `1_0` or the \
                date `2024-1-5 3:4:5`",
            python: "is read",
            pyzord: "is unreadable",
            why: "it is damaged, and the next change would store a guess",
        },
        Row {
            id: "wide-record",
            matter: "gdbm record that mixes Unix time and local time; redis record with a date after the \
                year 9999",
            python: "500",
            pyzord: "is read",
            why: "Python's server writes the first form when it changes its oldest records",
        },
        Row {
            id: "dates-go-on",
            matter: "report while the clock is behind the date of the record",
            python: "sets the earlier date; the record expires when the clock is right again",
            pyzord: "keeps the later date, unless it is more than a day ahead of a plausible clock",
            why: "a wrong clock must not remove records",
        },
        Row {
            id: "guarded-expiry",
            matter: "expiry with a clock that is 30 days from the newest record, or of more than half of at least 1000 records",
            python: "removes them",
            pyzord: "waits, with a warning; `CleanupMaxOffset` and `CleanupMaxShare` set the limits, \
                `pyzorctl expiry --now` overrides them",
            why: "a wrong clock must not remove records",
        },
        Row {
            id: "absent-server",
            matter: "database server away at the start",
            python: "the start fails, except with mysql and `CleanupAge = 0`",
            pyzord: "the server starts and waits for it",
            why: "machines start in any order",
        },
        Row {
            id: "reconnect",
            matter: "database server away while serving",
            python: "with mysql, the next attempt to connect is after 60 seconds",
            pyzord: "the next attempt is after 0.1 to 1 second",
            why: "requests are served within two seconds of its return",
        },
        Row {
            id: "hanging-server",
            matter: "database server that hangs",
            python: "requests wait as long as it hangs; without threads, pings too",
            pyzord: "500 after about 0.4 seconds, then at once; pings are answered",
            why: "pings need no database",
        },
    ],
};

pub(super) const GDBM: Section = Section {
    level: 3,
    title: "gdbm",
    rows: &[
        Row {
            id: "start-on-odd-record",
            matter: "record that was only whitelisted, or in the oldest format",
            python: "the start fails, unless `CleanupAge` is 0",
            pyzord: "is an ordinary record",
            why: "one record must not stop a server",
        },
        Row {
            id: "start-on-unreadable-record",
            matter: "unreadable record at the start",
            python: "the start fails, unless `CleanupAge` is 0",
            pyzord: "stays unchanged; the start succeeds",
            why: "one record must not stop a server",
        },
        Row {
            id: "gdbm-expiry",
            matter: "expiry",
            python: "one pass over the file while all requests wait, then a rewrite of the file, at each \
                start and daily",
            pyzord: "short slices between requests; a rewrite only after more than half, and at least \
                1000, were removed",
            why: "requests are answered during expiry",
        },
        Row {
            id: "damaged-file",
            matter: "damaged file",
            python: "fails at the start or later",
            pyzord: "is checked at the start and recovered, with a backup of the old file",
            why: "a killed server starts again",
        },
        Row {
            id: "colliding-digests",
            matter: "167 digests with one hash value",
            python: "the file grows to a gigabyte, then all requests get 500",
            pyzord: "500 `The database has no place for this digest.` for the 167th; all others are served",
            why: "anybody can write such digests",
        },
        Row {
            id: "removed-file",
            matter: "file removed or replaced while the server runs",
            python: "counts continue in the file that is gone",
            pyzord: "reports and whitelistings get 500, the file is saved beside, and one that is put back is \
                used",
            why: "acknowledged counts must not be lost",
        },
    ],
};

pub(super) const REDIS: Section = Section {
    level: 3,
    title: "redis and redis_v0",
    rows: &[
        Row {
            id: "redis-script",
            matter: "counting",
            python: "three or four commands in a row",
            pyzord: "one script, which redis runs atomically; needs the right to run scripts",
            why: "no record is half written, and an unreadable one stays unchanged",
        },
        Row {
            id: "redis-reading",
            matter: "reading",
            python: "`HGETALL`",
            pyzord: "`HMGET` of the six fields",
            why: "other fields of the hash cannot make the reply long",
        },
        Row {
            id: "redis-zero-date",
            matter: "date 0, as in a migrated record",
            python: "stays 0 (never) for ever",
            pyzord: "is set by the first count",
            why: "that is when the record was entered",
        },
        Row {
            id: "redis-count-end",
            matter: "largest count",
            python: "an error",
            pyzord: "stays at 9223372036854775807",
            why: "a count must not fail",
        },
        Row {
            id: "redis-scan",
            matter: "search for records of the old layout",
            python: "`KEYS` at the start, which blocks redis",
            pyzord: "`SCAN` in short steps, between requests",
            why: "other clients use redis at the same time",
        },
    ],
};

pub(super) const MYSQL: Section = Section {
    level: 3,
    title: "mysql",
    rows: &[
        Row {
            id: "mysql-dates-of-first-count",
            matter: "first report or whitelisting of a digest",
            python: "sets all four dates",
            pyzord: "sets its own two; the other two are NULL",
            why: "a whitelisting is no report and sets no `r_entered`",
        },
        Row {
            id: "mysql-clock",
            matter: "dates",
            python: "the database server's clock and time zone",
            pyzord: "pyzord's clock, in the database server's time zone",
            why: "the other engines do the same",
        },
        Row {
            id: "mysql-count-end",
            matter: "largest count of the column",
            python: "an error, unless `sql_mode` is lenient",
            pyzord: "stays at the largest value, 2147483647 for `int`",
            why: "a count must not fail",
        },
        Row {
            id: "mysql-expiry",
            matter: "expiry",
            python: "one `DELETE` over the whole table, at each start and daily",
            pyzord: "ranges of 1000 rows, at the start and daily",
            why: "no lock is long",
        },
        Row {
            id: "mysql-table",
            matter: "table that is missing or does not fit",
            python: "an error at each request",
            pyzord: "one error in the log with the cause; `--create-table` creates a table",
            why: "one clear message is enough",
        },
        Row {
            id: "mysql-host",
            matter: "`host`",
            python: "a host",
            pyzord: "also `host:port`, or the path of a unix socket",
            why: "a database may use another port or a socket",
        },
    ],
};

pub(super) const MIGRATE: Section = Section {
    level: 2,
    title: "pyzor-migrate",
    rows: &[
        Row {
            id: "migrate-status",
            matter: "exit status",
            python: "0, even if records failed",
            pyzord: "0 only if no record failed",
            why: "scripts can rely on it",
        },
        Row {
            id: "migrate-read-back",
            matter: "after a write",
            python: "no check",
            pyzord: "each record is read back and compared",
            why: "the destination is proven to hold it",
        },
        Row {
            id: "migrate-delete",
            matter: "`--delete`",
            python: "removes a record after the write; fails with a gdbm file",
            pyzord: "removes it after the record was read back, and after a gdbm destination is on the \
                disk",
            why: "a crash loses no record",
        },
        Row {
            id: "migrate-from-gdbm",
            matter: "from gdbm to redis",
            python: "under Python 3, keys are written as `b'...'`, which no server finds",
            pyzord: "keys are the digests",
            why: "servers must find the records",
        },
        Row {
            id: "migrate-from-redis",
            matter: "from redis",
            python: "under Python 3, ends with a traceback",
            pyzord: "works",
            why: "the migration must succeed",
        },
        Row {
            id: "migrate-options",
            matter: "missing options",
            python: "exit status 1",
            pyzord: "exit status 2, as for any bad command line",
            why: "pyzord does the same",
        },
        Row {
            id: "migrate-new",
            matter: "new",
            python: "",
            pyzord: "`--dry-run`, `--cleanup-age`, a progress bar",
            why: "operators need them",
        },
    ],
};
