//! A Pyzor server inside another program's tests: no socket, no thread, and the clock is the test's own.
//!
//! A program that speaks Pyzor takes its transport as an argument; in its tests that is [`InProcess`].
//! `cargo run -p pyzord-core --example in_process` runs such a test.

use pyzord_core::{
    AccessOrder, Batch, CleanupAge, Digest, Guard, Limits, MemoryStore, Now, Policy, Progress, Server, Store,
    Task, Tick, UnixTime,
};

/// A server that is a value.
struct InProcess {
    server: Server,
    store: MemoryStore,
    now: Now,
}

impl InProcess {
    /// Returns a server with these access rules, at this time in Unix seconds.
    fn new(seconds: i64, access: &str) -> Self {
        let (policy, warnings) = Policy::parse(None, Some(access.as_bytes()), AccessOrder::FirstMatch);
        assert!(warnings.is_empty(), "{warnings:?}");
        let now = Now { wall: UnixTime::from_seconds(seconds), tick: Tick::default() };
        // A test wants the same run each time, so its secret is not random.
        let server = Server::new(policy, Guard::new(Limits::default(), [7; 16]));
        Self { server, store: MemoryStore::new(), now }
    }

    /// Returns the reply to a request; `None` if it is not answered.
    fn ask(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut batch = Batch::new();
        batch.accept(&self.server, (), request, self.now).ok()?;
        let asked = batch.ask();
        let mut answers = Vec::new();
        self.store.execute(self.now, asked.calls(), &mut answers);
        let answered = asked.resolve(&self.server, &answers);
        answered.replies().next().map(|((), reply)| reply.to_vec())
    }

    /// Lets time pass, and old records expire.
    fn pass_time(&mut self, seconds: i64, cleanup: Option<CleanupAge>) {
        self.now.wall = UnixTime::from_seconds(self.now.wall.seconds() + seconds);
        let Some(limit) = cleanup.map(|age| age.limit(self.now.wall)) else { return };
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
    server.pass_time(200 * 86_400, CleanupAge::from_seconds(120 * 86_400));
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
