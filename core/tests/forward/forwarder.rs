//! The forwarder alone: lookups, replies, repetitions and notices.

use std::net::SocketAddr;
use std::time::Duration;

use pyzord_core::client::{Action, Cause, Event, Forwarder, Remote, ServerEvent, Totals};
use pyzord_core::{Counted, Request, Tick};

use crate::network::{TIMEOUT, at, digest, now, remote};

#[test]
fn digests_from_a_loopback_address_are_forwarded_to_it() {
    let mut forwarder = Forwarder::new([Remote::new("127.0.0.1", 5)], TIMEOUT, [0; 16], at(0));
    forwarder.count(Counted::new(digest(1), false, "127.0.0.1".parse().ok()), at(0));
    assert_eq!(forwarder.totals().next().unwrap().1.waiting, 1);
}

#[test]
fn a_name_is_resolved_and_its_addresses_are_tried_in_turn() {
    let addresses: Vec<SocketAddr> = ["[2001:db8::1]:5", "192.0.2.1:5"].map(|a| a.parse().unwrap()).into();
    let mut forwarder = Forwarder::new([Remote::new("a.example", 5)], TIMEOUT, [0; 16], at(0));
    let (mut datagram, mut tick) = (Vec::new(), at(0));
    forwarder.count(Counted::new(digest(1), false, "192.0.2.7".parse().ok()), tick);
    assert_eq!(forwarder.poll(now(tick), &mut datagram), Some(Action::LookUp(0)));
    assert_eq!(forwarder.poll(now(tick), &mut datagram), None);
    forwarder.found(0, &[], tick);
    let Some(Action::Log(notice)) = forwarder.poll(now(tick), &mut datagram) else { panic!() };
    assert_eq!(notice.event, Event::Failing { cause: Cause::Nowhere, others: 0 });
    let mut tried = Vec::new();
    while tried.len() < 3 {
        tick = tick.max(forwarder.next_deadline().unwrap());
        match forwarder.poll(now(tick), &mut datagram) {
            Some(Action::LookUp(0)) => forwarder.found(0, &addresses, tick),
            Some(Action::Send(to)) => {
                assert!(datagram.starts_with(b"Op: ping\n"));
                tried.push(to);
            }
            other => assert_eq!(other, None),
        }
    }
    assert_eq!(tried, [addresses[0], addresses[1], addresses[0]]);
    assert!(tick < at(40_000), "{tick:?}");
}

#[test]
fn only_replies_from_the_server_are_accepted() {
    let mut forwarder = Forwarder::new([remote(2, true)], TIMEOUT, [0; 16], at(0));
    let mut datagram = Vec::new();
    forwarder.count(Counted::new(digest(1), false, "192.0.2.7".parse().ok()), at(0));
    assert_eq!(
        forwarder.poll(now(at(1000)), &mut datagram),
        Some(Action::Send("192.0.2.2:24441".parse().unwrap()))
    );
    let request = Request::parse(&datagram).unwrap();
    assert_eq!(request.forwarded, Some(&forwarder.origin().as_bytes()[..]));
    let thread = String::from_utf8(request.thread.unwrap().to_vec()).unwrap();
    let reply = |thread: &str| format!("Code: 200\nDiag: OK\nPV: 2.1\nThread: {thread}\n\n");
    let accepted = |forwarder: &Forwarder| forwarder.totals().next().unwrap().1.accepted;
    let wrong = if thread == "2000" { "2001" } else { "2000" };
    forwarder.received("192.0.2.3:24441".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    forwarder.received("192.0.2.2:24442".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    forwarder.received("192.0.2.2:24441".parse().unwrap(), reply(wrong).as_bytes(), at(1001));
    assert_eq!(accepted(&forwarder), 0);
    forwarder.received("[::ffff:192.0.2.2]:24441".parse().unwrap(), reply(&thread).as_bytes(), at(1001));
    assert_eq!(accepted(&forwarder), 1);
}

/// Returns the datagrams that the forwarder sends now.
fn sends(forwarder: &mut Forwarder, tick: Tick) -> Vec<Vec<u8>> {
    let (mut datagram, mut sent) = (Vec::new(), Vec::new());
    while let Some(action) = forwarder.poll(now(tick), &mut datagram) {
        match action {
            Action::Send(_) => sent.push(datagram.clone()),
            Action::LookUp(_) => panic!("a lookup of an address"),
            Action::Log(_) => (),
        }
    }
    sent
}

/// Returns the datagrams that the forwarder sends now, without pings.
fn requests(forwarder: &mut Forwarder, tick: Tick) -> Vec<Vec<u8>> {
    let mut sent = sends(forwarder, tick);
    sent.retain(|datagram| !datagram.starts_with(b"Op: ping\n"));
    sent
}

/// Counts ten digests: a full batch, which is sent at once.
fn count_ten(forwarder: &mut Forwarder, tick: Tick) {
    (0..10).for_each(|number| {
        forwarder.count(Counted::new(digest(number), false, Some([192, 0, 2, 7].into())), tick);
    });
}

/// The replies of a server that remembers signed counts say so.
const COPIES_ONCE: &str = "Copies: once\n";

fn answer(forwarder: &mut Forwarder, datagram: &[u8], tick: Tick) {
    reply(forwarder, datagram, 200, COPIES_ONCE, tick);
}

/// Answers a request with this code and these further headers.
fn reply(forwarder: &mut Forwarder, datagram: &[u8], code: u16, headers: &str, tick: Tick) {
    let thread = Request::parse(datagram).unwrap().thread.unwrap();
    let reply = format!(
        "Code: {code}\nDiag: x\nPV: 2.1\nThread: {}\n{headers}\n",
        std::str::from_utf8(thread).unwrap()
    );
    forwarder.received("192.0.2.2:24441".parse().unwrap(), reply.as_bytes(), tick);
}

fn totals(forwarder: &Forwarder) -> Totals {
    forwarder.totals().next().unwrap().1
}

/// A 500 was taken for "the database is away", and the request sent seven times: with a signature or not, and also to
/// Python's server, which counts every copy. Its other digests counted each time.
#[test]
fn what_may_have_been_counted_is_repeated_only_where_copies_count_once() {
    const UNCOUNTED: &str = "Counted: none\n";
    let both = [COPIES_ONCE, UNCOUNTED].concat();
    for (signed, headers, repeated) in [
        (false, "", false),
        (false, COPIES_ONCE, false),
        (false, UNCOUNTED, true),
        (true, "", false),
        (true, COPIES_ONCE, true),
        (true, UNCOUNTED, true),
        (true, &both, true),
    ] {
        let mut forwarder = Forwarder::new([remote(2, signed)], TIMEOUT, [0; 16], at(0));
        count_ten(&mut forwarder, at(0));
        let first = sends(&mut forwarder, at(0)).remove(0);
        reply(&mut forwarder, &first, 500, headers, at(10));
        let expected = vec![first; usize::from(repeated)];
        assert_eq!(sends(&mut forwarder, at(1010)), expected, "{signed} {headers}");
        assert_eq!(totals(&forwarder).refused, if repeated { 0 } else { 10 }, "{signed} {headers}");
    }
}

/// A request without a reply was repeated at any server when it answered again: Python's counted it twice.
#[test]
fn after_a_silence_the_first_reply_decides_what_is_repeated() {
    for (signed, headers, repeated) in
        [(true, COPIES_ONCE, true), (true, "", false), (false, COPIES_ONCE, false)]
    {
        let mut forwarder = Forwarder::new([remote(2, signed)], TIMEOUT, [0; 16], at(0));
        count_ten(&mut forwarder, at(0));
        let first = sends(&mut forwarder, at(0)).remove(0);
        assert_eq!(sends(&mut forwarder, at(5000)), [b""; 0], "it is down");
        let ping = sends(&mut forwarder, at(5100)).remove(0);
        assert!(
            Request::parse(&ping).unwrap().forwarded.is_some(),
            "so that the reply says what it does with copies"
        );
        reply(&mut forwarder, &ping, 200, headers, at(5110));
        assert_eq!(sends(&mut forwarder, at(5110)), vec![first; usize::from(repeated)], "{signed} {headers}");
        assert_eq!(totals(&forwarder).unanswered, if repeated { 0 } else { 10 });
    }
}

/// A server counts a request with other bytes again.
#[test]
fn a_request_without_a_reply_is_sent_three_times_with_the_same_bytes() {
    let timeout = Duration::from_secs(75);
    let mut forwarder = Forwarder::new([remote(2, true)], timeout, [0; 16], at(0));
    let mut tick = at(1000);
    count_ten(&mut forwarder, tick);
    let first = sends(&mut forwarder, tick).remove(0);
    for again in [true, true, false] {
        // The server answers other requests.
        let soon = tick.after(Duration::from_secs(1));
        count_ten(&mut forwarder, soon);
        let other = requests(&mut forwarder, soon).remove(0);
        answer(&mut forwarder, &other, soon);
        tick = tick.after(timeout);
        assert_eq!(requests(&mut forwarder, tick), vec![first.clone(); usize::from(again)]);
    }
    let totals = totals(&forwarder);
    assert_eq!((totals.accepted, totals.unanswered, totals.waiting), (30, 10, 0));
}

/// Only a reply after a request shows that the server is still up.
#[test]
fn a_reply_at_the_time_of_a_request_does_not_show_that_the_server_is_up() {
    let mut forwarder = Forwarder::new([remote(2, true)], TIMEOUT, [0; 16], at(0));
    count_ten(&mut forwarder, at(0));
    let first = sends(&mut forwarder, at(0)).remove(0);
    answer(&mut forwarder, &first, at(10));
    count_ten(&mut forwarder, at(10));
    assert_eq!(sends(&mut forwarder, at(10)).len(), 1);
    assert_eq!(sends(&mut forwarder, at(5010)), [b""; 0], "it is down");
    let ping = sends(&mut forwarder, at(5110));
    assert!(ping[0].starts_with(b"Op: ping\n"));
    answer(&mut forwarder, &ping[0], at(5120));
    assert_eq!(sends(&mut forwarder, at(5120)).len(), 1, "the digests are not dropped");
}

/// The notice is due on its own, without another event.
#[test]
fn a_notice_of_dropped_digests_is_due_within_a_minute() {
    let mut forwarder = Forwarder::new([Remote::new("a.example", 5)], TIMEOUT, [0; 16], at(0));
    let mut datagram = Vec::new();
    assert_eq!(forwarder.poll(now(at(0)), &mut datagram), Some(Action::LookUp(0)));
    (0..1001).for_each(|_| count_ten(&mut forwarder, at(0)));
    let mut dropped = |tick| match forwarder.poll(now(tick), &mut datagram) {
        Some(Action::Log(ServerEvent { event: Event::Dropped { digests }, .. })) => Ok(digests),
        other => Err((other, forwarder.next_deadline())),
    };
    assert_eq!(dropped(at(0)), Ok(10));
    let slow = Event::Failing { cause: Cause::Slow, others: 0 };
    let Err((Some(Action::Log(ServerEvent { event, .. })), _)) = dropped(at(0)) else { panic!() };
    assert_eq!(event, slow);
    assert_eq!(dropped(at(0)), Err((None, Some(at(600_000)))));
    count_ten(&mut forwarder, at(1));
    assert_eq!(forwarder.next_deadline(), Some(at(60_000)));
}

/// A name server that did not answer was told of when the system gave it up, after many seconds.
#[test]
fn a_lookup_without_an_end_is_told_within_a_second() {
    let mut forwarder = Forwarder::new([Remote::new("a.example", 5)], TIMEOUT, [0; 16], at(0));
    let mut datagram = Vec::new();
    assert_eq!(forwarder.poll(now(at(0)), &mut datagram), Some(Action::LookUp(0)));
    assert_eq!(forwarder.poll(now(at(999)), &mut datagram), None);
    assert_eq!(forwarder.next_deadline(), Some(at(1000)));
    let Some(Action::Log(told)) = forwarder.poll(now(at(1000)), &mut datagram) else { panic!() };
    assert_eq!(told.event, Event::Failing { cause: Cause::Unresolved, others: 0 });
    forwarder.found(0, &["192.0.2.2:5".parse().unwrap()], at(1001));
    let sent = sends(&mut forwarder, at(1200));
    assert!(sent[0].starts_with(b"Op: ping\n"), "a name that is found is asked at once whether all is well");
}
