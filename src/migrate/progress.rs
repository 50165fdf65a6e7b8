//! How far a migration is: a bar on a terminal, plain lines elsewhere.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// A plain line comes every so many records, as Python's does.
const INTERVAL: u64 = 100_000;

/// Records a second, whole ones.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

/// Shows how far a migration is.
pub(crate) struct Progress {
    /// Hidden where standard error is no terminal.
    bar: ProgressBar,
    plain: bool,
}

impl Progress {
    /// Shows the way to `estimate` records, where it is known.
    pub(crate) fn new(estimate: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), plain: true };
        }
        let (bar, template) = match estimate {
            Some(count) => {
                (ProgressBar::new(count), "{wide_bar} {human_pos}/{human_len} records, {rate}, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} records, {rate}, {elapsed}"),
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.with_key("rate", rate)),
            Err(_) => bar,
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, plain: false }
    }

    /// So many records are through, of which so many were transferred.
    pub(crate) fn advance(&self, before: u64, transferred: u64, seen: u64) {
        self.bar.set_position(seen);
        if self.plain && transferred / INTERVAL > before / INTERVAL {
            println!("{} records transferred...", transferred / INTERVAL * INTERVAL);
        }
    }

    /// Tells something without breaking the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
