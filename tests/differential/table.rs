//! The differences from Python's pyzord. The test `the_page` writes `docs/differences.md` from this table.

mod databases;
mod operation;
mod requests;

/// A section of the page; `level` is the level of its heading.
pub(crate) struct Section {
    pub(crate) level: usize,
    pub(crate) title: &'static str,
    pub(crate) rows: &'static [Row],
}

/// One difference. The tests refer to it by its `id`.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) matter: &'static str,
    pub(crate) python: &'static str,
    pub(crate) pyzord: &'static str,
    pub(crate) why: &'static str,
}

/// The page, from top to bottom.
pub(crate) const TABLE: &[Section] = &[
    requests::PROTOCOL,
    requests::LIMITS,
    requests::ACCESS,
    databases::DATABASES,
    databases::GDBM,
    databases::REDIS,
    databases::MYSQL,
    databases::MIGRATE,
    operation::DAEMON,
    operation::FORWARDING,
    operation::LOGS,
];
