//! Tells the log and the service manager of findings.

use std::time::Duration;

use pyzord_core::{Now, Tick};

use super::finding::{Finding, Level, Verdict};

/// What is over sooner is not told. In the first moment after a start no worker runs.
const LEAST: Duration = Duration::from_secs(2);
/// The shortest time between two lines of the log about one cause.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Called when the worst finding changes.
pub(crate) type OnChange = Box<dyn FnMut(Option<&Finding>) + Send>;

/// What was told, and to whom.
pub(super) struct Reporter {
    on_change: OnChange,
    /// Since when the server does not do what it is for.
    failing: Option<Tick>,
    /// The sentence that was told last; `None` for a server that is well.
    told: Option<String>,
    /// The causes that the log has lines about, by name.
    logged: Vec<Logged>,
}

/// What the log has about a cause.
struct Logged {
    name: &'static str,
    /// When its last line was written.
    at: Tick,
    /// There is no line about its end.
    open: bool,
}

impl Reporter {
    pub(super) fn new(on_change: OnChange) -> Self {
        Self { on_change, failing: None, told: None, logged: Vec::new() }
    }

    /// Tells what has changed.
    pub(super) fn report(&mut self, verdict: &Verdict, now: Now) {
        self.failing = verdict.failure().map(|_| self.failing.unwrap_or(now.tick));
        let lasts = |finding: &&Finding| {
            finding.cause.level() == Level::Warning
                || [finding.since, self.failing].iter().flatten().any(|at| now.tick.since(*at) >= LEAST)
        };
        let findings: Vec<&Finding> = verdict.findings().iter().filter(lasts).collect();
        let hidden = findings.len() < verdict.findings().len();
        if findings.is_empty() && hidden {
            return;
        }
        let sentence = findings.first().map(|worst| worst.cause.to_string());
        if sentence != self.told {
            (self.on_change)(findings.first().copied());
            self.told = sentence;
        }
        findings.iter().for_each(|finding| self.log(finding, now));
        if !hidden {
            self.log_ends(&findings);
        }
    }

    fn log(&mut self, finding: &Finding, now: Now) {
        let name = finding.cause.name();
        let known = self.logged.iter().position(|logged| logged.name == name);
        let known = known.and_then(|place| self.logged.get_mut(place));
        if known.as_ref().is_some_and(|known| known.open || now.tick.since(known.at) < LOG_PERIOD) {
            return;
        }
        match known {
            Some(known) => (known.at, known.open) = (now.tick, true),
            None => self.logged.push(Logged { name, at: now.tick, open: true }),
        }
        log::warn!("health: {}; {}", finding.at(now), finding.cause.remedy());
    }

    fn log_ends(&mut self, findings: &[&Finding]) {
        for logged in self.logged.iter_mut().filter(|logged| logged.open) {
            if findings.iter().any(|finding| finding.cause.name() == logged.name) {
                continue;
            }
            logged.open = false;
            if findings.is_empty() {
                log::info!("health: ok again");
            } else {
                log::info!("health: over: {}", logged.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::health::cause::Cause;
    use pyzord_core::UnixTime;

    fn at(seconds: u64) -> Now {
        Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::new(Duration::from_secs(seconds)) }
    }

    #[test]
    fn only_what_lasts_is_told_and_each_change_once() {
        let (sender, told) = mpsc::channel();
        let mut reporter = Reporter::new(Box::new(move |worst: Option<&Finding>| {
            sender.send(worst.map(|worst| worst.cause.name())).unwrap();
        }));
        let finding = |cause, since| Finding { cause, since };
        let silent = || finding(Cause::DiskSilent, None);
        let fails = || finding(Cause::ChecksFail, None);
        let warning = || finding(Cause::LogLinesLost { lines: 1 }, Some(at(3).tick));
        for (second, findings) in [
            (0, vec![silent()]),
            (1, vec![]),
            (2, vec![silent()]),
            (3, vec![silent(), warning()]),
            (4, vec![silent(), warning()]),
            (5, vec![silent(), warning()]),
            (6, vec![fails(), warning()]),
            (7, vec![warning()]),
            (8, vec![]),
            (9, vec![]),
        ] {
            reporter.report(&Verdict::new(findings), at(second));
        }
        let told: Vec<Option<&str>> = told.try_iter().collect();
        let expected = ["log-lines-lost", "disk-silent", "checks-fail", "log-lines-lost"].map(Some);
        assert_eq!(told, [&expected[..], &[None]].concat());
        assert!(reporter.logged.len() == 3 && reporter.logged.iter().all(|logged| !logged.open));
    }

    /// A cause that comes and goes filled the log.
    #[test]
    fn a_cause_has_one_line_a_minute() {
        let mut reporter = Reporter::new(Box::new(|_| ()));
        let opened = |reporter: &mut Reporter, second| {
            let finding = Finding::new(Cause::LogLinesLost { lines: 1 }, at(second).tick);
            reporter.report(&Verdict::new(vec![finding]), at(second));
            let open = reporter.logged.iter().any(|logged| logged.open);
            reporter.report(&Verdict::default(), at(second));
            open
        };
        assert_eq!(
            [0, 1, 59, 60, 61].map(|second| opened(&mut reporter, second)),
            [true, false, false, true, false]
        );
    }
}
