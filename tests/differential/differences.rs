//! The named differences: those that a run has hit, and the page that documents them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

use crate::table::{Row, Section, TABLE};

/// The path of the page.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differences.md");

/// The text above the tables.
const OPENING: &str = "\
# Differences from Python's pyzord

The behaviour of Python's pyzord of pyzor 1.1.2, the behaviour of this pyzord, and the reason. Everything else is the same:
a difference that is not on this page is a bug.

<!-- Written from tests/differential/table.rs by `PYZORD_BLESS=1 cargo test --test differential the_page`. -->
";

/// The differences that one test must hit, and those that it has hit.
#[derive(Debug)]
pub(crate) struct Coverage {
    expected: BTreeSet<&'static str>,
    hit: BTreeSet<&'static str>,
}

impl Coverage {
    /// Expects these differences; panics if one is not in the table.
    pub(crate) fn expecting(names: impl IntoIterator<Item = &'static str>) -> Self {
        let expected: BTreeSet<_> = names.into_iter().collect();
        for name in &expected {
            assert!(rows().any(|row| row.id == *name), "the table has no difference {name}");
        }
        Self { expected, hit: BTreeSet::new() }
    }

    /// Records that a difference explains a result.
    pub(crate) fn hit(&mut self, name: &'static str) {
        assert!(self.expected.contains(name), "the difference {name} was not expected here");
        self.hit.insert(name);
    }

    /// Panics if a difference was not hit: then it does not exist, or the test does not reach it.
    pub(crate) fn finish(&self) {
        let missed: Vec<_> = self.expected.difference(&self.hit).collect();
        assert!(missed.is_empty(), "these differences were not hit: {missed:?}");
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().flat_map(|section| section.rows)
}

/// Renders the page.
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
fn the_page_matches_the_table() {
    if env::var_os("PYZORD_BLESS").is_some() {
        fs::write(PAGE, page()).unwrap();
    }
    assert!(
        fs::read_to_string(PAGE).unwrap() == page(),
        "docs/differences.md does not match tests/differential/table.rs: \
         run `PYZORD_BLESS=1 cargo test --test differential the_page`"
    );
}

#[test]
fn every_difference_has_a_unique_name() {
    let names: BTreeSet<_> = rows().map(|row| row.id).collect();
    assert_eq!(names.len(), rows().count());
}
