//! The progress of a migration: a bar on a terminal, plain lines elsewhere.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::output::Lines;

/// The number of records between two plain lines, as in Python's `pyzor-migrate`.
const INTERVAL: u64 = 100_000;

/// Shows the progress of a migration.
pub(crate) struct ProgressDisplay {
    /// Hidden if standard error is not a terminal.
    bar: ProgressBar,
    plain: bool,
    pub(crate) lines: Lines,
}

impl ProgressDisplay {
    /// Shows the progress towards `estimate` records, if it is known.
    pub(crate) fn new(estimate: Option<u64>) -> Self {
        let lines = Lines::new("pyzor-migrate");
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), plain: true, lines };
        }
        let (bar, template) = match estimate {
            Some(count) => {
                (ProgressBar::new(count), "{wide_bar} {human_pos}/{human_len} records, {rate}, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} records, {rate}, {elapsed}"),
        };
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.with_key("rate", rate)),
            Err(error) => {
                // The templates above are constant.
                debug_assert!(false, "{error}");
                log::error!("internal error: the progress bar has its default form: {error}");
                bar
            }
        };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, plain: false, lines }
    }

    /// Shows that `seen` records were read and `transferred` of them moved, after `before` at the last call.
    pub(crate) fn advance(&self, before: u64, transferred: u64, seen: u64) {
        self.bar.set_position(seen);
        if self.plain && transferred / INTERVAL > before / INTERVAL {
            self.print(format_args!("{} records transferred...", transferred / INTERVAL * INTERVAL));
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn print(&self, line: fmt::Arguments<'_>) {
        self.bar.suspend(|| self.lines.write(line));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Writes the whole number of records per second.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // The bar has no use for an error of its own buffer.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}
