//! A value that is replaced while others read it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Holds the current snapshot of something that a reload replaces.
///
/// Who reads it often has a [`Watcher`], which takes the lock only after a replacement.
#[derive(Debug)]
pub struct Live<T> {
    current: Mutex<Arc<T>>,
    version: AtomicUsize,
    /// Snapshots that were replaced. A worker that was the last to have a large one would free it in the middle of its
    /// requests, which takes milliseconds.
    retired: Mutex<Vec<Arc<T>>>,
}

impl<T> Live<T> {
    /// The first snapshot.
    pub fn new(value: T) -> Self {
        Self { current: Mutex::new(Arc::new(value)), version: AtomicUsize::new(0), retired: Mutex::default() }
    }

    /// The snapshot of this moment.
    pub fn snapshot(&self) -> Arc<T> {
        // Nothing panics while it holds this lock, and if it did, the value would still be whole.
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the snapshot. Who has the old one keeps it until he looks again; [`release`](Self::release) frees it.
    pub fn replace(&self, value: T) {
        let value = Arc::new(value);
        let old = std::mem::replace(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner), value);
        self.version.fetch_add(1, Ordering::Release);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.release();
    }

    /// Frees the snapshots that nobody has any more, in this thread.
    pub fn release(&self) {
        let in_use = |snapshot: &mut Arc<T>| Arc::strong_count(snapshot) > 1;
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(in_use);
    }

    /// A reader that looks again cheaply.
    pub fn watch(&self) -> Watcher<'_, T> {
        let version = self.version.load(Ordering::Acquire);
        Watcher { live: self, version, snapshot: self.snapshot() }
    }
}

/// One thread's view of a [`Live`] value.
#[derive(Debug)]
pub struct Watcher<'a, T> {
    live: &'a Live<T>,
    version: usize,
    snapshot: Arc<T>,
}

impl<T> Watcher<'_, T> {
    /// The current snapshot: one atomic load, unless it was replaced since the last call.
    pub fn current(&mut self) -> &T {
        let version = self.live.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.snapshot = self.live.snapshot();
        }
        &self.snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_the_replacement_and_a_snapshot_does_not() {
        let live = Live::new(1);
        let (old, mut watcher) = (live.snapshot(), live.watch());
        live.replace(2);
        assert_eq!((*old, *watcher.current(), *live.snapshot()), (1, 2, 2));
    }

    /// The last worker to see a reload freed 100,000 accounts before it answered the next request.
    #[test]
    fn who_looks_again_frees_nothing() {
        let live = Live::new(1);
        let mut watcher = live.watch();
        let old = Arc::downgrade(&live.snapshot());
        live.replace(2);
        live.release();
        assert!(old.upgrade().is_some(), "the watcher has it");
        assert_eq!(*watcher.current(), 2);
        assert!(old.upgrade().is_some(), "looking again is no time to free it");
        live.release();
        assert!(old.upgrade().is_none());
    }
}
