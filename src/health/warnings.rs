//! What the counters of the last ten seconds warn of.

use std::collections::VecDeque;
use std::time::Duration;

use pyzord_core::{IpNet, Limits, Now, Tick};
use pyzord_runtime::Suspicion;

use super::cause::{Cause, Sender, SlowPart};
use super::finding::Finding;
use super::tally::{Interval, Notice, Talk, Tally};

/// How long a moment counts.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a warning stays after it was last true, so that it does not come and go.
const STAYS: Duration = Duration::from_secs(10);
/// How long one stays that a person has to look into, however seldom its cause shows.
const STAYS_LONG: Duration = Duration::from_secs(600);
/// The least number of events that is told of: fewer happen on every machine.
const FEW: u64 = 20;
/// The least number of datagrams that limits drop in the window.
const MANY_DROPPED: u64 = 100;
/// The least number of digests that one network reports without an account in the window.
const MANY_REPORTS: u64 = 50;
/// The least number of requests of one network that get 401 in the window.
const MANY_REFUSED: u64 = 10;
/// More datagrams a second than a mail server asks for.
const FLOOD: u64 = 5_000;
/// The least number of slow replies: fewer are a stall.
const SLOW_REPLIES: u64 = 5;
/// A network that sends this part of something, in percent, is behind it.
const BEHIND: u64 = 50;
/// A clock that gains or loses this much between two looks was set, in microseconds.
const CLOCK_SET: i64 = 60_000_000;
/// A database with fewer records can be a new one.
const MANY_RECORDS: u64 = 100;

/// Collects what the counters show, and decides what to warn of.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    window: VecDeque<Interval>,
    open: Vec<Open>,
    /// The civil time at tick 0, by the last look.
    epoch: Option<i64>,
    /// The last number of records, and of those expired.
    records: Option<(u64, u64)>,
}

/// A warning that is told of.
#[derive(Debug)]
struct Open {
    finding: Finding,
    /// When it was last true.
    seen: Tick,
}

impl Warnings {
    /// Takes what has happened since the last look.
    pub(super) fn look(&mut self, interval: Interval, limits: &Limits, now: Now) {
        let began = interval.began;
        self.window.push_back(interval);
        while self.window.front().is_some_and(|first| now.tick.since(first.ended) >= WINDOW) {
            self.window.pop_front();
        }
        let mut sum = Interval::default();
        if let Some(first) = self.window.front() {
            sum = Interval { began: first.began, ..Interval::default() };
        }
        self.window.iter().for_each(|interval| sum.add(interval));
        for cause in causes(&sum, limits) {
            self.raise(cause, began, now.tick);
        }
        self.clock(now);
    }

    /// Takes the number of records, and how many have expired since the start.
    pub(super) fn records(&mut self, records: u64, expired: u64, now: Tick) {
        let Some((before, expired_before)) = self.records.replace((records, expired)) else { return };
        let before = before.saturating_sub(expired.saturating_sub(expired_before));
        if before >= MANY_RECORDS && records <= before / 10 {
            self.raise(Cause::RecordsVanished { before, now: records }, now, now);
        }
    }

    /// Returns the warnings of this moment.
    pub(super) fn current(&mut self, now: Tick) -> Vec<Finding> {
        self.open.retain(|open| now.since(open.seen) < stays(&open.finding.cause));
        self.open.iter().map(|open| open.finding.clone()).collect()
    }

    fn clock(&mut self, now: Now) {
        let ticks = i64::try_from(now.tick.since(Tick::default()).as_micros()).unwrap_or(i64::MAX);
        let epoch = now.wall.micros().saturating_sub(ticks);
        let jump = self.epoch.replace(epoch).map_or(0, |before| epoch.saturating_sub(before));
        if jump.saturating_abs() >= CLOCK_SET {
            self.raise(Cause::ClockSet { seconds: jump / 1_000_000 }, now.tick, now.tick);
        }
    }

    /// Begins a warning, or renews its words.
    fn raise(&mut self, cause: Cause, began: Tick, now: Tick) {
        match self.open.iter_mut().find(|open| open.finding.cause.name() == cause.name()) {
            Some(open) => (open.finding.cause, open.seen) = (cause, now),
            None => self.open.push(Open { finding: Finding::new(cause, began), seen: now }),
        }
    }
}

fn stays(cause: &Cause) -> Duration {
    match cause {
        Cause::RecordsVanished { .. }
        | Cause::Unreadable { .. }
        | Cause::ClockSet { .. }
        | Cause::InternalErrors { .. } => STAYS_LONG,
        _ => STAYS,
    }
}

/// Returns what a window shows, the worst first.
fn causes(window: &Interval, limits: &Limits) -> Vec<Cause> {
    [
        kernel_drops(window),
        flood(window, limits),
        anonymous_reports(window, limits),
        wrong_signatures(window),
        requests(window),
        slow(window),
        positive(window.tally.unreadable).map(|calls| Cause::Unreadable { calls }),
        positive(window.tally.log_lines_lost).map(|lines| Cause::LogLinesLost { lines }),
        positive(window.tally.internal_errors).map(|errors| Cause::InternalErrors { errors }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn positive(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn kernel_drops(window: &Interval) -> Option<Cause> {
    let Tally { kernel_drops: lost, received, .. } = window.tally;
    let sender = sender(window, received, |talk| talk.datagrams);
    (lost >= FEW).then_some(Cause::KernelDrops { lost, received, sender })
}

fn flood(window: &Interval, limits: &Limits) -> Option<Cause> {
    let tally = &window.tally;
    if tally.over_limit >= MANY_DROPPED && limits.requests.is_some() {
        let sender = sender(window, tally.over_limit, |talk| talk.dropped);
        return Some(Cause::OverLimit { dropped: tally.over_limit, sender });
    }
    let sender = sender(window, tally.received, |talk| talk.datagrams)?;
    let sent = tally.received.saturating_mul(sender.share) / 100;
    let rate = sent / WINDOW.as_secs();
    (rate >= FLOOD && limits.requests.is_none() && !is_trusted(sender.network, limits))
        .then_some(Cause::Flood { rate, sender })
}

/// Returns the network that reports most without an account, unless the operator trusts it.
fn anonymous_reports(window: &Interval, limits: &Limits) -> Option<Cause> {
    let (network, reports) = window
        .notices
        .iter()
        .filter(|((network, suspicion), _)| {
            *suspicion == Suspicion::AnonymousReports && !is_trusted(*network, limits)
        })
        .map(|((network, _), notice)| (*network, notice.count))
        .max_by_key(|(network, reports)| (*reports, *network))?;
    (reports >= MANY_REPORTS).then_some(Cause::AnonymousReports { reports, network })
}

fn wrong_signatures(window: &Interval) -> Option<Cause> {
    let refused = |((network, suspicion), notice): (&(IpNet, Suspicion), &Notice)| match suspicion {
        Suspicion::BadSignature(why) => Some((*network, *why, notice.clone())),
        Suspicion::AnonymousReports => None,
    };
    let (network, why, Notice { user, count }) = window
        .notices
        .iter()
        .filter_map(refused)
        .max_by_key(|(network, _, notice)| (notice.count, *network))?;
    (count >= MANY_REFUSED).then_some(Cause::WrongSignatures { requests: count, user, network, why })
}

fn is_trusted(network: IpNet, limits: &Limits) -> bool {
    limits.unlimited.iter().any(|trusted| trusted.contains(&network))
}

fn requests(window: &Interval) -> Option<Cause> {
    let tally = &window.tally;
    if tally.overloaded >= FEW {
        return Some(Cause::Overloaded { refused: tally.overloaded });
    }
    let failed = tally.failed;
    (failed >= FEW && failed >= tally.requests / 20)
        .then_some(Cause::SomeFail { failed, requests: tally.requests })
}

fn slow(window: &Interval) -> Option<Cause> {
    let tally = &window.tally;
    if tally.slow < SLOW_REPLIES || tally.slow < tally.timed / 100 {
        return None;
    }
    let database = tally.slow_batches > 0 && tally.slow_batches >= tally.batches / 100;
    let part = if database { SlowPart::Database } else { SlowPart::Queue };
    Some(Cause::Slow { slow: tally.slow, requests: tally.timed, part })
}

/// Returns the network that is behind most of something.
fn sender(window: &Interval, all: u64, part: impl Fn(&Talk) -> u64) -> Option<Sender> {
    let (network, most) = window
        .networks
        .iter()
        .map(|(network, talk)| (*network, part(talk)))
        .max_by_key(|(network, part)| (*part, *network))?;
    let share = most.saturating_mul(100).checked_div(all)?.min(100);
    (share >= BEHIND).then_some(Sender { network, share })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use pyzord_core::{BadSignature, Rate, UnixTime};

    fn at(seconds: u64) -> Now {
        let wall = UnixTime::from_seconds(1_700_000_000 + i64::try_from(seconds).unwrap());
        Now { wall, tick: Tick::new(Duration::from_secs(seconds)) }
    }

    /// The names of the warnings after each second.
    fn warn(
        limits: &Limits,
        seconds: std::ops::Range<u64>,
        tally: impl Fn(u64) -> Tally,
    ) -> Vec<Vec<&'static str>> {
        let mut warnings = Warnings::default();
        seconds
            .map(|second| {
                let tally = tally(second);
                let talk = Talk { datagrams: tally.received * 9 / 10, dropped: tally.over_limit };
                let networks = [("192.0.2.7/32".parse().unwrap(), talk)].into();
                let (began, ended) = (at(second - 1).tick, at(second).tick);
                let interval = Interval { began, ended, tally, networks, ..Interval::default() };
                warnings.look(interval, limits, at(second));
                warnings.current(at(second).tick).iter().map(|finding| finding.cause.name()).collect()
            })
            .collect()
    }

    #[test]
    fn a_warning_comes_within_seconds_and_ends_within_half_a_minute() {
        let mut limits = Limits::default();
        limits.requests = NonZeroU32::new(50).map(Rate::per_second);
        let flood = |second| Tally {
            received: 200,
            over_limit: if second <= 5 { 100 } else { 0 },
            ..Tally::default()
        };
        let found = warn(&limits, 1..40, flood);
        assert_eq!(found[0], ["over-limit"]);
        let end = found.iter().position(Vec::is_empty).unwrap();
        assert!((10..30).contains(&(end - 5)), "{end}");
        assert!(found[end..].iter().all(Vec::is_empty), "it does not come and go");
    }

    #[test]
    fn each_cause_has_its_threshold() {
        let none = Limits::default();
        let one = |tally: Tally| warn(&none, 1..2, |_| tally).remove(0);
        for (tally, expected) in [
            (Tally::default(), None),
            (Tally { over_limit: 1000, ..Tally::default() }, None),
            (Tally { received: 55_000, ..Tally::default() }, None),
            (Tally { received: 56_000, ..Tally::default() }, Some("flood")),
            (Tally { kernel_drops: 19, ..Tally::default() }, None),
            (Tally { kernel_drops: 20, ..Tally::default() }, Some("kernel-drops")),
            (Tally { requests: 1000, failed: 19, ..Tally::default() }, None),
            (Tally { requests: 1000, failed: 49, ..Tally::default() }, None),
            (Tally { requests: 1000, failed: 50, ..Tally::default() }, Some("some-requests-fail")),
            (Tally { requests: 10, failed: 10, ..Tally::default() }, None),
            (Tally { overloaded: 20, requests: 20, failed: 20, ..Tally::default() }, Some("overloaded")),
            (Tally { timed: 4, slow: 4, ..Tally::default() }, None),
            (Tally { timed: 1000, slow: 9, ..Tally::default() }, None),
            (Tally { timed: 1000, slow: 10, ..Tally::default() }, Some("slow")),
            (Tally { unreadable: 1, ..Tally::default() }, Some("unreadable-records")),
            (Tally { log_lines_lost: 1, ..Tally::default() }, Some("log-lines-lost")),
            (Tally { internal_errors: 1, ..Tally::default() }, Some("internal-errors")),
        ] {
            assert_eq!(one(tally).first().copied(), expected, "{tally:?}");
        }
        let mut trusted = Limits::default();
        trusted.unlimited = vec!["192.0.2.0/24".parse().unwrap()];
        let flood = Tally { received: 90_000, ..Tally::default() };
        assert_eq!(warn(&trusted, 1..2, |_| flood), [[""; 0]]);
    }

    #[test]
    fn networks_are_named_with_what_they_do() {
        let seen = |suspicion, user: &str, count| {
            let key = ("192.0.2.7/32".parse().unwrap(), suspicion);
            let notices = [(key, Notice { user: user.to_owned(), count })].into();
            causes(&Interval { notices, ..Interval::default() }, &Limits::default())
        };
        let reports = |count| seen(Suspicion::AnonymousReports, "anonymous", count);
        assert_eq!(reports(49), []);
        let words = "192.0.2.7/32 has reported 50 digests without an account in ten seconds";
        assert_eq!(reports(50)[0].to_string(), words);
        for (why, words) in [
            (BadSignature::UnknownUser, "there is no such account"),
            (BadSignature::Timestamp, "the clocks differ by more than 300 seconds"),
            (BadSignature::Invalid, "the keys differ"),
        ] {
            assert_eq!(seen(Suspicion::BadSignature(why), "bob", 9), []);
            let cause = seen(Suspicion::BadSignature(why), "bob", 10).remove(0);
            let sentence = format!(
                "10 requests from 192.0.2.7/32 got 401 in ten seconds, the last of user bob: {words}"
            );
            assert_eq!(cause.to_string(), sentence);
            assert!(!cause.remedy().is_empty());
        }
    }

    #[test]
    fn a_slow_database_is_told_from_a_queue() {
        let tally = Tally { timed: 100, slow: 50, batches: 100, ..Tally::default() };
        let part = |tally| match slow(&Interval { tally, ..Interval::default() }) {
            Some(Cause::Slow { part, .. }) => part,
            other => panic!("{other:?}"),
        };
        assert_eq!(part(tally), SlowPart::Queue);
        assert_eq!(part(Tally { slow_batches: 50, ..tally }), SlowPart::Database);
    }

    #[test]
    fn records_that_vanish_are_told_of_and_those_that_expire_are_not() {
        let mut warnings = Warnings::default();
        for (second, records, expired, warned) in [
            (0, 0, 0, false),
            (4, 9000, 0, false),
            (8, 5000, 0, false),
            (12, 90, 4950, false),
            (16, 4000, 4950, false),
            (20, 400, 4950, true),
            (24, 0, 4950, true),
            (624, 0, 4950, false),
        ] {
            warnings.records(records, expired, at(second).tick);
            assert_eq!(!warnings.current(at(second).tick).is_empty(), warned, "{second}");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_told_of_and_one_that_is_slewed_is_not() {
        let mut warnings = Warnings::default();
        let mut look = |second, ahead| {
            let mut now = at(second);
            now.wall = UnixTime::from_seconds(now.wall.seconds() + ahead);
            warnings.look(Interval::default(), &Limits::default(), now);
            warnings.current(now.tick).first().map(|finding| finding.cause.to_string())
        };
        assert_eq!([look(1, 0), look(2, 59), look(3, 1)], [None, None, None]);
        let sentence = "the clock was set back by 3601 seconds, or the machine slept";
        assert_eq!(look(4, -3600).as_deref(), Some(sentence));
    }
}
