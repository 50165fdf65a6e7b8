//! Servers that are down, refuse or fail.

use std::collections::BTreeSet;
use std::time::Duration;

use pyzord_core::client::{Cause, Condition, Event, Unreachable};
use pyzord_core::{AccessOrder, Digest, Policy};

use crate::network::{CLIENT, Network, TIMEOUT, at, digest, pair, totals};

#[test]
fn a_server_that_is_down_for_an_hour_gets_the_newest_digests() {
    for signed in [true, false] {
        let mut network = pair(signed);
        network.report(0);
        network.run_seconds(2);
        network.nodes[1].up = false;
        let before = network.sent;
        for number in 0..3600 * 20 {
            network.report(number);
            if number % 20 == 0 {
                network.run_seconds(1);
            }
            assert!(totals(&network.nodes[0]).waiting <= 10_000 + 320);
        }
        // A few requests before the outage is detected, then a ping every six seconds.
        assert!(network.sent - before < 700, "{} datagrams", network.sent - before);
        network.nodes[1].up = true;
        network.run_seconds(60);
        let totals = totals(&network.nodes[0]);
        let known = totals.accepted + totals.dropped + totals.unanswered;
        assert_eq!((totals.waiting, known), (0, 72_001), "{totals}");
        assert!(totals.accepted > 10_000 && totals.unanswered < 200, "those under way at first: {totals}");
        assert_eq!(network.nodes[1].total(), totals.accepted, "each digest is counted once");
        let newest: BTreeSet<Digest> = (62_000..72_000).map(digest).collect();
        assert!(
            newest.is_subset(&network.nodes[1].reports().into_keys().collect()),
            "the newest digests are kept"
        );
        let events = &network.nodes[0].events;
        let failures: Vec<&Event> =
            events.iter().filter(|event| matches!(event, Event::Failing { .. })).collect();
        assert_eq!(failures, [&Event::Failing { cause: Cause::Silent, others: 0 }]);
        let back = events.iter().filter_map(|event| match event {
            Event::Back { after, waited } => Some((after.as_secs(), *waited)),
            _ => None,
        });
        let back: Vec<_> = back.collect();
        assert!(matches!(back[..], [(3600..3610, 10_000..10_320)]), "{back:?}");
        assert!(events.len() < 70, "{} lines in the log of an hour", events.len());
        let dropped =
            events.iter().map(|event| if let Event::Dropped { digests } = event { *digests } else { 0 });
        assert_eq!(dropped.sum::<u64>(), totals.dropped, "each dropped digest is in one notice");
    }
}

/// A server refuses a signature that is older than five minutes. What was sent before may have been counted, and a new
/// signature would count it again; what has waited gets its first signature.
#[test]
fn after_minutes_only_what_was_never_sent_is_sent() {
    let mut network = pair(true);
    network.nodes[1].up = false;
    network.report(1);
    network.run_seconds(100);
    network.report(2);
    network.run_seconds(300);
    network.nodes[1].up = true;
    network.run_seconds(10);
    assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (1, 1));
    let line = "1 digests accepted, 0 refused, 1 unanswered, 0 dropped, 0 not sent back, 0 waiting";
    assert_eq!(totals(&network.nodes[0]).to_string(), line);
}

/// An anonymous request is given up: it may have been counted.
#[test]
fn one_lost_datagram_makes_no_notice() {
    for signed in [true, false] {
        let mut network = pair(signed);
        network.report(1);
        network.loss = 100;
        network.run(Duration::from_millis(1100));
        network.loss = 0;
        network.run_seconds(10);
        let counted = u64::from(signed);
        assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (counted, counted));
        assert_eq!(totals(&network.nodes[0]).unanswered, 1 - counted);
        assert_eq!(network.nodes[0].events, []);
    }
}

#[test]
fn refused_digests_are_dropped_with_a_notice_now_and_then() {
    let mut network = pair(false);
    network.nodes[1].server.replace_policy(Policy::parse(None, Some(b""), AccessOrder::FirstMatch).0);
    for number in 0..1000 {
        network.report(number);
        network.run_seconds(1);
    }
    network.run_seconds(10);
    assert_eq!((totals(&network.nodes[0]).refused, network.nodes[1].total()), (1000, 0));
    let diag = "Forbidden: User is not authorized to request the operation.".to_owned();
    // At once, and after one, three, seven and fifteen minutes.
    let refused = Event::Failing { cause: Cause::Answered { code: 403, diag }, others: 0 };
    assert_eq!(network.nodes[0].events, vec![refused; 5]);
}

#[test]
fn failed_digests_are_sent_again_for_a_minute() {
    // The replies say that nothing was counted, so that anonymous requests may be repeated, too.
    [true, false].into_iter().for_each(fails_for_a_while);
}

fn fails_for_a_while(signed: bool) {
    let mut network = pair(signed);
    network.nodes[1].broken = true;
    (0..10).for_each(|number| network.report(number));
    network.run_seconds(40);
    network.nodes[1].broken = false;
    network.run_seconds(40);
    assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (10, 10));
    assert_eq!(network.nodes[1].received, 7);
    network.nodes[1].broken = true;
    (0..10).for_each(|number| network.report(number));
    network.run_seconds(200);
    assert_eq!((totals(&network.nodes[0]).refused, totals(&network.nodes[0]).waiting), (10, 0));
    assert_eq!(network.nodes[1].received, 7 + 7, "after a minute the digests are dropped");
}

#[test]
fn a_stop_sends_waiting_digests_at_once_and_does_not_wait_for_a_server_that_is_down() {
    let mut network = pair(true);
    network.report(1);
    network.nodes[0].forwarder.stop();
    assert!(!network.nodes[0].forwarder.is_idle());
    network.run(Duration::from_millis(200));
    assert!(network.nodes[0].forwarder.is_idle());
    assert_eq!(network.nodes[1].total(), 1);
    network.nodes[1].up = false;
    network.report(2);
    network.run_seconds(10);
    assert!(network.nodes[0].forwarder.is_idle());
    assert_eq!(totals(&network.nodes[0]).waiting, 1);
}

/// The first line about a server that was away came after twelve seconds.
#[test]
fn a_silence_is_told_within_a_second_and_its_end_at_once() {
    for signed in [true, false] {
        let mut network = pair(signed);
        assert_eq!(condition(&network), Condition::Idle);
        network.nodes[1].up = false;
        network.report(1);
        // The digest is sent after a second, for others to join it.
        network.run(Duration::from_millis(1990));
        assert_eq!((condition(&network), network.nodes[0].events.len()), (Condition::Idle, 0));
        network.run(Duration::from_millis(20));
        assert_eq!(condition(&network), Condition::Failing { since: at(1000), cause: Cause::Silent });
        assert_eq!(network.nodes[0].events, [Event::Failing { cause: Cause::Silent, others: 0 }]);
        network.run_seconds(6);
        (2..12).for_each(|number| network.report(number));
        network.run_seconds(14);
        assert_eq!(network.nodes[0].events.len(), 1);
        network.nodes[1].up = true;
        network.run_seconds(10);
        let [_, Event::Back { after, waited }] = network.nodes[0].events[..] else {
            panic!("{:?}", network.nodes[0].events)
        };
        // What may have been counted is not sent again without a signature.
        assert_eq!(waited, if signed { 11 } else { 10 });
        assert!((19..28).contains(&after.as_secs()), "{after:?}");
        assert!(matches!(condition(&network), Condition::Delivering { .. }));
    }
}

/// A server that takes two seconds for each reply is slow, and does not fail and recover with each of them.
#[test]
fn a_slow_server_fails_once_at_most() {
    let mut network = pair(true);
    network.delay = Duration::from_secs(1);
    for number in 0..100 {
        network.report(number);
        network.run_seconds(7);
    }
    assert_eq!(totals(&network.nodes[0]).accepted, 100);
    let events = &network.nodes[0].events;
    assert!(matches!(events[..], [Event::Failing { .. }, Event::Back { .. }]), "{events:?}");
}

/// A server that refuses reports because of its limits does not reply, but answers pings.
#[test]
fn a_server_that_answers_pings_only_is_failing() {
    let mut network = pair(false);
    network.pings_only = true;
    for number in 0..30 {
        network.report(number);
        network.run_seconds(1);
    }
    assert!(matches!(condition(&network), Condition::Failing { cause: Cause::Lost, .. }));
    assert_eq!(network.nodes[0].events, [Event::Failing { cause: Cause::Lost, others: 0 }]);
    network.pings_only = false;
    network.run_seconds(10);
    network.report(100);
    network.run_seconds(3);
    assert!(matches!(condition(&network), Condition::Delivering { .. }));
}

/// The network knows at once that a port is closed. Such a message can be forged: it changes no request.
#[test]
fn what_the_network_says_is_told_at_once_and_loses_nothing() {
    let mut network = pair(true);
    let there = "192.0.2.2:24441".parse().unwrap();
    network.nodes[0].forwarder.unreachable(there, Unreachable::Closed, at(0));
    assert_eq!(condition(&network), Condition::Idle, "nothing was sent");
    network.nodes[1].up = false;
    network.report(1);
    network.run(Duration::from_millis(1005));
    network.nodes[0].forwarder.unreachable(CLIENT.parse().unwrap(), Unreachable::Closed, at(1005));
    assert_eq!(condition(&network), Condition::Idle, "another host");
    network.nodes[0].forwarder.unreachable(there, Unreachable::Closed, at(1005));
    network.run(Duration::from_millis(1));
    let closed = Cause::Unreachable(Unreachable::Closed);
    assert_eq!(condition(&network), Condition::Failing { since: at(1000), cause: closed.clone() });
    network.run_seconds(2);
    assert_eq!(network.nodes[0].events, [Event::Failing { cause: closed, others: 0 }]);
    network.nodes[1].up = true;
    network.run_seconds(10);
    assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (1, 1));
    // A forged message about a request that is answered in time.
    network.report(2);
    network.run(Duration::from_millis(1000));
    network.nodes[0].forwarder.unreachable(there, Unreachable::NoRoute, at(13_006));
    network.run_seconds(1);
    assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (2, 2));
    assert!(matches!(condition(&network), Condition::Delivering { .. }));
}

/// Losses and outages of any length never fill the log.
#[test]
fn a_flapping_server_has_few_lines() {
    let mut network = pair(true);
    for second in 0..3600 {
        network.nodes[1].up = second / 20 % 2 == 0;
        (0..3).for_each(|number| network.report(second * 3 + number));
        network.run_seconds(1);
    }
    network.nodes[1].up = true;
    network.run(TIMEOUT * 3);
    assert_eq!(totals(&network.nodes[0]).waiting, 0);
    let events = &network.nodes[0].events;
    assert!((6..30).contains(&events.len()), "{} lines in an hour", events.len());
}

fn condition(network: &Network) -> Condition {
    network.nodes[0].forwarder.standings().next().unwrap().condition.clone()
}
