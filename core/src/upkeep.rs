//! The timetable of a store's upkeep.

use core::time::Duration;

use crate::expiry::{Expiry, ExpiryWait, Survey};
use crate::store::{Progress, Task};
use crate::time::{Now, Tick, UnixTime};

/// The time from the end of one sync to the start of the next, and so the longest time until acknowledged counts begin to
/// go to stable storage.
const SYNC_PERIOD: Duration = Duration::from_secs(5);
/// The time from the end of one round of expiry to the start of the next.
const EXPIRY_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// The shortest time between two slices of expiry. With slices of 20 rows it keeps requests to a MySQL table of five
/// million rows from waiting; with 1 ms and 50 rows 1 % of them wait for 10 ms and more.
const SLICE_PAUSE: Duration = Duration::from_millis(5);
/// The pause after a failed task, and while the clock has not been set.
const RETRY: Duration = Duration::from_secs(60);
/// The pause after a survey that does not let records expire: it reads all of them.
const NEXT_SURVEY: Duration = Duration::from_secs(3600);
/// The pause while another server expires the records of the database: it may end.
const NEXT_LOOK: Duration = Duration::from_secs(600);

/// The timetable of one server: [`Task::Sync`] at the start and every 5 seconds, a round of expiry at the start and
/// daily.
///
/// A round begins with [`Task::Survey`]. [`Task::Expire`] follows if the guard believes the clock, with the limit of the
/// survey: a clock that leaps during a round changes nothing. Else expiry [waits](Self::waiting).
///
/// Ask [`poll`](Self::poll) for the task that is due, execute it, and report the result with [`done`](Self::done).
#[derive(Clone, Debug)]
pub struct Schedule {
    expiry: Option<Expiry>,
    sync_at: Tick,
    expire_at: Tick,
    /// The survey or the expiry that has begun.
    round: Option<Task>,
    wait: Option<ExpiryWait>,
}

impl Schedule {
    /// Returns a timetable that starts at `now`. Without an expiry no record expires.
    #[must_use]
    pub fn new(expiry: Option<Expiry>, now: Tick) -> Self {
        Self { expiry, sync_at: now, expire_at: now, round: None, wait: None }
    }

    /// Returns why expiry waits; `None` if it does not.
    #[must_use]
    pub const fn waiting(&self) -> Option<ExpiryWait> {
        self.wait
    }

    /// Returns when [`poll`](Self::poll) next has a task.
    #[must_use]
    pub fn next_deadline(&self) -> Tick {
        if self.expiry.is_none() { self.sync_at } else { self.sync_at.min(self.expire_at) }
    }

    /// Returns the task that is due at `now`. It stays due until [`done`](Self::done).
    #[must_use]
    pub fn poll(&self, now: Now) -> Option<Task> {
        if self.sync_at <= now.tick {
            return Some(Task::Sync);
        }
        let age = self.expiry?.age;
        let begin = || Task::Survey(age.limit(now.wall));
        (self.expire_at <= now.tick).then(|| self.round.unwrap_or_else(begin))
    }

    /// Records the result of `task`, begun at `began` and ended at `now`; `None` for a failure.
    ///
    /// The pause after a task is at least as long as the task took, so upkeep takes at most half of a store's time.
    pub fn done(&mut self, task: Task, progress: Option<Progress>, began: Tick, now: Tick) {
        let pause = match (task, progress) {
            (_, None) => RETRY,
            (Task::Sync, Some(_)) => SYNC_PERIOD,
            (_, Some(Progress::Elsewhere)) => {
                (self.round, self.wait) = (None, None);
                NEXT_LOOK
            }
            (Task::Survey(limit), Some(Progress::More)) => self.survey_began(limit),
            (Task::Survey(limit), Some(Progress::Surveyed(survey))) => self.surveyed(limit, &survey),
            (Task::Survey(limit), Some(Progress::Done)) => self.surveyed(limit, &Survey::default()),
            (Task::Expire(_), Some(Progress::More)) => SLICE_PAUSE,
            (Task::Expire(_), Some(Progress::Done | Progress::Surveyed(_))) => {
                self.round = None;
                EXPIRY_PERIOD
            }
        };
        let next = now.after(pause.max(now.since(began)));
        match task {
            Task::Sync => self.sync_at = next,
            Task::Survey(_) | Task::Expire(_) => self.expire_at = next,
        }
    }

    /// Goes on with a survey, unless it is in vain. Returns the pause.
    fn survey_began(&mut self, limit: UnixTime) -> Duration {
        match self.judge(limit, &Survey::default()) {
            Some(wait) => self.wait_for(wait),
            None => {
                self.round = Some(Task::Survey(limit));
                SLICE_PAUSE
            }
        }
    }

    /// Decides whether records expire. Returns the pause.
    fn surveyed(&mut self, limit: UnixTime, survey: &Survey) -> Duration {
        match self.judge(limit, survey) {
            Some(wait) => self.wait_for(wait),
            None => {
                self.wait = None;
                self.round = Some(Task::Expire(limit));
                SLICE_PAUSE
            }
        }
    }

    fn wait_for(&mut self, wait: ExpiryWait) -> Duration {
        (self.wait, self.round) = (Some(wait), None);
        if wait == ExpiryWait::ClockBeforeBuild { RETRY } else { NEXT_SURVEY }
    }

    fn judge(&self, limit: UnixTime, survey: &Survey) -> Option<ExpiryWait> {
        let Expiry { age, guard } = self.expiry?;
        // The clock of which this is the limit.
        let clock = limit.after(Duration::from_secs(age.seconds()));
        guard.judge(clock, survey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup_age::CleanupAge;

    fn at(millis: u64) -> Now {
        let since = Duration::from_millis(millis);
        Now { wall: UnixTime::BUILT.after(since), tick: Tick::new(since) }
    }

    fn schedule(age: u64) -> Schedule {
        Schedule::new(CleanupAge::from_seconds(age).map(Expiry::from), at(0).tick)
    }

    #[test]
    fn a_day_has_one_round_of_expiry_and_a_sync_every_5_seconds() {
        let mut schedule = schedule(100);
        let (mut syncs, mut surveys, mut slices, mut now) = (0, 0, 0, at(0));
        let mut limit_of_round = None;
        while now.tick < at(86_400_000).tick {
            now = at(u64::try_from(schedule.next_deadline().since(Tick::default()).as_millis()).unwrap());
            let task = schedule.poll(now).expect("a task is due at its deadline");
            let progress = match task {
                Task::Sync => {
                    syncs += 1;
                    Progress::Done
                }
                Task::Survey(limit) => {
                    let begun =
                        *limit_of_round.get_or_insert_with(|| now.wall.before(Duration::from_secs(100)));
                    assert_eq!(limit, begun);
                    surveys += 1;
                    if surveys % 3 == 0 { Progress::Surveyed(Survey::default()) } else { Progress::More }
                }
                Task::Expire(limit) => {
                    assert_eq!(Some(limit), limit_of_round);
                    slices += 1;
                    if slices % 5 == 0 { Progress::Done } else { Progress::More }
                }
            };
            schedule.done(task, Some(progress), now.tick, now.tick);
            assert!(syncs + surveys + slices < 20_000, "never a busy loop");
        }
        // One round at the start; the next one begins a day after its last slice.
        assert_eq!((syncs, surveys, slices), (17_281, 3, 5));
    }

    #[test]
    fn without_a_cleanup_age_nothing_expires() {
        let mut schedule = schedule(0);
        schedule.done(Task::Sync, Some(Progress::Done), at(0).tick, at(0).tick);
        assert_eq!(schedule.poll(at(4_999)), None);
        assert_eq!(schedule.poll(at(5_000)), Some(Task::Sync));
    }

    #[test]
    fn a_failed_task_is_tried_again_after_a_minute_and_a_slice_pauses_as_long_as_it_took() {
        let mut schedule = schedule(1);
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

    #[test]
    fn a_server_that_leaves_expiry_to_another_one_asks_again() {
        let mut schedule = schedule(100);
        schedule.sync_at = at(1_000_000_000).tick;
        let Some(task @ Task::Survey(_)) = schedule.poll(at(0)) else { panic!("no survey") };
        schedule.done(task, Some(Progress::Elsewhere), at(0).tick, at(0).tick);
        assert_eq!(schedule.next_deadline(), at(600_000).tick);
        let Some(task @ Task::Survey(limit)) = schedule.poll(at(600_000)) else { panic!("no survey") };
        schedule.done(task, Some(Progress::Surveyed(Survey::default())), at(600_000).tick, at(600_000).tick);
        // The other server takes over within a round.
        schedule.done(Task::Expire(limit), Some(Progress::Elsewhere), at(601_000).tick, at(601_000).tick);
        assert!(matches!(schedule.poll(at(1_201_000)), Some(Task::Survey(_))));
    }

    /// A clock that was a year ahead at the boot removed every record 10 ms after the start.
    #[test]
    fn records_do_not_expire_by_a_clock_that_is_not_believed() {
        let survey = |newest| Survey { records: 5000, expired: 5000, newest: Some(newest) };
        let year = Duration::from_secs(365 * 24 * 3600);
        for (wall, newest, pause) in [
            (UnixTime::BUILT.after(year), UnixTime::BUILT, NEXT_SURVEY),
            (UnixTime::BUILT.after(year), UnixTime::BUILT.after(year), NEXT_SURVEY),
            (UnixTime::from_seconds(0), UnixTime::BUILT, RETRY),
        ] {
            let mut schedule = schedule(1);
            let now = Now { wall, ..at(0) };
            schedule.done(Task::Sync, Some(Progress::Done), now.tick, now.tick);
            let task = schedule.poll(now).unwrap();
            assert!(matches!(task, Task::Survey(_)), "{task:?}");
            schedule.done(task, Some(Progress::Surveyed(survey(newest))), now.tick, now.tick);
            assert!(schedule.waiting().is_some());
            schedule.sync_at = now.tick.after(Duration::from_secs(1_000_000));
            assert_eq!(schedule.next_deadline(), now.tick.after(pause));
            // The clock is right again.
            let now = Now { wall: newest.after(Duration::from_secs(5)), tick: schedule.next_deadline() };
            let task = schedule.poll(now).unwrap();
            let few = Survey { expired: 5, ..survey(newest) };
            schedule.done(task, Some(Progress::Surveyed(few)), now.tick, now.tick);
            assert_eq!(schedule.waiting(), None);
            let leap = Now { wall: now.wall.after(year), tick: schedule.next_deadline() };
            let limit = now.wall.before(Duration::from_secs(1));
            assert_eq!(
                schedule.poll(leap),
                Some(Task::Expire(limit)),
                "a leap during a round changes nothing"
            );
        }
    }
}
