//! Servers that are down, refuse or fail.

use std::collections::BTreeSet;
use std::time::Duration;

use pyzord_core::client::Event;
use pyzord_core::{AccessOrder, Digest, Policy};

use crate::network::{digest, pair, totals};

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
        let notices = |wanted: &Event| events.iter().filter(|event| *event == wanted).count();
        assert_eq!((notices(&Event::Down), notices(&Event::Back)), (1, 1));
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
        network.run_seconds(2);
        network.loss = 0;
        network.run_seconds(10);
        let counted = u64::from(signed);
        assert_eq!((network.nodes[1].total(), totals(&network.nodes[0]).accepted), (counted, counted));
        assert_eq!(totals(&network.nodes[0]).unanswered, 1 - counted);
        assert_eq!(network.nodes[0].events, []);
    }
}

#[test]
fn refused_digests_are_dropped_with_a_notice_every_ten_minutes() {
    let mut network = pair(false);
    network.nodes[1].server.replace_policy(Policy::parse(None, Some(b""), AccessOrder::FirstMatch).0);
    for number in 0..1000 {
        network.report(number);
        network.run_seconds(1);
    }
    network.run_seconds(10);
    assert_eq!((totals(&network.nodes[0]).refused, network.nodes[1].total()), (1000, 0));
    let diag = "Forbidden: User is not authorized to request the operation.".to_owned();
    assert_eq!(network.nodes[0].events, vec![Event::Refused { code: 403, diag }; 2]);
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
