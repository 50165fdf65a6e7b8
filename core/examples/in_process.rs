//! A Pyzor server inside somebody else's test suite: no socket, no thread, and the clock is the test's own.
//!
//! A program that talks Pyzor takes its transport as an argument; in its tests that is [`InProcess`].
//! `cargo run -p pyzord-core --example in_process` runs such a test.

use pyzord_core::{
    AccessOrder, CleanupAge, Digest, MemoryStore, Now, Policy, Progress, Step, Store, Task, Tick, UnixTime,
    accept,
};

/// A server that is a value.
struct InProcess {
    policy: Policy,
    store: MemoryStore,
    now: Now,
}

impl InProcess {
    /// A server at this time, in Unix seconds, with these access rules.
    fn new(seconds: i64, access: &str) -> Self {
        let (policy, warnings) = Policy::parse(None, Some(access.as_bytes()), AccessOrder::FirstMatch);
        assert!(warnings.is_empty(), "{warnings:?}");
        let now = Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() };
        Self { policy, store: MemoryStore::new(), now }
    }

    /// The reply to a request; `None` when the server would say nothing.
    fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let reply = match accept(&self.policy, request, self.now.wall) {
            Step::Ignore(_) => return None,
            Step::Reply(reply) => reply,
            Step::Store(pending) => {
                let mut answers = Vec::new();
                self.store.execute(self.now, pending.calls(), &mut answers);
                pending.resume(&answers)
            }
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        Some(out)
    }

    /// Lets months pass, and has the old records expire.
    fn pass_time(&mut self, seconds: i64, cleanup: CleanupAge) {
        self.now.wall = UnixTime::from_seconds(self.now.wall.seconds() + seconds);
        let Some(limit) = cleanup.limit(self.now.wall) else { return };
        while matches!(self.store.upkeep(self.now, Task::Expire(limit)), Ok(Progress::More)) {}
    }
}

fn main() {
    let mut server = InProcess::new(1_700_000_000, "check report : anonymous : allow");
    let digest = Digest::new([7; 20]);
    let report = format!("Op: report\nOp-Digest: {digest}\nPV: 2.1\n\n");
    let check = format!("Op: check\nOp-Digest: {digest}\nPV: 2.1\n\n");
    assert!(server.ask(report.as_bytes()).is_some_and(|reply| reply.starts_with(b"Code: 200\n")));
    assert!(server.ask(check.as_bytes()).is_some_and(|reply| reply.ends_with(b"Count: 1\nWL-Count: 0\n\n")));
    assert_eq!(server.ask(b"no request"), None);
    server.pass_time(200 * 86_400, CleanupAge(120 * 86_400));
    assert!(server.ask(check.as_bytes()).is_some_and(|reply| reply.ends_with(b"Count: 0\nWL-Count: 0\n\n")));
    println!("the server behaved");
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_does_what_it_says() {
        super::main();
    }
}
