//! A lock whose wait is bounded, however long another call holds it.
//!
//! The standard library's mutex cannot give up a wait. This one is a standard mutex that is only ever tried; calls that
//! find it taken wait on a condition variable beside it.

use std::hint;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// How often a call looks whether the lock is free before it sleeps. The lock is mostly held for a microsecond.
const SPINS: u32 = 100;

/// A lock around `T`.
#[derive(Debug)]
pub(super) struct TimedLock<T> {
    value: Mutex<T>,
    /// The longest wait.
    patience: Duration,
    /// A call has waited in vain, and the lock was not taken since. More waits would be in vain, too.
    given_up: AtomicBool,
    /// How many calls sleep.
    sleeping: AtomicUsize,
    bed: Mutex<()>,
    released: Condvar,
}

impl<T> TimedLock<T> {
    pub(super) fn new(value: T, patience: Duration) -> Self {
        Self {
            value: Mutex::new(value),
            patience,
            given_up: AtomicBool::new(false),
            sleeping: AtomicUsize::new(0),
            bed: Mutex::new(()),
            released: Condvar::new(),
        }
    }

    /// Takes the lock; `None` if another call has held it for too long. Once a call has waited in vain, others fail at
    /// once until the lock is free.
    ///
    /// A call that panicked with the lock does not keep others from it.
    pub(super) fn lock(&self) -> Option<TimedGuard<'_, T>> {
        let taken = self.try_lock();
        if taken.is_some() || self.given_up.load(Ordering::Relaxed) {
            return taken;
        }
        self.spin().or_else(|| self.sleep())
    }

    /// Takes the lock if it is free.
    pub(super) fn try_lock(&self) -> Option<TimedGuard<'_, T>> {
        let value = match self.value.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if self.given_up.load(Ordering::Relaxed) {
            self.given_up.store(false, Ordering::Relaxed);
        }
        Some(TimedGuard { value, _wake: Wake(self) })
    }

    fn spin(&self) -> Option<TimedGuard<'_, T>> {
        (0..SPINS).find_map(|_| {
            hint::spin_loop();
            self.try_lock()
        })
    }

    fn sleep(&self) -> Option<TimedGuard<'_, T>> {
        let mut taken = None;
        let bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        // Either the holder sees this sleeper when it has released the lock, or the sleeper finds the lock free: the
        // fence stands between the number and the attempt, as the one of `Wake` between the release and the number.
        fence(Ordering::SeqCst);
        let slept = self.released.wait_timeout_while(bed, self.patience, |()| {
            taken = self.try_lock();
            taken.is_none()
        });
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        drop(slept);
        if taken.is_none() {
            self.given_up.store(true, Ordering::Relaxed);
            // It may have been released a moment ago; then this takes the word back.
            taken = self.try_lock();
        }
        taken
    }
}

/// The lock, held. Fields are dropped in their order: the lock is released, then a sleeper is woken.
pub(super) struct TimedGuard<'a, T> {
    value: MutexGuard<'a, T>,
    _wake: Wake<'a, T>,
}

impl<T> Deref for TimedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TimedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Wakes a sleeper when it is dropped.
struct Wake<'a, T>(&'a TimedLock<T>);

impl<T> Drop for Wake<'_, T> {
    fn drop(&mut self) {
        fence(Ordering::SeqCst);
        if self.0.sleeping.load(Ordering::Relaxed) > 0 {
            // A sleeper that has counted itself is asleep once this lock is to be had.
            drop(self.0.bed.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.released.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// One slow read of the disk, with the lock held, kept every other call waiting until it had ended.
    #[test]
    fn a_call_gives_up_and_later_ones_do_so_at_once_until_the_lock_is_free() {
        let lock = TimedLock::new(0, Duration::from_millis(20));
        thread::scope(|scope| {
            let (taken, is_taken) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let lock = &lock;
            let holder = scope.spawn(move || {
                let mut held = lock.lock().unwrap();
                taken.send(()).unwrap();
                released.recv().unwrap();
                *held += 1;
            });
            is_taken.recv().unwrap();
            assert!(lock.lock().is_none());
            assert!(lock.given_up.load(Ordering::Relaxed), "the next call does not wait");
            assert!(lock.lock().is_none());
            release.send(()).unwrap();
            holder.join().unwrap();
            assert_eq!(*lock.lock().unwrap(), 1);
            assert!(!lock.given_up.load(Ordering::Relaxed), "calls wait again");
        });
    }

    #[test]
    fn no_sleeper_is_left_asleep() {
        let lock = TimedLock::new(0, LONG);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let mut held = lock.lock().unwrap();
                        *held += 1;
                        if *held % 64 == 0 {
                            // Long enough that the others fall asleep.
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!((*lock.lock().unwrap(), lock.sleeping.load(Ordering::Relaxed)), (20_000, 0));
    }

    #[test]
    fn a_panic_with_the_lock_held_keeps_no_call_out() {
        let lock = TimedLock::new(7, LONG);
        thread::scope(|scope| {
            let panicking = || {
                let _held = lock.lock().unwrap();
                panic!("a bug");
            };
            assert!(scope.spawn(panicking).join().is_err());
        });
        assert_eq!(*lock.lock().unwrap(), 7);
    }
}
