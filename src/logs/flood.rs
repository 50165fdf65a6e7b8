//! A bound for warnings and errors: no peer, however often it provokes one, fills the disk with them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{Level, Record};
use pyzord_core::Tick;

/// Lines of one place in the code are limited in a period of this length.
const PERIOD: Duration = Duration::from_secs(60);
/// The most lines of one place in a period.
const MOST: u32 = 10;

/// The places in the code that have logged, with what they logged. Their number is that of the places in the code.
#[derive(Debug, Default)]
pub(super) struct Flood(Mutex<Vec<Site>>);

/// A place in the code; lines of libraries that do not tell theirs share one.
type Place = (Option<&'static str>, Option<u32>);

#[derive(Debug)]
struct Site {
    place: Place,
    /// When the period began.
    since: Tick,
    lines: u32,
    left_out: Option<LeftOut>,
}

/// Lines that were left out in a period.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    pub(super) level: Level,
    pub(super) lines: u64,
    /// The first of them.
    pub(super) example: String,
    /// When they are reported.
    due: Tick,
}

/// What is to be done with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Log,
    /// It is left out, and `first` if it is the first one of its place.
    LeaveOut {
        first: bool,
    },
}

impl Flood {
    /// Judges a line.
    pub(super) fn judge(&self, record: &Record<'_>, now: Tick) -> Verdict {
        let place = place(record);
        let mut sites = self.lock();
        let known = sites.iter().position(|site| site.place == place);
        let index = known.unwrap_or_else(|| {
            sites.push(Site { place, since: now, lines: 0, left_out: None });
            sites.len() - 1
        });
        let Some(site) = sites.get_mut(index) else { return Verdict::Log };
        if now.since(site.since) >= PERIOD {
            (site.since, site.lines) = (now, 0);
        }
        if site.lines < MOST {
            site.lines += 1;
            return Verdict::Log;
        }
        match &mut site.left_out {
            Some(left_out) => {
                left_out.lines += 1;
                Verdict::LeaveOut { first: false }
            }
            None => {
                let (level, due) = (record.level(), site.since.after(PERIOD));
                site.left_out = Some(LeftOut { level, lines: 1, example: String::new(), due });
                Verdict::LeaveOut { first: true }
            }
        }
    }

    /// Keeps the first line that was left out, as the example of the others. It is formatted before the lock is taken: an
    /// argument may log a line itself.
    pub(super) fn keep_example(&self, record: &Record<'_>) {
        let example = record.args().to_string();
        let place = place(record);
        let mut sites = self.lock();
        let site = sites.iter_mut().find(|site| site.place == place);
        if let Some(left_out) = site.and_then(|site| site.left_out.as_mut()) {
            left_out.example = example;
        }
    }

    /// Takes what was left out until `now` in periods that have ended, or in all of them. Returns whether more is to come.
    pub(super) fn take(&self, now: Option<Tick>) -> (Vec<LeftOut>, bool) {
        let mut sites = self.lock();
        let is_due = |left_out: &LeftOut| now.is_none_or(|now| left_out.due <= now);
        let taken = sites.iter_mut().filter_map(|site| site.left_out.take_if(|left_out| is_due(left_out)));
        let taken = taken.collect();
        (taken, sites.iter().any(|site| site.left_out.is_some()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Site>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(record: &Record<'_>) -> Place {
    (record.file_static(), record.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Tick {
        Tick::new(Duration::from_secs(second))
    }

    fn judge(flood: &Flood, line: u32, now: u64) -> Verdict {
        with_record(line, now, |record| {
            let verdict = flood.judge(record, at(now));
            if verdict == (Verdict::LeaveOut { first: true }) {
                flood.keep_example(record);
            }
            verdict
        })
    }

    fn with_record<T>(line: u32, now: u64, test: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut builder = Record::builder();
        builder.level(Level::Warn).file_static(Some("a.rs")).line(Some(line));
        test(&builder.args(format_args!("line {line} at {now}")).build())
    }

    #[test]
    fn each_place_has_ten_lines_a_minute_and_one_summary() {
        let flood = Flood::default();
        let logged = |line, now| (0..400).filter(|_| judge(&flood, line, now) == Verdict::Log).count();
        assert_eq!([logged(1, 0), logged(2, 5), logged(1, 59)], [10, 10, 0]);
        assert_eq!(flood.take(Some(at(59))), (vec![], true));
        let (taken, more) = flood.take(Some(at(60)));
        let found: Vec<_> =
            taken.iter().map(|left_out| (left_out.lines, left_out.example.as_str())).collect();
        assert_eq!((found, more), (vec![(790, "line 1 at 0")], true));
        assert_eq!(logged(1, 61), 10, "the next period");
        let (taken, more) = flood.take(None);
        assert_eq!((taken.iter().map(|left_out| left_out.lines).sum::<u64>(), more), (780, false));
    }

    #[test]
    fn the_first_line_that_is_left_out_is_told() {
        let flood = Flood::default();
        for _ in 0..MOST {
            assert_eq!(judge(&flood, 1, 0), Verdict::Log);
        }
        assert_eq!(judge(&flood, 1, 0), Verdict::LeaveOut { first: true });
        assert_eq!(judge(&flood, 1, 0), Verdict::LeaveOut { first: false });
        assert_eq!(judge(&flood, 2, 0), Verdict::Log);
    }
}
