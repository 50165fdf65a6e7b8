//! What is wrong with a server: its level, its sentence, its remedy, and since when.

use pyzord_core::{Now, Tick, UnixTime};

use super::cause::Cause;
use crate::times;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// The server does all that it is for.
    Ok,
    /// The server works, and something needs a person.
    Warning,
    /// The server does not do what it is for.
    Failed,
}

impl Level {
    /// Returns the word of the status document.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    pub(crate) cause: Cause,
    /// Since when, as far as it is known.
    pub(super) since: Option<Tick>,
}

impl Finding {
    pub(super) const fn new(cause: Cause, since: Tick) -> Self {
        Self { cause, since: Some(since) }
    }

    /// Returns the finding and its beginning, as one line.
    pub(crate) fn at(&self, now: Now) -> String {
        match self.since_time(now) {
            Some(since) => {
                let seconds = now.wall.seconds().saturating_sub(since.seconds());
                format!("{}, since {} ({seconds} s)", self.cause, times::local(since))
            }
            None => self.cause.to_string(),
        }
    }

    /// Returns when it began.
    pub(crate) fn since_time(&self, now: Now) -> Option<UnixTime> {
        Some(now.wall.before(now.tick.since(self.since?)))
    }
}

/// What a server says of itself: all findings, from the worst one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    /// Returns the verdict of these findings. Those of one level keep their order.
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.cause.level()));
        if findings.first().is_some_and(|worst| worst.cause.level() == Level::Failed) {
            findings.retain(|finding| !finding.cause.follows_from_failures());
        }
        Self { findings }
    }

    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the worst finding.
    pub(crate) fn worst(&self) -> Option<&Finding> {
        self.findings.first()
    }

    pub(crate) fn level(&self) -> Level {
        self.worst().map_or(Level::Ok, |worst| worst.cause.level())
    }

    /// Returns why the server does not do what it is for, if it does not.
    pub(crate) fn failure(&self) -> Option<&Finding> {
        self.worst().filter(|worst| worst.cause.level() == Level::Failed)
    }
}
