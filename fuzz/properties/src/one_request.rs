//! One request at a time, for properties of single requests.

use pyzord_core::{
    Answered, Asked, Batch, Guard, Ignored, Limits, Now, Peer, Policy, Refusal, Server, StoreAnswer,
    StoreCall, Tick, UnixTime, Usage,
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

/// The reply of a batch of one, whose line in the usage log has one reading.
pub(crate) fn only_reply<P: Peer>(answered: &Answered<P>) -> Vec<u8> {
    answered.usage().for_each(|usage| check_line(&usage));
    let replies: Vec<&[u8]> = answered.replies().map(|(_, reply)| reply).collect();
    assert_eq!(replies.len(), 1, "one request has one reply");
    assert_eq!(answered.internal_errors(), 0);
    replies.concat()
}

/// Whatever the names, the address is the second of three fields, and the line is one line.
fn check_line<P: Peer>(usage: &Usage<'_, P>) {
    let line = usage.to_string();
    assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    let fields = match line.strip_suffix(')') {
        Some(refused) => refused.split_once(" (").map_or("", |(_, names)| names),
        None => &line,
    };
    let fields: Vec<&str> = fields.split(',').collect();
    let address =
        usage.peer.network().map_or("local".to_owned(), |address| address.to_canonical().to_string());
    assert_eq!(fields.get(1), Some(&&*address), "{line}");
    assert_eq!(fields.len() == 3, usage.refusal.is_some(), "{line}");
}
