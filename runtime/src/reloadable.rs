//! A value that a reload replaces while threads read it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

/// Holds the current snapshot of a value.
#[derive(Debug)]
pub(crate) struct Reloadable<T> {
    current: ArcSwap<T>,
    /// Replaced snapshots. To free a large one takes milliseconds, which a worker must not spend between requests.
    replaced: Mutex<Vec<Arc<T>>>,
}

impl<T> Reloadable<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { current: ArcSwap::new(value), replaced: Mutex::default() }
    }

    /// Returns the current snapshot.
    pub(crate) fn snapshot(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Whether `snapshot` is the current one.
    pub(crate) fn is_current(&self, snapshot: &Arc<T>) -> bool {
        Arc::ptr_eq(&self.current.load(), snapshot)
    }

    /// Replaces the snapshot. Readers keep the old one until they look again; [`release`](Self::release) frees it.
    pub(crate) fn replace(&self, value: T) {
        let old = self.current.swap(Arc::new(value));
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.release();
    }

    /// Frees the replaced snapshots without a reader, in this thread.
    pub(crate) fn release(&self) {
        let in_use = |snapshot: &mut Arc<T>| Arc::strong_count(snapshot) > 1;
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(in_use);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_a_replacement_and_keeps_what_it_has() {
        let value = Reloadable::new(Arc::new(1));
        let old = value.snapshot();
        assert!(value.is_current(&old));
        value.replace(2);
        assert!(!value.is_current(&old));
        assert_eq!((*old, *value.snapshot()), (1, 2));
    }

    /// To free a policy of 100,000 accounts takes milliseconds, which no request should wait for.
    #[test]
    fn the_replacing_thread_frees_a_replaced_snapshot() {
        let value = Reloadable::new(Arc::new(1));
        let reader = value.snapshot();
        let old = Arc::downgrade(&reader);
        value.replace(2);
        drop(reader);
        assert!(old.upgrade().is_some(), "a reader never frees the snapshot");
        value.release();
        assert!(old.upgrade().is_none());
    }
}
