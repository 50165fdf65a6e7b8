//! The timetable of a store's upkeep.

use core::time::Duration;

use crate::cleanup_age::CleanupAge;
use crate::store::{Progress, Task};
use crate::time::{Now, Tick};

/// The time from the end of one sync to the start of the next, and so the longest time until acknowledged counts begin to
/// go to stable storage.
const SYNC_PERIOD: Duration = Duration::from_secs(5);
/// The time from the end of one round of expiry to the start of the next.
const EXPIRY_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// The shortest time between two slices of expiry. With slices of 20 rows it keeps requests to a MySQL table of five
/// million rows from waiting; with 1 ms and 50 rows 1 % of them wait for 10 ms and more.
const SLICE_PAUSE: Duration = Duration::from_millis(5);
/// The pause after a failed task.
const RETRY: Duration = Duration::from_secs(60);

/// The timetable of one server: [`Task::Sync`] at the start and every 5 seconds, a round of [`Task::Expire`] at the
/// start and daily.
///
/// Ask [`poll`](Self::poll) for the task that is due, execute it, and report the result with [`done`](Self::done).
#[derive(Clone, Debug)]
pub struct Schedule {
    cleanup: Option<CleanupAge>,
    sync_at: Tick,
    expire_at: Tick,
}

impl Schedule {
    /// Returns a timetable that starts at `now`. Without a cleanup age no record expires.
    #[must_use]
    pub fn new(cleanup: Option<CleanupAge>, now: Tick) -> Self {
        Self { cleanup, sync_at: now, expire_at: now }
    }

    /// Returns when [`poll`](Self::poll) next has a task.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        if self.cleanup.is_none() { self.sync_at } else { self.sync_at.min(self.expire_at) }
    }

    /// Returns the task that is due at `now`. It stays due until [`done`](Self::done).
    #[must_use]
    pub fn poll(&self, now: Now) -> Option<Task> {
        if self.sync_at <= now.tick {
            return Some(Task::Sync);
        }
        let limit = self.cleanup?.limit(now.wall);
        (self.expire_at <= now.tick).then_some(Task::Expire(limit))
    }

    /// Records the result of `task`, begun at `began` and ended at `now`; `None` for a failure.
    ///
    /// The pause after a task is at least as long as the task took, so upkeep takes at most half of a store's time.
    pub fn done(&mut self, task: Task, progress: Option<Progress>, began: Tick, now: Tick) {
        let pause = match (task, progress) {
            (_, None) => RETRY,
            (Task::Sync, Some(_)) => SYNC_PERIOD,
            (Task::Expire(_), Some(Progress::More)) => SLICE_PAUSE,
            (Task::Expire(_), Some(Progress::Done)) => EXPIRY_PERIOD,
        };
        let next = now.after(pause.max(now.since(began)));
        match task {
            Task::Sync => self.sync_at = next,
            Task::Expire(_) => self.expire_at = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    fn at(millis: u64) -> Now {
        let wall = UnixTime::from_seconds(1_000_000 + i64::try_from(millis / 1000).unwrap());
        Now { wall, tick: Tick::new(Duration::from_millis(millis)) }
    }

    #[test]
    fn a_day_has_one_round_of_expiry_and_a_sync_every_5_seconds() {
        let mut schedule = Schedule::new(CleanupAge::from_seconds(100), at(0).tick);
        let (mut syncs, mut slices, mut now) = (0, 0, at(0));
        while now.tick < at(86_400_000).tick {
            now = at(u64::try_from(schedule.next_deadline().since(Tick::default()).as_millis()).unwrap());
            let task = schedule.poll(now).expect("a task is due at its deadline");
            let progress = match task {
                Task::Sync => {
                    syncs += 1;
                    Progress::Done
                }
                Task::Expire(limit) => {
                    assert_eq!(limit, now.wall.before(Duration::from_secs(100)));
                    slices += 1;
                    if slices % 5 == 0 { Progress::Done } else { Progress::More }
                }
            };
            schedule.done(task, Some(progress), now.tick, now.tick);
            assert!(syncs + slices < 20_000, "never a busy loop");
        }
        // Five slices at the start; the next round begins a day after the last of them.
        assert_eq!((syncs, slices), (17_281, 5));
    }

    #[test]
    fn without_a_cleanup_age_nothing_expires() {
        let mut schedule = Schedule::new(CleanupAge::from_seconds(0), at(0).tick);
        schedule.done(Task::Sync, Some(Progress::Done), at(0).tick, at(0).tick);
        assert_eq!(schedule.poll(at(4_999)), None);
        assert_eq!(schedule.poll(at(5_000)), Some(Task::Sync));
    }

    #[test]
    fn a_failed_task_is_tried_again_after_a_minute_and_a_slice_pauses_as_long_as_it_took() {
        let mut schedule = Schedule::new(CleanupAge::from_seconds(1), at(0).tick);
        // A sync that took a minute is begun again a minute later.
        schedule.done(Task::Sync, Some(Progress::Done), at(0).tick, at(60_000).tick);
        assert_eq!(schedule.sync_at, at(120_000).tick);
        let task = schedule.poll(at(0)).unwrap();
        schedule.done(task, Some(Progress::More), at(0).tick, at(4).tick);
        assert_eq!(schedule.next_deadline(), at(9).tick);
        schedule.done(task, Some(Progress::More), at(9).tick, at(17).tick);
        assert_eq!(schedule.next_deadline(), at(25).tick);
        schedule.done(task, None, at(8).tick, at(9).tick);
        assert_eq!(schedule.next_deadline(), at(60_009).tick);
    }
}
