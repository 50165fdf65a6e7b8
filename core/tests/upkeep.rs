//! The timetable of upkeep and the pauses between attempts, against a simulated clock.

use std::time::Duration;

use proptest::prelude::*;
use pyzord_core::{Backoff, CleanupAge, Expiry, Now, Progress, Schedule, Task, Tick, UnixTime};

const SYNC_PERIOD: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A span of time, mostly short.
fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => Just(Duration::ZERO),
        4 => (0..50_000_u64).prop_map(Duration::from_micros),
        2 => (0..200_u64).prop_map(Duration::from_secs),
        1 => (0..200_000_u64).prop_map(Duration::from_secs),
    ]
}

/// How a task goes: how late it begins, how long it takes, and how it ends.
fn turn() -> impl Strategy<Value = (Duration, Duration, Option<Progress>)> {
    let end =
        prop::sample::select(vec![Some(Progress::Done), Some(Progress::More), Some(Progress::More), None]);
    (span(), span(), end)
}

/// When the server starts, by a clock that may have run for long.
fn start() -> impl Strategy<Value = Tick> {
    let any = prop_oneof![Just(Duration::ZERO), (0..1_000_000_u64).prop_map(Duration::from_secs)];
    any.prop_map(Tick::new)
}

fn earlier(tick: Tick) -> Tick {
    Tick::new(tick.since(Tick::default()).saturating_sub(Duration::from_nanos(1)))
}

/// A clock, mostly right.
fn wall() -> impl Strategy<Value = i64> {
    let built = UnixTime::BUILT.micros();
    prop_oneof![1 => any::<i64>(), 2 => built..2 * built]
}

fn schedule(age: u64, start: Tick) -> Schedule {
    Schedule::new(CleanupAge::from_seconds(age).map(Expiry::from), start)
}

fn now(tick: Tick, wall: i64) -> Now {
    Now { wall: UnixTime::from_micros(wall), tick }
}

proptest! {
    #[test]
    fn upkeep_is_never_early_never_forgotten_and_leaves_half_of_the_time(
        age in prop_oneof![Just(0), 1..=u64::MAX],
        start in start(),
        turns in prop::collection::vec(turn(), 1..60),
        wall in wall(),
    ) {
        let mut schedule = schedule(age, start);
        // When the last task of each kind ended; whether there was one; what lateness and tasks of the other kind cost;
        // how long the last sync took.
        let mut ended: [Option<(Tick, Task, Option<Progress>)>; 2] = [None; 2];
        let (mut held_up, mut synced) = (Duration::ZERO, Duration::ZERO);
        let (mut clock, mut slices) = (start, Duration::ZERO);
        for (late, took, end) in turns {
            let deadline = schedule.next_deadline();
            if clock < deadline {
                prop_assert_eq!(schedule.poll(now(earlier(deadline), wall)), None, "early");
            }
            clock = clock.max(deadline).after(late);
            held_up += late;
            let task = schedule.poll(now(clock, wall));
            let task = task.expect("a task is due at the deadline");
            let kind = usize::from(task != Task::Sync);
            let waited = ended[kind].map_or(DAY, |(ended, ..)| clock.since(ended));
            match (task, ended[kind]) {
                (_, None) => (),
                // Never a busy loop, and what was acknowledged is synced soon, unless a sync failed or is slow.
                (Task::Sync, Some((.., end))) => {
                    let pause = synced.max(if end.is_none() { MINUTE } else { SYNC_PERIOD });
                    prop_assert!(waited >= pause && waited <= pause + held_up, "{:?}", waited);
                }
                (_, Some((_, _, None))) => prop_assert!(waited >= MINUTE),
                (Task::Survey(_), Some((_, Task::Expire(_), Some(Progress::Done)))) => prop_assert!(waited >= DAY),
                (Task::Survey(_) | Task::Expire(_), Some(_)) => prop_assert!(waited >= Duration::from_millis(1)),
            }
            let waits = schedule.waiting().is_some();
            prop_assert!(!waits || !matches!(task, Task::Expire(_)), "expiry waits");
            prop_assert!(!matches!(task, Task::Expire(_)) || wall >= UnixTime::BUILT.micros() || age > 1 << 40);
            if let Task::Survey(limit) | Task::Expire(limit) = task {
                prop_assert!(age != 0);
                let exact = (i128::from(wall) - i128::from(age) * 1_000_000).max(i64::MIN.into());
                prop_assert_eq!(i128::from(limit.micros()), exact);
                // The pauses behind the slices are as long as the slices, the last one still to come.
                prop_assert!(slices <= clock.since(start), "{:?} of {:?}", slices, clock.since(start));
                slices += took * 2;
            }
            let began = clock;
            clock = clock.after(took);
            (held_up, synced) =
                if task == Task::Sync { (Duration::ZERO, took) } else { (held_up + took, synced) };
            ended[kind] = Some((clock, task, end));
            schedule.done(task, end, began, clock);
        }
        prop_assert!(ended[0].is_some(), "the first task of all is a sync");
    }

    /// Expiry goes on while syncs fail, and syncs go on while expiry has no end: neither waits for the other.
    #[test]
    fn neither_task_keeps_the_other_from_its_turn(
        sync in prop::sample::select(vec![Some(Progress::Done), None]),
        expiry in prop::sample::select(vec![Some(Progress::More), None]),
        took in span(),
    ) {
        let mut schedule = schedule(1, Tick::default());
        let (mut clock, mut counts) = (Tick::default(), [0; 2]);
        while clock < Tick::default().after(DAY) && counts[0].min(counts[1]) < 3 {
            clock = clock.max(schedule.next_deadline());
            let task = schedule.poll(now(clock, 0)).expect("a task is due at the deadline");
            let (kind, end) = if task == Task::Sync { (0, sync) } else { (1, expiry) };
            counts[kind] += 1;
            let began = clock;
            clock = clock.after(took);
            schedule.done(task, end, began, clock);
        }
        prop_assert!(counts[0].min(counts[1]) >= 3 || took > DAY / 6, "{:?}", counts);
    }

    /// At the end of what a clock can show nothing overflows, and there is still a deadline that is met.
    #[test]
    fn the_end_of_the_clock_is_no_panic(
        age in prop_oneof![Just(0), any::<u64>()],
        from_end in span(),
        turns in prop::collection::vec(turn(), 1..20),
        wall in wall(),
    ) {
        let mut clock = Tick::new(Duration::MAX - from_end);
        let mut schedule = schedule(age, clock);
        let mut backoff = Backoff::new();
        for (late, took, end) in turns {
            clock = clock.max(schedule.next_deadline()).after(late);
            let task = schedule.poll(now(clock, wall)).expect("a task is due at the deadline");
            // A clock that went back is none of ours, but an ended task may not have begun later.
            schedule.done(task, end, clock.after(took), clock);
            schedule.done(task, end, clock, clock.after(took));
            backoff.failed(clock);
            prop_assert!(backoff.ready(Tick::new(Duration::MAX)));
        }
    }

    #[test]
    fn attempts_are_apart_but_for_a_second_at_most(
        start in start(),
        attempts in prop::collection::vec((span(), span(), prop::bool::weighted(0.1)), 1..100),
    ) {
        let mut backoff = Backoff::new();
        let (mut clock, mut failures, mut least) = (start, 0_u32, Duration::ZERO);
        prop_assert!(backoff.ready(start));
        for (late, took, succeeds) in attempts {
            clock = clock.after(late);
            prop_assert_eq!(backoff.failures(), failures);
            if !backoff.ready(clock) {
                continue;
            }
            let began = clock;
            clock = clock.after(took);
            if succeeds {
                backoff.succeeded();
                (failures, least) = (0, Duration::ZERO);
                prop_assert!(backoff.ready(Tick::default()));
            } else {
                backoff.failed(began);
                failures += 1;
                // The pauses never get shorter, begin at 0.1 s and are never longer than 1 s.
                least = least.max(Duration::from_millis(100));
                prop_assert!(!backoff.ready(earlier(began.after(least))));
                prop_assert!(backoff.ready(began.after(Duration::from_secs(1))));
                while !backoff.ready(began.after(least)) {
                    least += Duration::from_millis(100);
                }
                prop_assert_eq!(least == Duration::from_secs(1), failures > 4);
            }
        }
    }
}
