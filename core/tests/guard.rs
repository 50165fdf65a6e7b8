//! Limits, and the memory of signed counts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use pyzord_core::{
    AccessOrder, Batch, Guard, HashedKey, HeaderBlock, Ignored, Limits, MemoryStore, Now, Peer, Policy, Rate,
    Record, Store, StoreError, Tick, UnixTime,
};

const NOW: i64 = 1_700_000_000;
const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// A server: a policy with one account, a guard, and a store.
struct Server {
    server: pyzord_core::Server,
    store: MemoryStore,
}

impl Server {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let access = b"all : bob anonymous : allow";
        let (policy, _) = Policy::parse(Some(b"bob : abcdef"), Some(access), AccessOrder::FirstMatch);
        let server = pyzord_core::Server::new(policy, Guard::new(limits, [7; 16]));
        Self { server, store: MemoryStore::new() }
    }

    fn accept<P: Peer>(
        &self,
        batch: &mut Batch<P>,
        peer: P,
        request: &[u8],
        second: u64,
    ) -> Result<(), Ignored> {
        batch.accept(&self.server, peer, request, at(second))
    }

    /// Answers the requests of a batch; each reply by its code.
    fn answer<P>(&mut self, batch: Batch<P>) -> Vec<u16> {
        let asked = batch.ask();
        let mut answers = Vec::new();
        self.store.execute(at(0), asked.calls(), &mut answers);
        let answered = asked.resolve(&self.server, &answers);
        let code = |reply: &[u8]| std::str::from_utf8(&reply[6..9]).unwrap().parse().unwrap();
        answered.replies().map(|(_, reply)| code(reply)).collect()
    }

    /// One datagram by itself.
    fn ask(&mut self, peer: &str, request: &[u8], second: u64) -> Result<u16, Ignored> {
        self.ask_from(format!("{peer}:9").parse::<SocketAddr>().unwrap(), request, second)
    }

    fn ask_from<P: Peer>(&mut self, peer: P, request: &[u8], second: u64) -> Result<u16, Ignored> {
        let mut batch = Batch::new();
        self.accept(&mut batch, peer, request, second)?;
        Ok(self.answer(batch)[0])
    }

    fn reports(&self) -> u64 {
        self.store.records().map(|(_, record)| record.reports.count).sum()
    }
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
}

fn at(second: u64) -> Now {
    let wall = UnixTime::from_seconds(NOW + i64::try_from(second).unwrap());
    Now { wall, tick: Tick::new(Duration::from_secs(second)) }
}

fn signed(op: &str, thread: u32, key: &[u8]) -> Vec<u8> {
    sign("bob", key, &format!("Op: {op}\nOp-Digest: {DIGEST}\nThread: {thread}\n"))
}

fn signed_by(user: &str, key: &[u8], thread: u32) -> Vec<u8> {
    sign(user, key, &format!("Op: report\nOp-Digest: {DIGEST}\nThread: {thread}\n"))
}

fn sign(user: &str, key: &[u8], headers: &str) -> Vec<u8> {
    let text = format!("{headers}PV: 2.1\nUser: {user}\nTime: {}\n", NOW + 300);
    let signature = HashedKey::new(user.as_bytes(), key).sign(HeaderBlock::new(text.as_bytes()), NOW + 300);
    [text.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat()
}

/// Python's server counts the same signed datagram as often as it comes, for ten minutes.
#[test]
fn a_signed_report_is_counted_once_and_each_copy_is_answered() {
    let mut server = Server::new(|_| ());
    let (one, other) = (signed("report", 1, b"abcdef"), signed("report", 2, b"abcdef"));
    for second in [0, 1, 100, 599] {
        assert_eq!(server.ask("192.0.2.1", &one, second), Ok(200));
        assert_eq!(server.ask("198.51.100.7", &one, second), Ok(200), "wherever it comes from");
    }
    assert_eq!(server.reports(), 1);
    assert_eq!(server.ask("192.0.2.1", &other, 1), Ok(200));
    assert_eq!(server.reports(), 2, "another request is another report");
    assert_eq!(server.ask("192.0.2.1", &one, 601), Ok(401), "its time is over");
    assert_eq!(server.ask("192.0.2.1", &signed("check", 3, b"abcdef"), 1), Ok(200));
}

/// It was forgotten at the last moment at which its signature is valid, and counted a second time.
#[test]
fn a_signed_report_is_known_for_as_long_as_it_is_valid() {
    let mut server = Server::new(|_| ());
    let report = signed("report", 1, b"abcdef");
    assert_eq!(server.ask("192.0.2.1", &report, 0), Ok(200), "signed for 300 seconds from now");
    assert_eq!(server.ask("192.0.2.1", &report, 600), Ok(200));
    assert_eq!(server.reports(), 1);
    assert_eq!(server.ask("192.0.2.1", &report, 601), Ok(401));
}

#[test]
fn a_copy_of_a_report_that_waits_is_left_to_the_first_answer() {
    let mut server = Server::new(|_| ());
    let report = signed("report", 1, b"abcdef");
    let mut batch = Batch::new();
    assert_eq!(server.accept(&mut batch, (), &report, 0), Ok(()));
    assert_eq!(server.accept(&mut batch, (), &report, 0), Err(Ignored::InFlight));
    assert_eq!(server.answer(batch), [200]);
    assert_eq!(server.ask("192.0.2.1", &report, 1), Ok(200));
    assert_eq!(server.reports(), 1);
}

/// The memory was in sets by the first bytes of signatures: eight reports of another account, chosen for the set, pushed
/// a captured one out, and it counted again.
#[test]
fn no_choice_of_signatures_pushes_one_of_another_account_out() {
    const SETS: u64 = 65_536 / 8;
    let access = b"all : alice bob : allow";
    let (policy, _) =
        Policy::parse(Some(b"alice : 1111\nbob : abcdef"), Some(access), AccessOrder::FirstMatch);
    let mut server = Server::new(|_| ());
    server.server.replace_policy(policy);
    let captured = signed_by("alice", b"1111", 1);
    let set = |request: &[u8]| {
        let signature = HeaderBlock::new(request).iter().find(|header| header.is("Sig")).unwrap().value;
        u64::from_str_radix(std::str::from_utf8(&signature[..16]).unwrap(), 16).unwrap() % SETS
    };
    assert_eq!(server.ask("192.0.2.1", &captured, 0), Ok(200));
    let attack =
        (0..).map(|thread| signed_by("bob", b"abcdef", thread)).filter(|own| set(own) == set(&captured));
    for own in attack.take(9) {
        assert_eq!(server.ask("192.0.2.2", &own, 0), Ok(200));
    }
    assert_eq!(server.reports(), 10);
    assert_eq!(server.ask("192.0.2.2", &captured, 1), Ok(200));
    assert_eq!(server.reports(), 10, "the captured one is known");
}

/// A client that gets 500 tries again.
#[test]
fn a_report_that_the_store_refused_is_counted_when_it_comes_again() {
    let mut server = Server::new(|_| ());
    let report = signed("report", 1, b"abcdef");
    let mut batch = Batch::new();
    server.accept(&mut batch, (), &report, 0).unwrap();
    let answered = batch.ask().resolve(&server.server, &[Err(StoreError::Unavailable)]);
    assert_eq!(answered.counted().count(), 0);
    assert_eq!(server.ask("192.0.2.1", &report, 0), Ok(200));
    let other = signed("report", 2, b"abcdef");
    let mut batch = answered.clear();
    server.accept(&mut batch, (), &other, 0).unwrap();
    let _failed = batch.ask().fail(&server.server, StoreError::Unavailable);
    assert_eq!(server.ask("192.0.2.1", &other, 0), Ok(200));
    assert_eq!(server.ask("192.0.2.1", &report, 2), Ok(200));
    assert_eq!(server.reports(), 2, "one for each of the two requests");
}

/// A copy of an anonymous report looks like another report, and without memory no copy is recognized.
#[test]
fn anonymous_reports_and_those_to_a_server_without_memory_count_each_time() {
    let anonymous = format!("Op: report\nOp-Digest: {DIGEST}\nThread: 1\nPV: 2.1\n\n");
    for (mut server, request) in [
        (Server::new(|_| ()), anonymous.into_bytes()),
        (Server::new(|limits| limits.signed_counts = 0), signed("report", 1, b"abcdef")),
    ] {
        for _ in 0..5 {
            assert_eq!(server.ask("192.0.2.1", &request, 0), Ok(200));
        }
        assert_eq!(server.reports(), 5);
    }
}

/// Wrong signatures with a forged address must not lock out its owner.
#[test]
fn wrong_signatures_are_answered_up_to_a_limit_and_right_ones_always() {
    let mut server = Server::new(|limits| {
        limits.failures = rate(1, 10);
        limits.unlimited = vec!["198.51.100.0/24".parse().unwrap()];
    });
    let (wrong, right) = (signed("report", 1, b"000000"), signed("report", 2, b"abcdef"));
    let outcomes: Vec<_> = (0..100).map(|_| server.ask("192.0.2.1", &wrong, 0)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(401)).count(), 10);
    assert_eq!(outcomes.last(), Some(&Err(Ignored::TooManyFailures)));
    assert_eq!(server.ask("192.0.2.1", &right, 0), Ok(200));
    assert_eq!(server.ask("192.0.2.2", &wrong, 0), Ok(401), "others have a limit of their own");
    let unlimited = (0..100).filter(|_| server.ask("198.51.100.1", &wrong, 0) == Ok(401)).count();
    assert_eq!(unlimited, 100, "this one was promised none");
    let exceeded: Vec<String> =
        server.server.guard().take_exceeded().iter().map(ToString::to_string).collect();
    assert_eq!(
        exceeded,
        ["192.0.2.1/32 has sent more than 1 wrong signatures a second; those beyond are dropped"]
    );
}

#[test]
fn networks_are_limited_as_a_whole_and_served_as_the_lists_say() {
    let ping = b"Op: ping\nPV: 2.1\n\n";
    let mut server = Server::new(|limits| {
        limits.requests = rate(1, 2);
        limits.allowed = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        limits.denied = vec!["192.0.2.128/25".parse().unwrap()];
        limits.unlimited = vec!["192.0.2.8/32".parse().unwrap()];
    });
    let mut count = |peers: &[&str], times: usize| {
        let peers = peers.iter().cycle().take(times);
        peers.filter(|peer| server.ask(peer, ping, 5).is_ok()).count()
    };
    assert_eq!(count(&["192.0.2.1"], 10), 2);
    assert_eq!(count(&["[::ffff:192.0.2.1]"], 10), 0, "the same host on a socket for IPv6");
    assert_eq!(count(&["192.0.2.2"], 10), 2);
    assert_eq!(count(&["[2001:db8::1]", "[2001:db8:0:ff::2]"], 10), 2, "one /56");
    assert_eq!(count(&["[2001:db8:0:100::1]"], 10), 2, "the next /56");
    assert_eq!(count(&["192.0.2.8"], 100), 100);
    assert_eq!(count(&["192.0.2.200", "198.51.100.1", "[2001:db9::1]"], 9), 0);
    assert_eq!(server.ask("192.0.2.200", ping, 5), Err(Ignored::DeniedNetwork));
    assert_eq!(server.ask("192.0.2.1", ping, 5), Err(Ignored::TooManyRequests));
    assert_eq!(server.ask("192.0.2.1", ping, 6), Ok(200));
}

/// The log of a server on `::` shows IPv4 peers so, and an operator copies them from there. Such a network never matched.
#[test]
fn networks_of_mapped_addresses_are_ipv4_networks() {
    let ping = b"Op: ping\nPV: 2.1\n\n";
    for mapped in ["::ffff:192.0.2.1/128", "::ffff:192.0.2.0/120"] {
        let mut server = Server::new(|limits| limits.denied = vec![mapped.parse().unwrap()]);
        for peer in ["192.0.2.1", "[::ffff:192.0.2.1]"] {
            assert_eq!(server.ask(peer, ping, 0), Err(Ignored::DeniedNetwork), "{mapped} {peer}");
        }
        assert_eq!(server.ask("198.51.100.1", ping, 0), Ok(200), "{mapped}");
    }
    for mapped in ["::ffff:192.0.2.1/128", "::ffff:192.0.2.0/120"] {
        let mut allowed = Server::new(|limits| limits.allowed = vec![mapped.parse().unwrap()]);
        let mut unlimited = Server::new(|limits| {
            limits.requests = rate(1, 1);
            limits.unlimited = vec![mapped.parse().unwrap()];
        });
        for peer in ["192.0.2.1", "[::ffff:192.0.2.1]"] {
            assert_eq!(allowed.ask(peer, ping, 0), Ok(200), "{mapped} {peer}");
            assert!((0..5).all(|_| unlimited.ask(peer, ping, 0) == Ok(200)), "{mapped} {peer}");
        }
        assert_eq!(allowed.ask("198.51.100.1", ping, 0), Err(Ignored::DeniedNetwork));
        assert_eq!([0; 2].map(|_| unlimited.ask("198.51.100.1", ping, 0).is_ok()), [true, false]);
    }
    let mut all = Server::new(|limits| limits.denied = vec!["::/0".parse().unwrap()]);
    assert_eq!(all.ask("[2001:db8::1]", ping, 0), Err(Ignored::DeniedNetwork));
    assert_eq!(all.ask("192.0.2.1", ping, 0), Ok(200), "all of IPv6 is not IPv4");
}

/// A transport without addresses has limits, copies and usage, too.
#[test]
fn peers_without_an_address_share_one_limit() {
    let mut server = Server::new(|limits| {
        limits.requests = rate(1, 3);
        limits.allowed = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let report = signed("report", 1, b"abcdef");
    let outcomes: Vec<_> = (0..5).map(|_| server.ask_from((), &report, 0)).collect();
    let over = Err(Ignored::TooManyRequests);
    assert_eq!(outcomes, [Ok(200), Ok(200), Ok(200), over, over]);
    assert_eq!(server.reports(), 1, "copies are not counted");
    assert_eq!(server.ask("192.0.2.1", &report, 0), Ok(200), "networks have limits of their own");
    let exceeded: Vec<String> =
        server.server.guard().take_exceeded().iter().map(ToString::to_string).collect();
    assert_eq!(
        exceeded,
        [
            "a peer without an address has sent more than 1 requests or digests a second; those beyond are dropped"
        ]
    );
}

/// A request with 156 digests was charged as one with a single digest.
#[test]
fn a_request_costs_as_much_as_it_has_digests() {
    let with = |op: &str, digests: usize, rest: &str| {
        format!("Op: {op}\n{}PV: 2.1\n{rest}\n", format!("Op-Digest: {DIGEST}\n").repeat(digests))
            .into_bytes()
    };
    for (op, rest, answer) in [
        ("report", "", 200),
        ("whitelist", "", 200),
        ("check", "", 200),
        ("info", "", 200),
        ("ping", "", 200),
        ("nonsense", "", 403),
        ("report", "User: eve\n", 401),
        ("report", "User: bob\nTime: 1\nSig: 00\n", 401),
    ] {
        let mut server = Server::new(|limits| limits.requests = rate(10, 100));
        let mut ask = |digests, second| server.ask("192.0.2.1", &with(op, digests, rest), second);
        let over = Err(Ignored::TooManyRequests);
        assert_eq!(
            [ask(60, 0), ask(40, 0), ask(1, 0), ask(0, 0)],
            [Ok(answer), Ok(answer), over, over],
            "{op}"
        );
        assert_eq!([ask(9, 1), ask(2, 1), ask(0, 1)], [Ok(answer), over, over], "one was taken");
        assert_eq!([ask(150, 99), ask(0, 99), ask(1, 104)], [Ok(answer), over, over], "more than a burst");
        assert_eq!(ask(1, 105), Ok(answer));
    }
}

/// A store that takes too long may count what its client was told had failed; counted again, a repeat would count twice.
#[test]
fn a_report_that_was_given_up_is_known_by_what_the_store_did_in_the_end() {
    let mut server = Server::new(|_| ());
    for (thread, late, code, counts) in [
        (1, vec![Ok(Record::default())], 200, 0),
        (2, vec![Err(StoreError::Unavailable)], 200, 1),
        (3, Vec::new(), 500, 0),
    ] {
        let report = signed("report", thread, b"abcdef");
        let mut batch = Batch::new();
        server.accept(&mut batch, (), &report, 0).unwrap();
        let answered = batch.ask().fail(&server.server, StoreError::Unknown);
        assert!(answered.replies().all(|(_, reply)| reply.starts_with(b"Code: 500\n")));
        assert_eq!(answered.counted().count(), 0);
        assert_eq!(server.ask("192.0.2.1", &report, 1), Ok(500), "nothing is known yet");
        answered.settle(&server.server, &late);
        let before = server.reports();
        assert_eq!(server.ask("192.0.2.1", &report, 2), Ok(code));
        assert_eq!(server.reports() - before, counts);
    }
}

/// A flood from many addresses must not fill the log.
#[test]
fn of_many_networks_over_their_limit_a_few_are_named() {
    let mut server = Server::new(|limits| limits.requests = rate(1, 1));
    let mut flood = |networks: std::ops::Range<u8>| {
        for host in networks {
            let peer = format!("192.0.2.{host}");
            for _ in 0..3 {
                let _ = server.ask(&peer, b"Op: ping\nPV: 2.1\n\n", 0);
            }
        }
        server.server.guard().take_exceeded().len()
    };
    assert_eq!(flood(0..3), 3);
    assert_eq!(flood(10..60), 8);
    assert_eq!(flood(60..100), 8, "others, after the first were taken");
    assert_eq!(flood(10..18), 0, "these were named a moment ago");
}

/// A reload with other limits made a new memory: every captured report counted again.
#[test]
fn other_limits_forget_no_signed_report() {
    let mut server = Server::new(|limits| limits.requests = rate(1000, 1000));
    let reports = [signed("report", 1, b"abcdef"), signed("report", 2, b"abcdef")];
    assert_eq!(server.ask("192.0.2.1", &reports[0], 0), Ok(200));
    // One is in flight while the limits change.
    let mut batch = Batch::new();
    assert_eq!(server.accept(&mut batch, (), &reports[1], 0), Ok(()));
    let mut limits = Limits::default();
    limits.denied = vec!["198.51.100.0/24".parse().unwrap()];
    limits.signed_counts = 0;
    server.server = server.server.reloaded(server.server.policy().clone(), Some(limits));
    assert_eq!(server.accept(&mut Batch::new(), (), &reports[1], 1), Err(Ignored::InFlight));
    assert_eq!(server.answer(batch), [200]);
    assert_eq!(reports.each_ref().map(|report| server.ask("192.0.2.1", report, 1)), [Ok(200); 2]);
    assert_eq!(server.reports(), 2, "copies count nothing");
    assert_eq!(server.ask("198.51.100.7", &reports[0], 1), Err(Ignored::DeniedNetwork));
}

/// Under a faster rate, a network that has used up a slow one waited for the slow one to the end.
#[test]
fn a_changed_rate_begins_anew_and_an_unchanged_one_goes_on() {
    let ping = b"Op: ping\nThread: 5\nPV: 2.1\n\n";
    let mut server = Server::new(|limits| limits.requests = rate(1, 3600));
    let served = |server: &mut Server, second| {
        (0..5000).filter(|_| server.ask("192.0.2.1", ping, second) == Ok(200)).count()
    };
    assert_eq!(served(&mut server, 0), 3600);
    let reload = |server: &mut Server, requests| {
        let mut limits = Limits::default();
        limits.requests = requests;
        server.server = server.server.reloaded(server.server.policy().clone(), Some(limits));
    };
    reload(&mut server, rate(1, 3600));
    assert_eq!(served(&mut server, 0), 0, "a reload is no way around a limit");
    reload(&mut server, rate(100, 100));
    assert_eq!(served(&mut server, 0), 100);
    assert_eq!(served(&mut server, 1), 100);
    reload(&mut server, None);
    assert_eq!(served(&mut server, 1), 5000);
}
