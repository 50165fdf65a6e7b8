//! What the micro-benchmarks and the instruction counts measure: the core's work on a batch of requests, from the bytes
//! of the datagrams to those of the replies, with the limits and the memory of signed counts that a server has, and
//! a look at each request's usage. No store takes part.

use std::mem;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Answered, Batch, Guard, HashedKey, HeaderBlock, Limits, Now, Operation, Policy, Rate,
    Record, Server, StoreAnswer, Tick, UnixTime,
};

use crate::load::numbered;

/// How many requests a case has: as many as a server receives at once.
pub const REQUESTS: u64 = 64;
/// The size in bytes of the largest requests.
const LARGEST: usize = pyzord_core::MAX_REQUEST;
const NOW: i64 = 1_700_000_000;
/// Between two runs of a case signatures become new again, and limits are at rest.
const BETWEEN_RUNS: Duration = Duration::from_secs(700);
const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 24_441);

/// A batch of requests of one kind.
#[derive(Debug)]
pub struct Case {
    name: String,
    server: Server,
    tick: Tick,
    datagrams: Vec<Vec<u8>>,
    batch: Batch,
    answers: Vec<StoreAnswer>,
}

impl Case {
    /// All cases.
    #[must_use]
    pub fn all() -> Vec<Self> {
        plans().into_iter().map(Plan::prepare).collect()
    }

    /// The case with this name. The others are not prepared.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        plans().into_iter().find(|plan| plan.name == name).map(Plan::prepare)
    }

    /// The names of all cases.
    #[must_use]
    pub fn names() -> Vec<String> {
        plans().into_iter().map(|plan| plan.name).collect()
    }

    /// What it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers all requests. Returns the bytes of the replies and the number of requests that succeeded, added up.
    #[inline(never)]
    pub fn run(&mut self) -> usize {
        let answered = self.answer();
        let replies: usize = answered.replies().map(|(_, reply)| reply.len()).sum();
        let successes = answered.usage().filter(|usage| usage.refusal.is_none()).count();
        self.batch = answered.clear();
        replies + successes
    }

    fn answer(&mut self) -> Answered {
        self.tick = self.tick.after(BETWEEN_RUNS);
        let now = Now { wall: UnixTime::from_seconds(NOW), tick: self.tick };
        let mut batch = mem::take(&mut self.batch);
        for datagram in &self.datagrams {
            // Some cases are datagrams that are not answered.
            let _ = batch.accept(&self.server, SocketAddr::from(PEER), datagram, now);
        }
        let asked = batch.ask();
        let answers = self.answers.get(..asked.calls().len()).unwrap_or(&self.answers);
        asked.resolve(&self.server, answers)
    }
}

/// What a case is made of.
struct Plan {
    name: String,
    accounts: u64,
    datagram: Box<dyn Fn(u64) -> String>,
}

/// Each operation, anonymous and signed; what is refused; look-ups among few and many accounts; and the largest request
/// there can be.
fn plans() -> Vec<Plan> {
    let mut all = Vec::new();
    for operation in Operation::ALL {
        all.push(Plan::new(operation.name(), 10, move |number| anonymous(operation, number)));
        let name = format!("{operation}, signed");
        all.push(Plan::new(&name, 10, move |number| signed(&anonymous(operation, number), 5, "key")));
    }
    let check = |number| anonymous(Operation::Check, number);
    all.push(Plan::new("check, one of 10,000 accounts", 10_000, move |number| {
        signed(&check(number), number * 7919 % 10_000, "key")
    }));
    all.push(Plan::new("check, unknown user", 10, move |number| signed(&check(number), 99_999, "key")));
    all.push(Plan::new("check, wrong signature", 10, move |number| signed(&check(number), 5, "other")));
    all.push(Plan::new("check, no digest", 10, |_| "Op: check\nThread: 12345\nPV: 2.1\n\n".to_owned()));
    all.push(Plan::new("unknown operation", 10, |_| "Op: frobnicate\nThread: 12345\nPV: 2.1\n\n".to_owned()));
    all.push(Plan::new("no request", 10, |_| "Code: 200\nDiag: OK\nPV: 2.1\n\n".to_owned()));
    all.push(Plan::new("report of 8192 bytes", 10, largest));
    all.push(Plan::new("report of 8193 bytes, refused", 10, |number| largest(number) + "\n"));
    all
}

impl Plan {
    fn new(name: &str, accounts: u64, datagram: impl Fn(u64) -> String + 'static) -> Self {
        Self { name: name.to_owned(), accounts, datagram: Box::new(datagram) }
    }

    fn prepare(self) -> Case {
        let file: String = (0..self.accounts).map(|number| format!("user{number} : key\n")).collect();
        let access = b"all : anonymous : allow\nall : all : allow\n";
        let (policy, _) = Policy::parse(Some(file.as_bytes()), Some(access), AccessOrder::FirstMatch);
        let datagrams = (0..REQUESTS).map(|number| (self.datagram)(number).into_bytes()).collect();
        let answers = vec![Ok(Record::default()); 64 * 200];
        // All of a case's wrong signatures are answered, though they come from one address.
        let rate = NonZeroU32::new(1000).map(Rate::per_second);
        let mut limits = Limits::default();
        limits.failures = rate;
        let server = Server::new(policy, Guard::new(limits, [7; 16]));
        let mut case =
            Case { name: self.name, server, tick: Tick::default(), datagrams, batch: Batch::new(), answers };
        // The buffers of a batch have their size once a batch went through it.
        case.run();
        case
    }
}

fn anonymous(operation: Operation, number: u64) -> String {
    let digest = match operation {
        Operation::Ping => String::new(),
        _ => format!("Op-Digest: {}\n", numbered(number)),
    };
    format!("Op: {operation}\n{digest}Thread: {}\nPV: 2.1\nUser: anonymous\nTime: {NOW}\n\n", 10_000 + number)
}

/// The same request of an account.
fn signed(request: &str, user: u64, key: &str) -> String {
    let user = format!("user{user}");
    let text = request.trim_end().replace("User: anonymous", &format!("User: {user}"));
    let key = HashedKey::new(user.as_bytes(), key.as_bytes());
    let signature = key.sign(HeaderBlock::new(text.as_bytes()), NOW);
    format!("{text}\nSig: {}\n\n", String::from_utf8_lossy(&signature))
}

/// A report with as many digests as a request has room for.
fn largest(number: u64) -> String {
    let (mut digests, mut next) = (String::new(), number * 1000);
    let end = "Thread: 12345\nPV: 2.1\n\n";
    while digests.len() + 52 + 12 + end.len() <= LARGEST {
        digests += &format!("Op-Digest: {}\n", numbered(next));
        next += 1;
    }
    let text = format!("Op: report\n{digests}{end}");
    // An unknown header fills the rest.
    let filling = LARGEST - text.len();
    text.replacen('\n', &format!("\nX: {}\n", "x".repeat(filling.saturating_sub(4))), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each case measures what its name says.
    #[test]
    fn every_case_ends_as_its_name_says() {
        for mut case in Case::all() {
            let expected: &[u8] = match case.name() {
                "check, unknown user" | "check, wrong signature" => b"Code: 401",
                "check, no digest" | "report of 8193 bytes, refused" => b"Code: 400",
                "unknown operation" => b"Code: 403",
                "no request" => b"",
                _ => b"Code: 200",
            };
            let answered = case.answer();
            let replies: Vec<_> = answered.replies().collect();
            let count = if expected.is_empty() { 0 } else { 64 };
            assert_eq!(replies.len(), count, "{}", case.name());
            let text = |reply: &[u8]| String::from_utf8_lossy(reply).into_owned();
            let wrong = replies.iter().find(|(_, reply)| !reply.starts_with(expected));
            assert_eq!(wrong.map(|(_, reply)| text(reply)), None, "{}", case.name());
        }
        let largest = largest(3);
        assert_eq!((largest.len(), largest.matches("Op-Digest").count() > 150), (LARGEST, true));
    }
}
