//! The last warnings and errors, for readers of the status document.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use log::Level;
use pyzord_core::UnixTime;

use super::format::OneLine;

/// How many lines are kept.
const MOST: usize = 20;
/// The longest text that is kept, in bytes.
const LONGEST: usize = 500;

/// A warning or an error that was logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LoggedError {
    pub(crate) time: UnixTime,
    pub(crate) level: Level,
    /// One line, escaped as in the log, and cut if it is long.
    pub(crate) text: String,
}

/// Keeps the last lines. They are bounded as the log's are: no client fills it faster than the log.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<LoggedError>>);

impl Recent {
    /// Keeps a line.
    pub(super) fn add(&self, time: UnixTime, level: Level, message: impl fmt::Display) {
        // Before the lock is taken: the message may log a line itself.
        let mut text = OneLine(message).to_string();
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text.push_str("...");
        }
        let mut lines = self.lock();
        if lines.len() >= MOST {
            lines.pop_front();
        }
        lines.push_back(LoggedError { time, level, text });
    }

    /// Returns the lines, the newest first.
    pub(super) fn newest_first(&self) -> Vec<LoggedError> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<LoggedError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_as_one_line_each() {
        let recent = Recent::default();
        for number in 0..30 {
            recent.add(UnixTime::from_seconds(number), Level::Warn, format_args!("line {number}\n\x1b[31m"));
        }
        recent.add(UnixTime::from_seconds(99), Level::Error, "é".repeat(LONGEST));
        let lines = recent.newest_first();
        assert_eq!(lines.len(), MOST);
        assert!(lines[0].text.ends_with("é...") && lines[0].text.len() <= LONGEST + 3);
        assert_eq!((lines[1].time, lines[1].level), (UnixTime::from_seconds(29), Level::Warn));
        assert_eq!(lines[1].text, "line 29\\n\\u{1b}[31m");
        assert_eq!(lines[19].text, "line 11\\n\\u{1b}[31m");
    }
}
