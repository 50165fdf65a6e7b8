//! The totals of the forwarder: they account for every digest.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use pyzord_core::client::{Action, Forwarder, Remote};
use pyzord_core::{Counted, Request};

use crate::network::{CLIENT, TIMEOUT, at, digest, now, remote};

/// An input of the forwarder.
#[derive(Clone, Debug)]
enum Input {
    Count(u32, bool),
    Reply { code: u16, from: u8 },
    Garbage(Vec<u8>),
    Found(u8),
    Pass(u64),
    Stop,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => (any::<u32>(), any::<bool>()).prop_map(|(number, listed)| Input::Count(number, listed)),
        6 => (prop::sample::select(&[200, 200, 403, 500, 505][..]), 0..4_u8)
            .prop_map(|(code, from)| Input::Reply { code, from }),
        1 => any::<Vec<u8>>().prop_map(Input::Garbage),
        1 => (0..4_u8).prop_map(Input::Found),
        4 => (0..20_000_u64).prop_map(Input::Pass),
        1 => Just(Input::Stop),
    ]
}

proptest! {
    /// For any input, each digest is in exactly one of the totals, and every due action is done.
    #[test]
    fn every_digest_is_accounted_for(inputs in prop::collection::vec(input(), 1..300), signed: bool) {
        let remotes = [remote(2, signed), Remote::new("a.example", 24441)];
        let mut forwarder = Forwarder::new(remotes, TIMEOUT, [0; 16], at(0));
        let (mut tick, mut datagram, mut offered) = (at(0), Vec::new(), 0_u64);
        let mut outstanding: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        for input in inputs {
            match input {
                Input::Count(number, whitelisted) => {
                    let peer: IpAddr = CLIENT.parse::<SocketAddr>().unwrap().ip();
                    forwarder.count(Counted::new(digest(number), whitelisted, Some(peer)), tick);
                    offered += 1;
                }
                Input::Reply { code, from } => {
                    if let Some((to, thread)) = outstanding.get(usize::from(from)).cloned() {
                        let thread = String::from_utf8(thread).unwrap();
                        let reply = format!("Code: {code}\nDiag: x\nPV: 2.1\nThread: {thread}\n\n");
                        forwarder.received(to, reply.as_bytes(), tick);
                        outstanding.remove(usize::from(from));
                    }
                }
                Input::Garbage(bytes) => {
                    forwarder.received("192.0.2.2:24441".parse().unwrap(), &bytes, tick);
                }
                Input::Found(count) => {
                    let found: Vec<SocketAddr> =
                        (0..count).map(|host| SocketAddr::from(([203, 0, 113, host], 24441))).collect();
                    forwarder.found(1, &found, tick);
                }
                Input::Pass(millis) => tick = tick.after(Duration::from_millis(millis)),
                Input::Stop => forwarder.stop(),
            }
            let mut actions = 0;
            while let Some(action) = forwarder.poll(now(tick), &mut datagram) {
                if let Action::Send(to) = action {
                    let request = Request::parse(&datagram).unwrap();
                    outstanding.push((to, request.thread.unwrap().to_vec()));
                }
                actions += 1;
                prop_assert!(actions < 1000, "a busy loop");
            }
            prop_assert!(forwarder.next_deadline().is_none_or(|deadline| deadline > tick));
            for (_, totals) in forwarder.totals() {
                let known = totals.accepted + totals.refused + totals.unanswered + totals.dropped
                    + totals.withheld + totals.waiting;
                prop_assert_eq!(known, offered);
            }
        }
    }
}
