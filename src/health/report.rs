//! Tells the log and the service manager of troubles.

use std::time::Duration;

use pyzord_core::{Now, Tick};

use super::trouble::Trouble;

/// What is over sooner is not told. In the first moment after a start no worker runs.
const LEAST: Duration = Duration::from_secs(2);
/// The shortest time between two lines in the log.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// Called when the health of the server changes, with the trouble that there is.
pub(crate) type OnChange = Box<dyn FnMut(Option<&Trouble>) + Send>;

/// What was told, and to whom.
pub(super) struct Reporter {
    on_change: OnChange,
    /// Since when there is a trouble.
    seen: Option<Tick>,
    /// The cause that was told last; `None` for a server that is well.
    told: Option<String>,
    /// The log has a line about a trouble, and none about its end.
    logged: bool,
    logged_at: Option<Tick>,
}

impl Reporter {
    pub(super) fn new(on_change: OnChange) -> Self {
        Self { on_change, seen: None, told: None, logged: false, logged_at: None }
    }

    /// Tells what has changed.
    pub(super) fn report(&mut self, trouble: Option<&Trouble>, now: Now) {
        self.seen = trouble.map(|_| self.seen.unwrap_or(now.tick));
        let lasting = trouble.filter(|_| self.seen.is_some_and(|seen| now.tick.since(seen) >= LEAST));
        if trouble.is_some() && lasting.is_none() {
            return;
        }
        let cause = lasting.map(|trouble| trouble.cause.clone());
        if cause != self.told {
            (self.on_change)(lasting);
            self.told = cause;
        }
        match lasting {
            Some(trouble) if !self.logged && self.may_log(now.tick) => {
                log::warn!("health: {}", trouble.at(now));
                (self.logged, self.logged_at) = (true, Some(now.tick));
            }
            None if self.logged => {
                log::info!("health: ok again");
                self.logged = false;
            }
            _ => (),
        }
    }

    fn may_log(&self, now: Tick) -> bool {
        self.logged_at.is_none_or(|at| now.since(at) >= LOG_PERIOD)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use pyzord_core::UnixTime;

    #[test]
    fn only_what_lasts_is_told_and_each_change_once() {
        let (sender, told) = mpsc::channel();
        let mut reporter = Reporter::new(Box::new(move |trouble: Option<&Trouble>| {
            sender.send(trouble.map(|trouble| trouble.cause.clone())).unwrap();
        }));
        let at = |seconds| Now {
            wall: UnixTime::from_seconds(1_700_000_000),
            tick: Tick::new(Duration::from_secs(seconds)),
        };
        let [one, other] = ["full", "stuck"].map(|cause| Trouble::new(cause, Tick::default()));
        for (second, trouble) in [
            (0, Some(&one)),
            (1, None),
            (2, Some(&one)),
            (3, Some(&one)),
            (4, Some(&one)),
            (5, Some(&one)),
            (6, Some(&other)),
            (7, None),
            (8, None),
        ] {
            reporter.report(trouble, at(second));
        }
        let told: Vec<Option<String>> = told.try_iter().collect();
        assert_eq!(told, [Some("full".to_owned()), Some("stuck".to_owned()), None]);
    }
}
