//! Exclusive access to a guard's tables, in the way of the embedding program.

use core::cell::RefCell;

/// Gives exclusive access to a value that threads may share.
///
/// [`RefCell`] implements it for a program with one thread. Where threads share a [`Guard`](crate::Guard), wrap a mutex;
/// the crate's manual shows how.
pub trait Lock<T> {
    /// Wraps a value.
    fn new(value: T) -> Self;

    /// Calls `access` with the value. Calls are never nested, and `access` is short and never blocks.
    fn with<R>(&self, access: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> Lock<T> for RefCell<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn with<R>(&self, access: impl FnOnce(&mut T) -> R) -> R {
        // Calls are never nested, so the value is never borrowed here.
        access(&mut self.borrow_mut())
    }
}
