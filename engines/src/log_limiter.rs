//! A line of the log that a peer could otherwise ask for again and again.

use std::fmt;
use std::time::Duration;

use pyzord_core::Tick;

/// At most one line in this time.
const PERIOD: Duration = Duration::from_secs(60);

/// One kind of line, written once a minute at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Complaint {
    last: Option<Tick>,
    unsaid: u64,
}

impl Complaint {
    /// Whether a line is due at `now`, and then how many were left out before it.
    pub(super) fn due(&mut self, now: Tick) -> Option<Unsaid> {
        if self.last.is_some_and(|last| now.since(last) < PERIOD) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(Unsaid(std::mem::take(&mut self.unsaid)))
    }
}

/// How many lines were left out: nothing when none were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unsaid(u64);

impl fmt::Display for Unsaid {
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
    fn one_line_a_minute_says_how_many_were_left_out() {
        let mut complaint = Complaint::default();
        let mut said =
            |second| complaint.due(Tick::new(Duration::from_secs(second))).map(|more| more.to_string());
        assert_eq!(said(5), Some(String::new()));
        assert_eq!([said(5), said(30), said(64)], [None, None, None]);
        assert_eq!(said(65).as_deref(), Some(" (3 more since the last such line)"));
        assert_eq!(said(125), Some(String::new()));
    }
}
