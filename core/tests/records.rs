//! Counts and dates at the limits of their types, in the reply to `info`.
#![expect(clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

mod common;

use common::OneRequest;
use proptest::prelude::*;
use pyzord_core::{Digest, MemoryStore, Now, Policy, Record, Store, StoreOp, Tally, Tick, UnixTime};

/// The largest count of a database, 9223372036854775807.
const MAX: u64 = i64::MAX as u64;

fn at(wall: UnixTime) -> Now {
    Now { wall, tick: Tick::default() }
}

/// Any time, those of broken clocks included.
fn time() -> impl Strategy<Value = UnixTime> {
    prop_oneof![
        any::<i64>().prop_map(UnixTime::from_micros),
        (-2_000_000..2_000_000_i64).prop_map(UnixTime::from_micros),
        (0..4_102_444_800_i64).prop_map(UnixTime::from_seconds),
        any::<i64>().prop_map(UnixTime::from_seconds),
    ]
}

fn tally() -> impl Strategy<Value = Tally> {
    let count = prop_oneof![0..10_u64, MAX - 3..=MAX, any::<u64>().prop_map(|count| count.min(MAX))];
    (count, prop::option::of(time()), prop::option::of(time())).prop_map(|(count, entered, updated)| Tally {
        count,
        entered,
        updated,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (tally(), tally()).prop_map(|(reports, whitelists)| Record { reports, whitelists })
}

/// Returns the numbers in the reply to an `info`.
fn info(store: &mut MemoryStore, digest: Digest) -> [i128; 6] {
    let datagram = format!("Op: info\nOp-Digest: {digest}\nPV: 2.1\n\n");
    let request = OneRequest::accept(&Policy::default(), datagram.as_bytes(), UnixTime::from_micros(0));
    let request = request.expect("an info is answered");
    let mut answers = Vec::new();
    store.execute(at(UnixTime::from_micros(0)), request.calls(), &mut answers);
    let (out, _) = request.resolve(&answers);
    let text = String::from_utf8(out).expect("a reply is text");
    let names = ["Entered", "Updated", "WL-Entered", "WL-Updated", "Count", "WL-Count"];
    names.map(|name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    })
}

/// Returns whole seconds, rounded down; 0 for `None`.
fn seconds(time: Option<UnixTime>) -> i128 {
    time.map_or(0, |time| i128::from(time.micros()).div_euclid(1_000_000))
}

proptest! {
    #[test]
    fn counts_stop_at_the_largest_count_and_dates_do_not_go_back(
        record in record(),
        counts in prop::collection::vec((any::<bool>(), time()), 0..6),
    ) {
        let digest = Digest::new([7; 20]);
        let mut store = MemoryStore::new();
        store.put(digest, record);
        let mut tallies = [record.reports, record.whitelists];
        for (whitelist, wall) in counts {
            let op = if whitelist { StoreOp::Whitelist } else { StoreOp::Report };
            let mut answers = Vec::new();
            store.execute(at(wall), &[pyzord_core::StoreCall::new(digest, op)], &mut answers);
            let Tally { count, entered, updated } = tallies[usize::from(whitelist)];
            let count = if count < MAX { count + 1 } else { MAX };
            let believed = |stands: &UnixTime| {
                let ahead = i128::from(stands.micros()) - i128::from(wall.micros());
                ahead > 0 && (ahead <= 86_400_000_000 || wall < UnixTime::BUILT)
            };
            tallies[usize::from(whitelist)] =
                Tally { count, entered: entered.or(Some(wall)), updated: updated.filter(believed).or(Some(wall)) };
            let [reports, whitelists] = tallies;
            prop_assert_eq!(answers, [Ok(Record { reports, whitelists })]);
        }
        let [reports, whitelists] = tallies;
        let dates = [reports.entered, reports.updated, whitelists.entered, whitelists.updated].map(seconds);
        let counts = [reports.count, whitelists.count].map(i128::from);
        prop_assert_eq!(info(&mut store, digest).to_vec(), [&dates[..], &counts].concat());
    }

    #[test]
    fn records_without_activity_since_the_limit_expire(
        records in prop::collection::vec(record(), 0..20),
        limit in time(),
    ) {
        let mut store = MemoryStore::new();
        let mut kept = Vec::new();
        for (byte, record) in (0..).zip(records) {
            let digest = Digest::new([byte; 20]);
            store.put(digest, record);
            let dates = [record.reports.updated, record.whitelists.updated];
            let mut dates = dates.iter().flatten().peekable();
            if dates.peek().is_none() || dates.any(|date| date.micros() >= limit.micros()) {
                kept.push((digest, record));
            }
        }
        prop_assert_eq!(store.upkeep(at(limit), pyzord_core::Task::Expire(limit)).unwrap(), pyzord_core::Progress::Done);
        prop_assert_eq!(store.records().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn times_saturate(time in time(), age in any::<(u64, u32)>(), short in 0..1_000_000_000_000_u64) {
        for age in [Duration::from_secs(age.0).saturating_add(Duration::from_nanos(age.1.into())), Duration::from_micros(short)] {
            let exact = i128::from(time.micros()) - i128::try_from(age.as_micros()).unwrap_or(i128::MAX);
            let saturated = exact.max(i64::MIN.into());
            prop_assert_eq!(i128::from(time.before(age).micros()), saturated);
        }
        let shown = format!("{time:?}");
        let (whole, micros) = shown.split_once('.').expect("a point");
        let number = |text: &str| text.parse::<i128>().expect("digits");
        let exact = number(whole) * 1_000_000 + number(micros);
        prop_assert_eq!((exact, micros.len()), (time.micros().into(), 6));
    }
}
