//! Whether a server takes what it is sent: for a reader at any time, and for the log at a bounded rate.

use core::time::Duration;

use crate::client::event::{Cause, Event};
use crate::time::Tick;

/// The log is silent for this long after the first failure, and twice as long after each further one.
const FIRST_SILENCE: Duration = Duration::from_secs(60);
/// The longest silence of the log about a server that fails again and again.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// Whether a server takes what it is sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// It was sent nothing yet.
    #[default]
    Idle,
    /// It counted the last request that it was sent, or answers after a failure and nothing waits for it.
    Delivering {
        /// When this began.
        since: Tick,
    },
    /// It does not take what it is sent.
    Failing {
        /// When the first request that failed was sent.
        since: Tick,
        /// The last cause.
        cause: Cause,
    },
}

/// The condition of one server, and what the log says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    condition: Condition,
    /// When the network last said that the server cannot be reached.
    unreachable: Option<Tick>,
    /// What the log says last, if that is a failure.
    logged: Option<Cause>,
    /// Whether it refused more after the silence that followed.
    again: bool,
    /// When the log may name the next failure.
    quiet_until: Tick,
    silence: Duration,
    /// The failures that began since the last line about one.
    unlogged: u64,
    /// Whether the server has answered since the last failure.
    answers: bool,
}

impl Watch {
    pub(super) const fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether the name of the server could not be looked up.
    pub(super) const fn lacks_address(&self) -> bool {
        matches!(self.condition, Condition::Failing { cause: Cause::Nowhere | Cause::Unresolved, .. })
    }

    pub(super) const fn fails(&self) -> bool {
        matches!(self.condition, Condition::Failing { .. })
    }

    /// Whether all that fails is that the server answers slower than digests come.
    pub(super) const fn is_slow(&self) -> bool {
        matches!(self.condition, Condition::Failing { cause: Cause::Slow, .. })
    }

    /// Whether the server could not be reached, and has answered since.
    pub(super) fn answers_again(&self) -> bool {
        let Condition::Failing { cause, .. } = &self.condition else { return false };
        self.answers && cause.is_silence()
    }

    /// Records that the server has answered, be it to a ping or with an error.
    pub(super) const fn answered(&mut self) {
        self.answers = true;
    }

    /// Records that what was sent at `sent` has failed.
    pub(super) fn failed(&mut self, cause: Cause, sent: Tick, now: Tick) {
        match cause {
            Cause::Unreachable(_) => self.unreachable = Some(now),
            // The network has said more than the silence that follows.
            Cause::Silent if self.unreachable.is_some_and(|told| sent <= told) => return,
            _ => (),
        }
        self.again |= cause.loses() && self.quiet_until <= now;
        self.answers &= !cause.is_silence();
        match &mut self.condition {
            Condition::Failing { cause: known, .. } => *known = cause,
            other => {
                *other = Condition::Failing { since: sent, cause };
                self.unlogged += 1;
            }
        }
    }

    /// Records that the server takes what it is sent, and returns what the log is to say. `waited` digests wait for it.
    pub(super) fn succeeded(&mut self, now: Tick, waited: u64) -> Option<Event> {
        if matches!(self.condition, Condition::Delivering { .. }) {
            return None;
        }
        let failed = core::mem::replace(&mut self.condition, Condition::Delivering { since: now });
        self.again = false;
        self.logged.take()?;
        let Condition::Failing { since, .. } = failed else { return None };
        Some(Event::Back { after: now.since(since), waited })
    }

    /// Returns the line about a failure that is due.
    pub(super) fn poll(&mut self, now: Tick) -> Option<Event> {
        if self.due_at().is_none_or(|due| due > now) {
            return None;
        }
        let Condition::Failing { cause, .. } = &self.condition else { return None };
        let long_ago = self.quiet_until.after(LONGEST_SILENCE) <= now;
        self.silence = if long_ago || self.silence.is_zero() {
            FIRST_SILENCE
        } else {
            self.silence.saturating_mul(2).min(LONGEST_SILENCE)
        };
        self.quiet_until = now.after(self.silence);
        self.logged = Some(cause.clone());
        self.again = false;
        let others = core::mem::take(&mut self.unlogged).saturating_sub(1);
        Some(Event::Failing { cause: cause.clone(), others })
    }

    /// Returns when a line about a failure is due.
    pub(super) fn due_at(&self) -> Option<Tick> {
        let Condition::Failing { cause, .. } = &self.condition else { return None };
        let told = self.logged.as_ref().is_some_and(|logged| logged.is_like(cause));
        (!told || self.again).then_some(self.quiet_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::Unreachable;

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    fn refused(code: u16) -> Cause {
        Cause::answered(code, b"No")
    }

    #[test]
    fn a_failure_is_told_at_once_and_its_end_with_its_length() {
        let mut watch = Watch::default();
        assert_eq!((watch.condition(), watch.due_at()), (&Condition::Idle, None));
        watch.failed(Cause::Silent, at(9), at(10));
        assert_eq!(watch.condition(), &Condition::Failing { since: at(9), cause: Cause::Silent });
        assert_eq!(watch.poll(at(10)), Some(Event::Failing { cause: Cause::Silent, others: 0 }));
        watch.failed(Cause::Silent, at(11), at(12));
        assert_eq!(watch.poll(at(5000)), None, "one line for each failure");
        let back = Event::Back { after: Duration::from_secs(21), waited: 7 };
        assert_eq!(watch.succeeded(at(30), 7), Some(back));
        assert_eq!(watch.condition(), &Condition::Delivering { since: at(30) });
        assert_eq!(watch.succeeded(at(31), 7), None);
        assert_eq!(watch.condition(), &Condition::Delivering { since: at(30) });
    }

    /// A server that fails every other second must not fill the log.
    #[test]
    fn a_server_that_fails_again_and_again_has_few_lines() {
        let mut watch = Watch::default();
        let (mut lines, mut told) = (0, 0);
        for second in (0..86_400).step_by(2) {
            watch.failed(refused(500), at(second), at(second));
            if let Some(Event::Failing { others, .. }) = watch.poll(at(second)) {
                lines += 1;
                told += 1 + others;
            }
            lines += u32::from(watch.succeeded(at(second + 1), 0).is_some());
        }
        assert!((200..320).contains(&lines), "{lines} lines in a day");
        assert!(told > 43_200 - 310, "the lines count the failures: {told}");
    }

    #[test]
    fn another_cause_and_further_losses_are_told_later() {
        let mut watch = Watch::default();
        watch.failed(Cause::Silent, at(0), at(1));
        assert!(watch.poll(at(1)).is_some());
        watch.failed(refused(403), at(2), at(2));
        assert_eq!((watch.poll(at(2)), watch.due_at()), (None, Some(at(61))));
        assert_eq!(watch.poll(at(61)), Some(Event::Failing { cause: refused(403), others: 0 }));
        assert_eq!(watch.due_at(), None, "nothing was lost since");
        watch.failed(refused(403), at(62), at(62));
        assert_eq!(watch.due_at(), None, "the line was just written");
        watch.failed(refused(403), at(190), at(190));
        assert!(watch.poll(at(190)).is_some());
    }

    #[test]
    fn a_silence_does_not_hide_what_the_network_says() {
        let mut watch = Watch::default();
        let closed = Cause::Unreachable(Unreachable::Closed);
        watch.failed(closed.clone(), at(5), at(5));
        watch.failed(Cause::Silent, at(5), at(6));
        assert_eq!(watch.condition(), &Condition::Failing { since: at(5), cause: closed });
        watch.failed(Cause::Silent, at(7), at(12));
        assert_eq!(watch.condition(), &Condition::Failing { since: at(5), cause: Cause::Silent });
    }
}
