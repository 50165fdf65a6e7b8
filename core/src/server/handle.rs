//! The handle that each worker of a server has.

use alloc::sync::Arc;
use core::cell::RefCell;

use crate::guard::{Guard, GuardMemory, Limits, Lock};
use crate::policy::Policy;
use crate::protocol::origin::Origin;
use crate::protocol::request::Request;

/// A handle to what judges requests: a policy, and the guard that all handles of a server share.
///
/// Each worker has a clone. A reload [replaces the policy](Self::replace_policy) of each handle, or the whole handle by
/// one with [other limits](Self::reloaded); a request is judged by its handle at that moment.
#[derive(Debug)]
pub struct Server<L = RefCell<GuardMemory>> {
    pub(super) policy: Arc<Policy>,
    pub(super) guard: Arc<Guard<L>>,
    /// Marks what this server forwards.
    origin: Option<Origin>,
}

impl<L> Server<L> {
    /// Returns the first handle of a server.
    #[must_use]
    pub fn new(policy: impl Into<Arc<Policy>>, guard: Guard<L>) -> Self {
        Self { policy: policy.into(), guard: Arc::new(guard), origin: None }
    }

    /// Returns the handle of a server that forwards with this [origin](crate::client::Forwarder::origin): it refuses its
    /// own requests, whatever way they took, and so counts nothing twice.
    #[must_use]
    pub fn with_origin(self, origin: Option<Origin>) -> Self {
        Self { origin, ..self }
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

    /// Whether this server has sent the request itself.
    pub(super) fn has_forwarded(&self, request: &Request<'_>) -> bool {
        let sender = request.forwarded.zip(self.origin.as_ref());
        sender.is_some_and(|(sender, own)| sender == own.as_bytes())
    }
}

impl<L: Lock<GuardMemory>> Server<L> {
    /// Returns a handle with another policy and other limits. It remembers what this one does: the memory of earlier
    /// requests is shared. `None` keeps the limits; their number of signed counts stays in any case.
    #[must_use]
    pub fn reloaded(&self, policy: impl Into<Arc<Policy>>, limits: Option<Limits>) -> Self {
        let guard = match limits {
            Some(limits) => Arc::new(self.guard.with_limits(limits)),
            None => Arc::clone(&self.guard),
        };
        Self { policy: policy.into(), guard, origin: self.origin }
    }
}

impl<L> Clone for Server<L> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy), guard: Arc::clone(&self.guard), origin: self.origin }
    }
}
