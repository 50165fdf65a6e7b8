//! One request at a time, for the tests of both halves.

use alloc::vec::Vec;

use crate::guard::{Guard, Limits};
use crate::ignored::Ignored;
use crate::memory_store::MemoryStore;
use crate::policy::Policy;
use crate::protocol::refusal::Refusal;
use crate::server::batch::Batch;
use crate::server::handle::Server;
use crate::store::Store as _;
use crate::time::{Now, Tick, UnixTime};

/// Answers one request with an empty store: the reply, and why the request is refused.
pub(crate) fn answer(
    policy: &Policy,
    datagram: &[u8],
    now: UnixTime,
) -> Result<(Vec<u8>, Option<Refusal>), Ignored> {
    let now = Now { wall: now, tick: Tick::default() };
    let server: Server = Server::new(policy.clone(), Guard::new(Limits::default(), [7; 16]));
    let mut batch = Batch::new();
    batch.accept(&server, (), datagram, now)?;
    let asked = batch.ask();
    let mut answers = Vec::new();
    MemoryStore::new().execute(now, asked.calls(), &mut answers);
    let answered = asked.resolve(&server, &answers);
    let reply = answered.replies().flat_map(|(_, reply)| reply.iter().copied()).collect();
    let refusal = answered.usage().next().and_then(|usage| usage.refusal);
    Ok((reply, refusal))
}
