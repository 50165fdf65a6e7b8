//! Signed counts: a mark for each is in a second table, written in one transaction with the count.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql::{Row, Value};
use pyzord_core::{Digest, Mark, Record, StoreAnswer, StoreError, StoreOp, UnixTime};

use super::error::StatementError;
use super::pauses::{Pauses, has_time};
use super::row;
use super::session::{Kind, Session};
use super::sql::{self, MOST_ROWS};
use crate::outcome::in_doubt;

/// How long a mark stays: longer than any signature is valid, for clocks of servers that differ.
const AGE: Duration = Mark::LIFE.saturating_mul(2);
/// How many marks one statement removes, and how many statements one round has at most.
const FORGOTTEN: usize = 2000;
const ROUNDS: usize = 50;

/// The answer to a count with a mark that is in doubt.
const UNSETTLED: StoreError = in_doubt(StoreOp::Report, true);

/// How a transaction ended.
enum Ending {
    Committed,
    /// Some of the marks were there. Nothing was counted.
    Repeated,
}

/// Why a transaction has no known end.
struct Broken {
    error: StatementError,
    /// It may be committed, or may be later. Every other transaction ends with its connection.
    doubtful: bool,
}

impl From<StatementError> for Broken {
    fn from(error: StatementError) -> Self {
        Self { error, doubtful: false }
    }
}

impl Session {
    /// Adds one kind of counts with marks, each unless its mark is there, and inserts the answers. Those that have an
    /// answer are left out, unless they are in doubt. One that was not executed, as the connection was lost, gets none.
    pub(super) fn count_marked(
        &mut self,
        kind: Kind,
        marked: &BTreeMap<Mark, Digest>,
        now: UnixTime,
        answers: &mut BTreeMap<Mark, StoreAnswer>,
        contended: &mut Option<StatementError>,
    ) -> Result<(), StatementError> {
        let open = |mark: &Mark| answers.get(mark).is_none_or(|answer| *answer == Err(UNSETTLED));
        let marked: Vec<(Mark, Digest)> =
            marked.iter().filter(|(mark, _)| open(mark)).map(|(mark, digest)| (*mark, *digest)).collect();
        let mut parts: Vec<Vec<(Mark, Digest)>> = marked.chunks(MOST_ROWS).rev().map(<[_]>::to_vec).collect();
        while let Some(mut left) = parts.pop() {
            let counted = self.count_new(kind, &mut left, now, answers);
            let in_the_way = matches!(
                counted,
                Ok(Ending::Repeated) | Err(Broken { error: StatementError::Contention(_), .. })
            );
            // Only the contended digests are to fail.
            if in_the_way && left.len() > 1 && has_time(self.deadline(), Duration::ZERO) {
                let second = left.split_off(left.len() / 2);
                parts.extend([second, left]);
                continue;
            }
            let answer = match &counted {
                Ok(Ending::Committed) => Some(Ok(Record::default())),
                Err(Broken { doubtful: true, .. }) => Some(Err(UNSETTLED)),
                // Another connection, or another host, may execute it.
                Err(Broken { error: StatementError::Lost(_) | StatementError::ReadOnly(_), .. }) => None,
                Ok(Ending::Repeated) | Err(_) => Some(Err(StoreError::Unavailable)),
            };
            for (mark, _) in left {
                match answer {
                    None => (),
                    // The transaction before this one may still be committed.
                    Some(Err(_)) if answers.contains_key(&mark) => (),
                    Some(answer) => drop(answers.insert(mark, answer)),
                }
            }
            match counted {
                Err(Broken { error: error @ StatementError::Contention(_), .. }) => *contended = Some(error),
                counted => {
                    self.proven |= matches!(counted, Ok(Ending::Committed));
                    counted.map_err(|broken| broken.error)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the counts in `left`. Those whose marks are there are answered, and taken out of it.
    fn count_new(
        &mut self,
        kind: Kind,
        left: &mut Vec<(Mark, Digest)>,
        now: UnixTime,
        answers: &mut BTreeMap<Mark, StoreAnswer>,
    ) -> Result<Ending, Broken> {
        let mut pauses = Pauses::for_rows(left.len());
        loop {
            match self.transaction(kind, left, now) {
                Err(broken) => {
                    if !matches!(broken.error, StatementError::Lost(_)) {
                        self.roll_back()?;
                    }
                    let contended = matches!(broken.error, StatementError::Contention(_));
                    if !contended || !pauses.again(self.deadline()) {
                        return Err(broken);
                    }
                }
                Ok(Ending::Repeated) => {
                    self.roll_back()?;
                    let known = self.marks_of(left)?;
                    let is_known = |mark: &Mark| known.iter().any(|text| *text == text_of(*mark));
                    let repeated = left.extract_if(.., |(mark, _)| is_known(mark));
                    answers.extend(repeated.map(|(mark, _)| (mark, Err(StoreError::AlreadyCounted))));
                    if left.is_empty() {
                        return Ok(Ending::Committed);
                    }
                    // A transaction that was rolled back since may have had the mark, so that it is not there now.
                    if known.is_empty() && !pauses.again(self.deadline()) {
                        return Ok(Ending::Repeated);
                    }
                }
                Ok(Ending::Committed) => return Ok(Ending::Committed),
            }
        }
    }

    fn roll_back(&mut self) -> Result<(), StatementError> {
        match self.query("ROLLBACK") {
            // A cluster tells here that it has ended the transaction before.
            Err(StatementError::Contention(_)) => self.query("ROLLBACK").map(drop),
            rolled_back => rolled_back.map(drop),
        }
    }

    /// Inserts the marks and adds the counts, unless a mark is there.
    fn transaction(
        &mut self,
        kind: Kind,
        marked: &[(Mark, Digest)],
        now: UnixTime,
    ) -> Result<Ending, Broken> {
        let mut counts: BTreeMap<Digest, u64> = BTreeMap::new();
        marked.iter().for_each(|(_, digest)| *counts.entry(*digest).or_default() += 1);
        let counts: Vec<(Digest, u64)> = counts.into_iter().collect();
        let mark = self.prepared(Kind::Mark, sql::padded(marked.len()))?;
        let add = self.prepared(kind, sql::padded(counts.len()))?;
        let values = self.addition(kind, &counts, now);
        self.query("START TRANSACTION")?;
        self.execute_once(&mark, &keys(marked))?;
        if self.changed() != marked.len() as u64 {
            return Ok(Ending::Repeated);
        }
        self.execute_once(&add, &values)?;
        match self.query("COMMIT") {
            Ok(_) => Ok(Ending::Committed),
            Err(error) => {
                let doubtful = matches!(error, StatementError::Lost(_)) && self.has_sent();
                Err(Broken { error, doubtful })
            }
        }
    }

    /// Returns those of these marks that are in the table, as they are stored.
    fn marks_of(&mut self, marked: &[(Mark, Digest)]) -> Result<Vec<String>, StatementError> {
        let statement = self.prepared(Kind::Marked, sql::padded(marked.len()))?;
        let rows = self.execute_statement(&statement, &keys(marked), 1)?;
        let text = |row: &Row| row.as_ref(0).map(|key| String::from_utf8_lossy(row::text(key)).into_owned());
        Ok(rows.iter().filter_map(text).collect())
    }

    /// Removes the marks that no valid signature has.
    pub(super) fn forget_marks(&mut self) -> Result<(), StatementError> {
        let statement = self.sql.forget(AGE.as_secs(), FORGOTTEN);
        for _ in 0..ROUNDS {
            self.run(&statement, &[])?;
            if self.changed() < FORGOTTEN as u64 {
                break;
            }
        }
        Ok(())
    }
}

/// Returns the marks for a statement; the last one fills it up, and is there when its turn comes.
fn keys(marked: &[(Mark, Digest)]) -> Vec<Value> {
    let last = marked.last().into_iter().cycle();
    let filled = marked.iter().chain(last).take(sql::padded(marked.len()));
    filled.map(|(mark, _)| Value::Bytes(text_of(*mark).into_bytes())).collect()
}

/// Encodes a mark: the digits of its signature, and two for the place.
fn text_of(Mark { signature, place }: Mark) -> String {
    format!("{signature}{place:02x}")
}
