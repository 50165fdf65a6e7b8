//! `/history.json`: what each minute of the last 24 hours has seen.
//!
//! Minutes are counted by a clock that cannot be set and that goes on while the machine is suspended; their civil time is
//! found when they are read. So a clock that is set moves all minutes alike, and a suspended machine leaves a gap. All of
//! it takes 280 KiB at most.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyzord_core::UnixTime;
use pyzord_runtime::Distribution;
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use crate::health::Level;

/// A minute, in seconds and in microseconds.
const STEP: i64 = 60;
const MINUTE: i64 = STEP * 1_000_000;
/// How many minutes are kept.
const MOST: i64 = 24 * 60;

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Civil time.
    pub(super) wall: UnixTime,
    /// A clock that also goes on while the machine is suspended, in microseconds.
    pub(super) elapsed: i64,
}

/// Counts since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) received: u64,
    pub(super) answered: u64,
    /// Replies with code 500.
    pub(super) failed: u64,
    /// Replies with other codes than 200 and 500.
    pub(super) refused: u64,
    /// Datagrams and replies for which the machine or the server was too busy.
    pub(super) lost: u64,
    pub(super) checks: u64,
    pub(super) hits: u64,
    pub(super) reports: u64,
    pub(super) whitelists: u64,
    /// `None` with a database that does not tell it.
    pub(super) new_records: Option<u64>,
    pub(super) latency: Distribution,
}

/// The minutes of a running server.
#[derive(Debug)]
pub(super) struct History(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When minute 0 began: at a full minute of the civil time of the start.
    base: i64,
    /// The minute that is under way.
    minute: i64,
    /// What was counted before it.
    before: Totals,
    /// The worst level in it.
    level: Level,
    /// The minutes that have ended, in their order.
    rows: VecDeque<(i64, Row)>,
}

/// What a minute has seen.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    /// Received, answered, failed, refused, lost, checks, hits, reports, whitelistings.
    counts: [u64; 9],
    new_records: Option<u64>,
    /// The median and the 99th percentile of the requests that got 200, in seconds.
    latency: [Option<f64>; 2],
    level: Level,
}

impl History {
    pub(super) fn new(now: Moment) -> Self {
        let state = State {
            base: now.elapsed - now.wall.micros().rem_euclid(MINUTE),
            minute: 0,
            before: Totals::default(),
            level: Level::Ok,
            rows: VecDeque::new(),
        };
        Self(Mutex::new(state))
    }

    /// Takes the level of this moment, and the counts if a minute has ended. Call it every second.
    pub(super) fn observe(&self, now: Moment, level: Level, totals: impl FnOnce() -> Totals) {
        let mut state = self.lock();
        let minute = (now.elapsed - state.base).div_euclid(MINUTE);
        if minute > state.minute {
            state.end_minute(totals(), minute);
        }
        state.level = state.level.max(level);
    }

    /// Returns the document: JSON on one line.
    pub(super) fn document(&self, now: Moment) -> serde_json::Result<String> {
        let rows = self.rows(now).into_iter().map(|(start, row)| Numbers(start, row)).collect();
        serde_json::to_string(&Document { step: STEP, rows })
    }

    /// Returns the minutes that have ended, each with the time of its beginning, in seconds.
    fn rows(&self, now: Moment) -> Vec<(i64, Row)> {
        let state = self.lock();
        // The time of minute 0, by the clock of now. A clock that was set need not be at a full minute.
        let first = now.wall.micros().saturating_sub(now.elapsed - state.base);
        let first = first.saturating_add(MINUTE / 2).div_euclid(MINUTE).saturating_mul(STEP);
        state.rows.iter().map(|(minute, row)| (first.saturating_add(minute * STEP), *row)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds the row of the minute under way, and begins `next`.
    fn end_minute(&mut self, totals: Totals, next: i64) {
        self.rows.push_back((self.minute, Row::new(&self.before, &totals, self.level)));
        (self.minute, self.before, self.level) = (next, totals, Level::Ok);
        while self.rows.front().is_some_and(|(minute, _)| *minute < next - MOST) {
            self.rows.pop_front();
        }
    }
}

impl Row {
    fn new(before: &Totals, after: &Totals, level: Level) -> Self {
        let latency = after.latency.since(&before.latency);
        let percentile = |percent| latency.quantile(percent, 100).map(|nanos| nanos as f64 / 1e9);
        let (mut counts, earlier) = (after.counts(), before.counts());
        counts.iter_mut().zip(earlier).for_each(|(count, earlier)| *count = count.saturating_sub(earlier));
        Self {
            counts,
            new_records: after.new_records.map(|after| after.saturating_sub(before.new_records.unwrap_or(0))),
            latency: [50, 99].map(percentile),
            level,
        }
    }
}

impl Totals {
    /// Returns the counts in the order of the document.
    fn counts(&self) -> [u64; 9] {
        let Self { received, answered, failed, refused, lost, checks, hits, reports, whitelists, .. } = *self;
        [received, answered, failed, refused, lost, checks, hits, reports, whitelists]
    }
}

#[derive(Serialize)]
struct Document {
    /// The length of a row, in seconds.
    step: i64,
    rows: Vec<Numbers>,
}

/// A row as an array of numbers: 1440 times the names of them would be most of the document.
struct Numbers(i64, Row);

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(start, Row { counts, new_records, latency, level }) = self;
        let mut numbers = serializer.serialize_seq(None)?;
        numbers.serialize_element(start)?;
        counts.iter().try_for_each(|count| numbers.serialize_element(count))?;
        numbers.serialize_element(new_records)?;
        latency.iter().try_for_each(|seconds| numbers.serialize_element(seconds))?;
        numbers.serialize_element(&(*level as u8))?;
        numbers.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clocks of a machine, in seconds.
    #[derive(Clone, Copy)]
    struct Machine {
        wall: i64,
        elapsed: i64,
    }

    impl Machine {
        /// Lets so much time pass; the server looks every second, unless the machine sleeps.
        fn pass(&mut self, history: &History, seconds: i64, totals: &Totals) {
            for _ in 0..seconds {
                self.sleep(1);
                history.observe(self.now(), Level::Ok, || totals.clone());
            }
        }

        fn sleep(&mut self, seconds: i64) {
            self.wall += seconds;
            self.elapsed += seconds;
        }

        fn now(self) -> Moment {
            Moment { wall: UnixTime::from_seconds(self.wall), elapsed: self.elapsed * 1_000_000 }
        }
    }

    fn machine() -> (Machine, History) {
        // 20 seconds behind a full minute, on a machine that has just begun.
        let machine = Machine { wall: 1_700_000_000, elapsed: 5 };
        (machine, History::new(machine.now()))
    }

    fn starts(history: &History, machine: Machine) -> Vec<i64> {
        history.rows(machine.now()).iter().map(|(start, _)| start - 1_699_999_980).collect()
    }

    #[test]
    fn a_row_has_what_its_minute_has_seen() {
        let (mut machine, history) = machine();
        let totals = |received| Totals { received, new_records: Some(received / 10), ..Totals::default() };
        machine.pass(&history, 39, &totals(10));
        assert!(history.rows(machine.now()).is_empty());
        machine.pass(&history, 1, &totals(30));
        history.observe(machine.now(), Level::Failed, || panic!("within a minute"));
        machine.pass(&history, 60, &totals(100));
        let rows = history.rows(machine.now());
        let found: Vec<_> =
            rows.iter().map(|(start, row)| (*start, row.counts[0], row.new_records, row.level)).collect();
        let first = 1_699_999_980;
        assert_eq!(found, [(first, 30, Some(3), Level::Ok), (first + 60, 70, Some(7), Level::Failed)]);
        let json = history.document(machine.now()).unwrap();
        assert_eq!(
            json,
            "{\"step\":60,\"rows\":[[1699999980,30,0,0,0,0,0,0,0,0,3,null,null,0],[1700000040,70,0,0,0,0,0,0,0,0,7,null,null,2]]}"
        );
    }

    /// Rows by the civil time of their ends came twice after a clock that was set back, or were lost.
    #[test]
    fn a_clock_that_is_set_moves_all_rows_and_loses_none() {
        for by in [-3600, -90, -1, 0, 1, 29, 3600, 86_400] {
            let (mut machine, history) = machine();
            machine.pass(&history, 200, &Totals::default());
            machine.wall += by;
            machine.pass(&history, 200, &Totals::default());
            let starts = starts(&history, machine);
            assert_eq!(starts.len(), 7, "{by}");
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 60), "{by}: {starts:?}");
            assert!((starts[0] - by).abs() <= 30, "{by}: {starts:?}");
        }
    }

    #[test]
    fn a_suspended_machine_leaves_a_gap() {
        let (mut machine, history) = machine();
        machine.pass(&history, 100, &Totals::default());
        machine.sleep(3600);
        machine.pass(&history, 100, &Totals::default());
        assert_eq!(starts(&history, machine), [0, 60, 120, 120 + 3600]);
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let (mut machine, history) = machine();
        for _ in 0..3000 {
            machine.sleep(60);
            history.observe(machine.now(), Level::Ok, Totals::default);
        }
        let starts = starts(&history, machine);
        assert_eq!((starts.len(), *starts.last().unwrap()), (1440, 2999 * 60));
        machine.sleep(100 * 3600);
        machine.pass(&history, 1, &Totals::default());
        assert_eq!(history.rows(machine.now()).len(), 0, "all are older than a day");
    }
}
