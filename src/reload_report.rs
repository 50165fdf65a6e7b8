//! What a reload has changed and what it has not: the log and `pyzorctl reload` tell the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::logs::FILES;

/// The most lines that are kept for `pyzorctl`; all are logged.
const MOST_LINES: usize = 200;
/// The most characters of a line that is kept.
const LONGEST: usize = 1000;

/// The lines of one reload, in the order of its steps.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct ReloadReport {
    pub(crate) lines: Vec<ReloadLine>,
    /// The number of lines that only the log has.
    pub(crate) more: usize,
    /// Something was not done.
    pub(crate) failed: bool,
}

/// One thing that a reload has found or done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ReloadLine {
    pub(crate) kind: LineKind,
    pub(crate) text: String,
}

/// What a line is about, from what an operator wants to know first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineKind {
    /// What could not be done.
    Failed,
    /// Another value or file is in effect.
    Changed,
    /// A change that only a restart applies.
    NeedsRestart,
    /// What the operator should know.
    Warning,
    /// What is in effect, whether it has changed or not.
    Fact,
}

impl ReloadReport {
    /// Logs a line, and keeps it for an operator that waits for the reload.
    pub(crate) fn add(&mut self, kind: LineKind, text: String) {
        match kind {
            LineKind::Changed | LineKind::Fact => log::info!("{text}"),
            LineKind::NeedsRestart | LineKind::Warning => log::warn!(target: FILES, "{text}"),
            LineKind::Failed => log::error!("{text}"),
        }
        self.failed |= kind == LineKind::Failed;
        // Failures are few, and the last ones tell most.
        if self.lines.len() < MOST_LINES || kind == LineKind::Failed {
            self.lines.push(ReloadLine { kind, text: shortened(text) });
        } else {
            self.more += 1;
        }
    }
}

fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
    }
    text
}

/// The words in front of a line.
impl fmt::Display for LineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Fact => "in effect",
            Self::NeedsRestart => "needs a restart",
            Self::Warning => "warning",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is no text has thousands of warnings; the reply is one line that a client reads whole.
    #[test]
    fn a_report_is_bounded_and_keeps_what_failed() {
        let mut report = ReloadReport::default();
        (0..1000).for_each(|_| report.add(LineKind::Warning, "é".repeat(5000)));
        report.add(LineKind::Failed, "the page".to_owned());
        assert_eq!((report.lines.len(), report.more, report.failed), (MOST_LINES + 1, 800, true));
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.len() < 1 << 20 && !json.contains('\n'));
        assert_eq!(serde_json::from_str::<ReloadReport>(&json).unwrap(), report);
    }
}
