//! The named differences: which of them a run has met, and the page that tells them to users.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

use crate::table::{Row, Section, TABLE};

/// Where the page is.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differences.md");

/// What stands above the tables.
const OPENING: &str = "\
# Differences from Python's pyzord

The behaviour of Python's pyzord of pyzor 1.1.2, the behaviour of this pyzord, and the reason. Everything else is the same:
a difference that is not on this page is a bug.

<!-- Written from tests/differential/table.rs by `PYZORD_BLESS=1 cargo test --test differential the_page`. -->
";

/// The differences that one test may meet, and those that it has met.
#[derive(Debug)]
pub(crate) struct Met {
    expected: BTreeSet<&'static str>,
    met: BTreeSet<&'static str>,
}

impl Met {
    /// Nothing met yet; a name that is not in the table is an error.
    pub(crate) fn expecting(names: impl IntoIterator<Item = &'static str>) -> Self {
        let expected: BTreeSet<_> = names.into_iter().collect();
        for name in &expected {
            assert!(rows().any(|row| row.id == *name), "the table has no difference {name}");
        }
        Self { expected, met: BTreeSet::new() }
    }

    /// Takes note of a difference that explains what was seen.
    pub(crate) fn meet(&mut self, name: &'static str) {
        assert!(self.expected.contains(name), "the difference {name} was not expected here");
        self.met.insert(name);
    }

    /// Fails when a difference was never seen: then it is gone, or the test does not reach it any more.
    pub(crate) fn finish(&self) {
        let missed: Vec<_> = self.expected.difference(&self.met).collect();
        assert!(missed.is_empty(), "these differences were never met: {missed:?}");
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().flat_map(|section| section.rows)
}

/// The page, as it has to be.
fn page() -> String {
    let mut page = OPENING.to_owned();
    for Section { level, title, rows } in TABLE {
        let _ = write!(page, "\n{} {title}\n", "#".repeat(*level));
        if !rows.is_empty() {
            page += "\n| matter | Python | pyzord | why |\n| --- | --- | --- | --- |\n";
        }
        for Row { matter, python, pyzord, why, .. } in *rows {
            let line = format!("| {matter} | {python} | {pyzord} | {why} |\n");
            page += &line.replace("|  |", "| |");
        }
    }
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    if env::var_os("PYZORD_BLESS").is_some() {
        fs::write(PAGE, page()).unwrap();
    }
    assert!(
        fs::read_to_string(PAGE).unwrap() == page(),
        "docs/differences.md is not what tests/differential/table.rs says: \
         run `PYZORD_BLESS=1 cargo test --test differential the_page`"
    );
}

#[test]
fn every_difference_has_a_name_of_its_own() {
    let names: BTreeSet<_> = rows().map(|row| row.id).collect();
    assert_eq!(names.len(), rows().count());
}
