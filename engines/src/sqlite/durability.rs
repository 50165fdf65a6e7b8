//! Which commits are on the disk.
//!
//! Commits have numbers. A sync covers all commits that precede it, so all calls that wait for one share it. The first call
//! that waits makes the sync itself. The sync thread covers later commits, and those for which no call waits.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyzord_core::Tick;

/// The time from a commit to the sync that covers it, if nothing waits for it: half of what is promised, as the thread
/// that syncs may be late.
const DELAY: Duration = Duration::from_millis(50);
/// Counts are refused while a sync takes longer.
const LONGEST_SYNC: Duration = Duration::from_secs(5);
/// How many commits are made before the length of the log is looked at.
const LOOK: u64 = 32;

/// Why commits may not be on the disk.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NotDurable {
    #[error("a sync failed ({0}), and counts get 500 until all of the log is written again")]
    Failed(String),
    #[error("a sync has not ended in {} seconds, and counts get 500 until it has", LONGEST_SYNC.as_secs())]
    Slow,
}

/// What became of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Covered {
    /// It is on the disk.
    Yes,
    /// The sync failed.
    Failed,
    /// The sync has not ended in time.
    NotYet,
}

/// What the thread that syncs has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// Sync the log, which covers all commits up to this one.
    Sync(u64),
    /// Mend what a failed sync has left.
    Mend,
    /// Nothing any more.
    End,
}

/// Numbers commits.
#[derive(Debug, Default)]
pub(super) struct Commits {
    state: Mutex<State>,
    /// For the thread that syncs.
    to_sync: Condvar,
    /// For those who wait for a sync.
    synced: Condvar,
    /// For the thread that moves pages from the log into the database.
    to_move: Condvar,
}

#[derive(Debug, Default)]
struct State {
    made: u64,
    covered: u64,
    /// The last commit that is waited for.
    awaited: u64,
    /// The thread that syncs waits for the next commit, however long that takes.
    is_idle: bool,
    /// The number of calls that wait for a sync. A wake-up is a system call, so it is left out when there are none.
    waiting: usize,
    /// A sync is under way.
    is_syncing: bool,
    /// When a count has first met it.
    met: Option<Tick>,
    failure: Option<NotDurable>,
    /// The commits at the last look at the log.
    looked: u64,
    stops: bool,
}

impl State {
    /// Returns the last commit that the sync covers which begins now.
    const fn begin_sync(&mut self) -> u64 {
        (self.is_syncing, self.met) = (true, None);
        self.made
    }
}

impl Commits {
    /// Records a commit and returns its number. Call it with the writers' lock.
    pub(super) fn add(&self) -> u64 {
        let mut state = self.lock();
        state.made += 1;
        if state.is_idle {
            state.is_idle = false;
            self.to_sync.notify_one();
        }
        if state.made == state.looked + LOOK {
            self.to_move.notify_one();
        }
        state.made
    }

    /// Fails if a count would not be as durable as promised.
    pub(super) fn check(&self, now: Tick) -> Result<(), NotDurable> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if !state.is_syncing {
            return Ok(());
        }
        let met = *state.met.get_or_insert(now);
        if now.since(met) > LONGEST_SYNC { Err(NotDurable::Slow) } else { Ok(()) }
    }

    /// Waits until a commit is on the disk. Calls `sync` if no sync is under way and no other call waits for one.
    pub(super) fn settle(
        &self,
        commit: u64,
        longest: Duration,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> Covered {
        let mut state = self.lock();
        let is_first = !state.is_syncing && state.awaited <= state.covered && state.failure.is_none();
        if is_first && state.covered < commit {
            let made = state.begin_sync();
            drop(state);
            self.end_sync(made, sync());
            state = self.lock();
        }
        self.wait_with(state, commit, longest)
    }

    /// Waits until a commit is on the disk.
    pub(super) fn wait(&self, commit: u64, longest: Duration) -> Covered {
        self.wait_with(self.lock(), commit, longest)
    }

    fn wait_with(&self, mut state: MutexGuard<'_, State>, commit: u64, longest: Duration) -> Covered {
        let waits = |state: &mut State| state.covered < commit && state.failure.is_none();
        if waits(&mut state) {
            if state.awaited < commit {
                state.awaited = commit;
                self.to_sync.notify_one();
            }
            state.waiting += 1;
            let waited = self.synced.wait_timeout_while(state, longest, waits);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        match &state.failure {
            _ if state.covered >= commit => Covered::Yes,
            Some(_) => Covered::Failed,
            None => Covered::NotYet,
        }
    }

    /// Returns the number of the last commit.
    pub(super) fn made(&self) -> u64 {
        self.lock().made
    }

    /// Waits for the next work of the thread that syncs.
    pub(super) fn next_work(&self) -> Work {
        let mut state = self.lock();
        let mut is_quiet = true;
        loop {
            // A wake-up costs the writer a system call, so under load this thread looks every 50 ms instead.
            if is_quiet {
                state.is_idle = true;
                let idle = |state: &mut State| {
                    state.made == state.covered && state.failure.is_none() && !state.stops
                };
                state = self.to_sync.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
                state.is_idle = false;
            }
            let seen = state.made;
            let early = |state: &mut State| {
                state.failure.is_none()
                    && (state.is_syncing || state.awaited <= state.covered && !state.stops)
            };
            let waited = self.to_sync.wait_timeout_while(state, DELAY, early);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.failure.is_some() {
                return Work::Mend;
            }
            if !state.is_syncing && state.made > state.covered {
                return Work::Sync(state.begin_sync());
            }
            if !state.is_syncing && state.stops {
                return Work::End;
            }
            is_quiet = state.made == seen && state.made == state.covered;
        }
    }

    /// Records the result of a sync.
    pub(super) fn end_sync(&self, commit: u64, result: io::Result<()>) {
        let mut state = self.lock();
        state.is_syncing = false;
        match result {
            Ok(()) => state.covered = state.covered.max(commit),
            Err(cause) => state.failure = Some(NotDurable::Failed(cause.to_string())),
        }
        if state.failure.is_some() || state.awaited > state.covered || state.stops {
            self.to_sync.notify_one();
        }
        if state.waiting > 0 {
            drop(state);
            self.synced.notify_all();
        }
    }

    /// Counts are refused from here on.
    pub(super) fn fail(&self, cause: String) {
        self.lock().failure = Some(NotDurable::Failed(cause));
        self.to_sync.notify_one();
        self.synced.notify_all();
    }

    /// Returns why counts are refused.
    pub(super) fn failure(&self) -> Option<NotDurable> {
        self.lock().failure.clone()
    }

    /// All commits are on the disk, and counts are accepted again. Call it with the writers' lock.
    pub(super) fn mended(&self) {
        let mut state = self.lock();
        state.covered = state.made;
        state.failure = None;
        drop(state);
        self.synced.notify_all();
    }

    /// Waits until the log may have grown. Returns `false` at the end.
    pub(super) fn wait_for_growth(&self) -> bool {
        let short = |state: &mut State| state.made < state.looked + LOOK && !state.stops;
        let waited = self.to_move.wait_while(self.lock(), short);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.looked = state.made;
        !state.stops
    }

    /// Waits before another attempt. Returns `false` at the end.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let waited = self.to_sync.wait_timeout_while(self.lock(), pause, |state| !state.stops);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.stops
    }

    /// Whether the end has not come.
    pub(super) fn goes_on(&self) -> bool {
        !self.lock().stops
    }

    /// Ends both threads, after a last sync.
    pub(super) fn stop(&self) {
        self.lock().stops = true;
        self.to_sync.notify_all();
        self.to_move.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    fn begin_sync(commits: &Commits) -> u64 {
        let Work::Sync(commit) = commits.next_work() else { panic!("no sync is due") };
        commit
    }

    #[test]
    fn one_sync_covers_all_commits_before_it_and_none_after() {
        let commits = Commits::default();
        let numbers = [commits.add(), commits.add()];
        let covered = begin_sync(&commits);
        let late = commits.add();
        assert_eq!((numbers, covered, late), ([1, 2], 2, 3));
        commits.end_sync(covered, Ok(()));
        assert_eq!(commits.wait(2, Duration::ZERO), Covered::Yes);
        assert_eq!(commits.wait(3, Duration::ZERO), Covered::NotYet);
    }

    #[test]
    fn those_who_wait_share_a_sync() {
        let commits = Commits::default();
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| commits.wait(commits.add(), LONG))).collect();
            let mut syncs = 0;
            while !waiting.iter().all(thread::ScopedJoinHandle::is_finished) && commits.lock().covered < 8 {
                let covered = begin_sync(&commits);
                commits.end_sync(covered, Ok(()));
                syncs += 1;
            }
            assert!((1..=8).contains(&syncs));
            assert!(waiting.into_iter().all(|waits| waits.join().unwrap() == Covered::Yes));
        });
    }

    #[test]
    fn who_comes_first_syncs_for_what_is_committed_before() {
        let commits = Commits::default();
        let numbers = [commits.add(), commits.add()];
        let mut late = 0;
        let sync = || {
            late = commits.add();
            Ok(())
        };
        assert_eq!(commits.settle(numbers[0], Duration::ZERO, sync), Covered::Yes);
        let none = || unreachable!("it is on the disk");
        assert_eq!(commits.settle(numbers[1], Duration::ZERO, none), Covered::Yes);
        assert_eq!(commits.wait(late, Duration::ZERO), Covered::NotYet);
    }

    #[test]
    fn who_meets_a_sync_does_none() {
        let commits = Commits::default();
        let first = commits.add();
        let covered = begin_sync(&commits);
        let none = || unreachable!("another one is under way");
        assert_eq!(commits.settle(first, Duration::ZERO, none), Covered::NotYet);
        let late = commits.add();
        assert_eq!(commits.settle(late, Duration::ZERO, none), Covered::NotYet);
        commits.end_sync(covered, Ok(()));
        assert_eq!(commits.settle(first, Duration::ZERO, none), Covered::Yes);
        // The late one is waited for, so that the thread does not wait for more.
        let covered = begin_sync(&commits);
        assert_eq!(covered, late);
    }

    #[test]
    fn an_own_sync_that_fails_is_for_the_thread_to_mend() {
        let commits = Commits::default();
        let commit = commits.add();
        assert_eq!(commits.settle(commit, LONG, || Err(io::Error::other("EIO"))), Covered::Failed);
        let none = || unreachable!("the log is not yet written again");
        assert_eq!(commits.settle(commits.add(), LONG, none), Covered::Failed);
        assert_eq!(commits.next_work(), Work::Mend);
    }

    #[test]
    fn the_thread_leaves_alone_what_others_sync() {
        const COMMITS: u32 = 200;
        let commits = Commits::default();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut syncs = 0;
                while let Work::Sync(commit) = commits.next_work() {
                    commits.end_sync(commit, Ok(()));
                    syncs += 1;
                }
                syncs
            });
            for _ in 0..COMMITS {
                let commit = commits.add();
                assert_eq!(commits.settle(commit, LONG, || Ok(())), Covered::Yes);
            }
            commits.stop();
            assert!(thread.join().unwrap() < COMMITS);
        });
    }

    #[test]
    fn a_failed_sync_covers_nothing_until_all_is_written_again() {
        let commits = Commits::default();
        commits.add();
        let covered = begin_sync(&commits);
        assert_eq!(commits.check(at(0)), Ok(()));
        commits.end_sync(covered, Err(io::Error::other("EIO")));
        assert_eq!(commits.check(at(0)), Err(NotDurable::Failed("EIO".to_owned())));
        assert_eq!((commits.wait(1, LONG), commits.next_work()), (Covered::Failed, Work::Mend));
        commits.mended();
        assert_eq!((commits.check(at(0)), commits.wait(1, LONG)), (Ok(()), Covered::Yes));
    }

    #[test]
    fn counts_are_refused_while_a_sync_takes_too_long() {
        let commits = Commits::default();
        commits.add();
        let covered = begin_sync(&commits);
        assert_eq!([commits.check(at(10)), commits.check(at(15))], [Ok(()), Ok(())]);
        assert_eq!(commits.check(at(16)), Err(NotDurable::Slow));
        commits.end_sync(covered, Ok(()));
        assert_eq!(commits.check(at(17)), Ok(()));
    }

    #[test]
    fn a_stop_has_a_last_sync() {
        let commits = Commits::default();
        commits.add();
        commits.stop();
        let covered = begin_sync(&commits);
        commits.end_sync(covered, Ok(()));
        assert_eq!((commits.next_work(), commits.wait_for_growth()), (Work::End, false));
    }
}
