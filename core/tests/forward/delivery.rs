//! What is forwarded, and how often the other server counts it.

use std::time::Duration;

use pyzord_core::client::{Cause, Event, Message, Remote, Thread};
use pyzord_core::{Operation, Tick, UnixTime};

use crate::network::{CLIENT, KEY, Network, Node, START, at, digest, now, pair, remote, totals};

#[test]
fn each_count_is_forwarded_once_in_few_requests() {
    for signed in [true, false] {
        let mut network = pair(signed);
        (0..25).for_each(|number| network.report(number % 5));
        network.run(Duration::from_millis(900));
        assert_eq!(network.nodes[1].received, 2, "two batches of ten; five digests wait for more");
        network.run(Duration::from_millis(300));
        assert_eq!(network.nodes[1].received, 3);
        assert_eq!(network.nodes[1].reports(), (0..5).map(|number| (digest(number), 5)).collect());
        network.run_seconds(100);
        assert_eq!((totals(&network.nodes[0]).accepted, network.nodes[1].received), (25, 3));
        assert_eq!(network.nodes[0].forwarder.next_deadline(), None, "no action is pending");
    }
}

#[test]
fn whitelistings_are_forwarded_as_whitelistings() {
    let mut network = pair(true);
    let request = format!("Op: whitelist\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    network.nodes[0].serve(CLIENT.parse().unwrap(), request.as_bytes(), now(Tick::default()));
    network.report(1);
    network.run_seconds(2);
    let (_, record) = network.nodes[1].store.records().next().unwrap();
    assert_eq!((record.whitelists.count, record.reports.count), (1, 1));
}

/// The other server remembers signatures, so it does not count a repeated request again.
#[test]
fn on_a_bad_network_no_signed_digest_is_counted_twice_and_few_are_lost() {
    let mut network = pair(true);
    (network.loss, network.repeats) = (20, 20);
    for number in 0..5000 {
        network.report(number);
        if number % 7 == 0 {
            network.run(Duration::from_millis(100));
        }
    }
    network.run_seconds(300);
    let (counted, totals) = (network.nodes[1].reports(), totals(&network.nodes[0]));
    assert!(counted.values().all(|count| *count == 1));
    assert_eq!(totals.accepted + totals.unanswered, 5000, "{totals}");
    assert!(totals.unanswered < 500, "{totals}");
    assert!(network.nodes[1].total() >= totals.accepted);
}

/// A server cannot recognise a copy of an anonymous request. Such a request is therefore sent once.
#[test]
fn on_a_bad_network_no_anonymous_digest_is_counted_twice() {
    let mut network = pair(false);
    network.loss = 20;
    for number in 0..5000 {
        network.report(number);
        if number % 7 == 0 {
            network.run(Duration::from_millis(100));
        }
    }
    network.run_seconds(300);
    let (counted, totals) = (network.nodes[1].reports(), totals(&network.nodes[0]));
    assert!(counted.values().all(|count| *count == 1));
    assert_eq!(totals.accepted + totals.unanswered, 5000, "{totals}");
    assert!(counted.len() > 3500, "{} of 5000, {totals}", counted.len());
}

/// Python's servers forward the same digest to each other without end.
#[test]
fn servers_that_forward_to_each_other_count_once_each() {
    let hosts = [1, 2, 3];
    let others = |host: u8| hosts.iter().filter(move |other| **other != host).map(|host| remote(*host, true));
    let mut network =
        Network::new(hosts.iter().map(|host| Node::new(*host, others(*host).collect())).collect());
    (0..100).for_each(|number| network.report(number));
    network.run_seconds(100);
    for node in &network.nodes {
        assert_eq!((node.total(), node.forwarder.next_deadline()), (100, None));
    }
    assert!(network.nodes[1].received < 20);
}

/// A digest from a server that does not mark forwarded requests, as Python's, is not sent back to its host.
#[test]
fn no_digest_is_sent_back_to_its_host() {
    let mut network = Network::new(vec![
        Node::new(1, vec![remote(2, true), remote(3, false)]),
        Node::new(2, Vec::new()),
        Node::new(3, Vec::new()),
    ]);
    let unmarked = format!("Op: report\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    network.nodes[0].serve("[::ffff:192.0.2.2]:9".parse().unwrap(), unmarked.as_bytes(), now(network.now));
    network.run_seconds(5);
    let received: Vec<u64> = network.nodes.iter().map(Node::total).collect();
    assert_eq!(received, [1, 0, 1]);
    assert_eq!(totals(&network.nodes[0]).withheld, 1);
}

#[test]
fn a_repeated_or_failed_request_is_not_forwarded() {
    let mut node = Node::new(1, vec![remote(2, false)]);
    let bob = Remote::parse(Some(b"a:1"), Some(format!("a:1:bob:,{KEY}").as_bytes())).0.remove(0).credentials;
    let (mut datagram, thread) = (Vec::new(), Thread::from_random(1));
    let message = Message { operation: Operation::Report, digests: &[digest(1)], thread, forwarded: None };
    message.write(&bob, UnixTime::from_seconds(START), &mut datagram);
    let peer = CLIENT.parse().unwrap();
    node.broken = true;
    node.serve(peer, &datagram, now(at(0)));
    assert_eq!(totals(&node).waiting, 0, "the database failed");
    node.broken = false;
    for _ in 0..3 {
        node.serve(peer, &datagram, now(at(0)));
    }
    assert_eq!(totals(&node).waiting, 1, "two copies are not counted");
    let check = format!("Op: check\nOp-Digest: {}\nThread: 2000\nPV: 2.1\n\n", digest(1));
    node.serve(peer, check.as_bytes(), now(at(0)));
    assert_eq!(totals(&node).waiting, 1);
}

/// Its list of servers names itself, by whatever name: each report counted twice.
#[test]
fn what_comes_back_to_its_server_is_not_counted() {
    for signed in [true, false] {
        let mut node = Node::new(1, vec![remote(1, signed)]);
        node.server = node.server.with_origin(Some(node.forwarder.origin()));
        let mut network = Network::new(vec![node]);
        (0..25).for_each(|number| network.report(number));
        network.run_seconds(100);
        let node = &network.nodes[0];
        assert_eq!((node.total(), totals(node).refused), (25, 25));
        let [Event::Failing { cause: Cause::Answered { code: 400, .. }, .. }] = &node.events[..] else {
            panic!("{:?}", node.events)
        };
    }
}
