//! One request at a time, for properties of single requests.

use pyzord_core::{
    Answered, Asked, Batch, Guard, Ignored, Limits, Now, Policy, Refusal, Server, StoreAnswer, StoreCall,
    Tick, UnixTime,
};

/// A server without limits that remembers no signed counts: each request is judged as if it were the first.
pub(crate) fn forgetful_server(policy: Policy) -> Server {
    let mut limits = Limits::default();
    limits.failures = None;
    limits.signed_counts = 0;
    Server::new(policy, Guard::new(limits, [7; 16]))
}

/// A request that a server has accepted, as a batch of one from a peer without an address.
#[derive(Debug)]
pub(crate) struct OneRequest<'a> {
    server: &'a Server,
    asked: Asked<()>,
}

impl<'a> OneRequest<'a> {
    pub(crate) fn accept(server: &'a Server, datagram: &[u8], now: UnixTime) -> Result<Self, Ignored> {
        let mut batch = Batch::new();
        batch.accept(server, (), datagram, Now { wall: now, tick: Tick::default() })?;
        Ok(Self { server, asked: batch.ask() })
    }

    /// What the store is asked for it.
    pub(crate) fn calls(&self) -> &[StoreCall] {
        self.asked.calls()
    }

    /// The reply, and why the request is refused.
    pub(crate) fn resolve(self, answers: &[StoreAnswer]) -> (Vec<u8>, Option<Refusal>) {
        let answered = self.asked.resolve(self.server, answers);
        (only_reply(&answered), answered.usage().next().and_then(|usage| usage.refusal))
    }

    /// Why the request is refused before the store is asked; `None` also if the store must be asked.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        if self.calls().is_empty() { self.resolve(&[]).1 } else { None }
    }
}

/// The reply of a batch of one.
pub(crate) fn only_reply<P>(answered: &Answered<P>) -> Vec<u8> {
    let replies: Vec<&[u8]> = answered.replies().map(|(_, reply)| reply).collect();
    assert_eq!(replies.len(), 1, "one request has one reply");
    assert_eq!(answered.internal_errors(), 0);
    replies.concat()
}
