//! A rate limit for log lines that requests can cause.

use std::fmt;
use std::time::Duration;

use pyzord_core::Tick;

/// At most one line in this time.
const PERIOD: Duration = Duration::from_secs(60);

/// Limits one kind of log line to one a minute, so that clients cannot fill the disk with it.
#[derive(Clone, Debug, Default)]
pub(super) struct LogLimiter {
    last: Option<Tick>,
    suppressed: u64,
}

impl LogLimiter {
    /// Returns how many lines were suppressed since the last one if a line is due at `now`, or `None`: then
    /// this line is suppressed, too.
    pub(super) fn due(&mut self, now: Tick) -> Option<Suppressed> {
        if self.last.is_some_and(|last| now.since(last) < PERIOD) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed)))
    }
}

/// How many lines were suppressed: the end of the next line, empty if there were none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Suppressed(u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_says_how_many_were_suppressed() {
        let mut limiter = LogLimiter::default();
        let mut line =
            |second| limiter.due(Tick::new(Duration::from_secs(second))).map(|more| more.to_string());
        assert_eq!(line(5), Some(String::new()));
        assert_eq!([line(5), line(30), line(64)], [None, None, None]);
        assert_eq!(line(65).as_deref(), Some(" (3 more since the last such line)"));
        assert_eq!(line(125), Some(String::new()));
    }
}
