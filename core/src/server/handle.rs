//! The handle that each worker of a server has.

use alloc::sync::Arc;
use core::cell::RefCell;

use crate::guard::{Guard, GuardMemory};
use crate::policy::Policy;

/// A handle to what judges requests: a policy, and the guard that all handles of a server share.
///
/// Each worker has a clone. A reload [replaces the policy](Self::replace_policy) of each handle; a request is judged by
/// the policy of its handle at that moment.
#[derive(Debug)]
pub struct Server<L = RefCell<GuardMemory>> {
    pub(super) policy: Arc<Policy>,
    pub(super) guard: Arc<Guard<L>>,
}

impl<L> Server<L> {
    /// Returns the first handle of a server.
    #[must_use]
    pub fn new(policy: impl Into<Arc<Policy>>, guard: Guard<L>) -> Self {
        Self { policy: policy.into(), guard: Arc::new(guard) }
    }

    /// Returns the policy of this handle.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Replaces the policy of this handle.
    pub fn replace_policy(&mut self, policy: impl Into<Arc<Policy>>) {
        self.policy = policy.into();
    }

    /// Returns the guard that all handles share.
    #[must_use]
    pub fn guard(&self) -> &Guard<L> {
        &self.guard
    }
}

impl<L> Clone for Server<L> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy), guard: Arc::clone(&self.guard) }
    }
}
