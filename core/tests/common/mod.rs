//! One datagram at a time, for tests that are about single requests.
#![allow(dead_code, reason = "each test uses its part")]

use pyzord_core::{
    Answered, Asked, Batch, Guard, Ignored, Limits, Now, Policy, Refusal, Server, StoreAnswer, StoreCall,
    Tick, UnixTime,
};

/// A server with the default limits that has seen nothing.
pub(crate) fn server(policy: &Policy) -> Server {
    Server::new(policy.clone(), Guard::new(Limits::default(), [7; 16]))
}

/// A request that was accepted by a server of its own, as a batch of one from a peer without an address.
#[derive(Debug)]
pub(crate) struct OneRequest {
    server: Server,
    asked: Asked<()>,
}

impl OneRequest {
    pub(crate) fn accept(policy: &Policy, datagram: &[u8], now: UnixTime) -> Result<Self, Ignored> {
        let server = server(policy);
        let mut batch = Batch::new();
        batch.accept(&server, (), datagram, Now { wall: now, tick: Tick::default() })?;
        Ok(Self { server, asked: batch.ask() })
    }

    /// What the store is asked for it.
    pub(crate) fn calls(&self) -> &[StoreCall] {
        self.asked.calls()
    }

    /// The reply, and why the request is refused.
    pub(crate) fn resolve(self, answers: &[StoreAnswer]) -> (Vec<u8>, Option<Refusal>) {
        let answered = self.asked.resolve(&self.server, answers);
        (only_reply(&answered), answered.usage().next().and_then(|usage| usage.refusal))
    }

    /// Why the request is refused before the store is asked.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        if self.calls().is_empty() { self.resolve(&[]).1 } else { None }
    }
}

/// The reply of a batch of one.
pub(crate) fn only_reply<P>(answered: &Answered<P>) -> Vec<u8> {
    let replies: Vec<&[u8]> = answered.replies().map(|(_, reply)| reply).collect();
    assert_eq!(replies.len(), 1, "one request has one reply");
    replies.concat()
}
