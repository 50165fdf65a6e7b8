//! One suite for all implementations, and one for those that tell local addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::common::{Arrival, BATCH, ReceiveMode, Sent};
use super::lanes::Lanes;
use super::path::Path;

fn socket(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A way to an address of no particular origin.
fn to(peer: SocketAddr) -> Path {
    Path { peer, local: None }
}

macro_rules! suite {
    ($implementation:ident) => {
        mod $implementation {
            use super::super::$implementation::{Inbox, Outbox};
            use super::*;

            #[test]
            fn a_batch_is_received_and_answered_in_order_on_both_families() {
                for address in ["127.0.0.1", "::1"] {
                    let ((server, server_address), (client, client_address)) =
                        (socket(address), socket(address));
                    let mut expected: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 50]).collect();
                    expected.push(Vec::new());
                    expected.push(vec![7; pyzord_core::MAX_REQUEST + 1]);
                    expected
                        .iter()
                        .for_each(|datagram| assert!(client.send_to(datagram, server_address).is_ok()));
                    let (mut inbox, mut outbox, mut received) =
                        (Inbox::new(), Outbox::new(Lanes::default()), Vec::new());
                    while received.len() < expected.len() {
                        let before = received.len();
                        let collect = |arrival: Arrival, datagram: &[u8]| {
                            received.push((arrival.path, datagram.to_vec()));
                        };
                        inbox.receive(&server, ReceiveMode::WaitForFirst, collect).unwrap();
                        assert!(received.len() - before <= BATCH);
                        let replies =
                            received[before..].iter().map(|(path, datagram)| (*path, &datagram[..]));
                        let count = replies.len() as u64;
                        assert_eq!(
                            outbox.send(&server, replies),
                            Sent { accepted: count, no_room: 0, failed: 0 }
                        );
                    }
                    // The socket has one address only.
                    assert!(received.iter().all(|(path, _)| *path == to(client_address)));
                    for datagram in expected {
                        let mut reply = vec![0; 10_000];
                        let length = client.recv(&mut reply).unwrap();
                        assert_eq!(reply[..length], datagram);
                    }
                }
            }

            #[test]
            fn a_longer_datagram_is_cut_behind_the_limit() {
                let ((server, address), (client, _)) = (socket("127.0.0.1"), socket("127.0.0.1"));
                client.send_to(&vec![1; 60_000], address).unwrap();
                let mut lengths = Vec::new();
                Inbox::new()
                    .receive(&server, ReceiveMode::WaitForFirst, |_, datagram| lengths.push(datagram.len()))
                    .unwrap();
                assert_eq!(lengths, [pyzord_core::MAX_REQUEST + 1]);
            }

            #[test]
            fn one_peer_that_cannot_be_reached_costs_the_others_nothing() {
                let ((server, _), (client, address)) = (socket("127.0.0.1"), socket("127.0.0.1"));
                let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                let replies =
                    [nowhere, address, nowhere, nowhere, address].map(|peer| (to(peer), &b"reply"[..]));
                let sent = Outbox::new(Lanes::default()).send(&server, replies.into_iter());
                assert_eq!(sent, Sent { accepted: 2, no_room: 0, failed: 3 });
                let mut reply = [0; 10];
                assert_eq!((client.recv(&mut reply).unwrap(), client.recv(&mut reply).unwrap()), (5, 5));
            }

            #[test]
            fn without_waiting_an_empty_socket_says_so() {
                let (server, _) = socket("127.0.0.1");
                let error = Inbox::new()
                    .receive(&server, ReceiveMode::NonBlocking, |_, _| panic!("nothing was sent"))
                    .unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            }

            #[test]
            fn a_wildcard_socket_answers_on_both_families() {
                for (wildcard, local) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.1")] {
                    let ((server, address), (client, _)) = (socket(wildcard), socket(local));
                    client.connect((local, address.port())).unwrap();
                    client.send(b"request").unwrap();
                    let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new(Lanes::default()));
                    let answer = |arrival: Arrival, datagram: &[u8]| {
                        let sent = outbox.send(&server, [(arrival.path, datagram)].into_iter());
                        assert_eq!(sent, Sent { accepted: 1, no_room: 0, failed: 0 });
                    };
                    inbox.receive(&server, ReceiveMode::WaitForFirst, answer).unwrap();
                    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 7, "{wildcard} {local}");
                }
            }
        }
    };
}

#[cfg(target_os = "linux")]
suite!(linux);
suite!(portable);

/// Datagrams are received with the address that was asked, and replies leave from there.
#[cfg(target_os = "linux")]
mod local_addresses {
    use super::super::linux::{Inbox, Outbox};
    use super::super::packet_info::request_local_addresses;
    use super::super::path::LocalAddress;
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// A server on a wildcard address that requests local addresses.
    fn server(wildcard: &str) -> (UdpSocket, u16) {
        let (server, address) = socket(wildcard);
        request_local_addresses(&server, address).unwrap();
        (server, address.port())
    }

    /// A client that hears only the address that it asks.
    fn client(server: IpAddr, port: u16) -> UdpSocket {
        let (client, _) = socket(if server.is_ipv4() { "127.0.0.1" } else { "::1" });
        client.connect((server, port)).unwrap();
        client
    }

    fn receive(inbox: &mut Inbox, server: &UdpSocket, count: usize) -> Vec<(Path, Vec<u8>)> {
        let mut received = Vec::new();
        while received.len() < count {
            let collect =
                |arrival: Arrival, datagram: &[u8]| received.push((arrival.path, datagram.to_vec()));
            inbox.receive(server, ReceiveMode::WaitForFirst, collect).unwrap();
        }
        received
    }

    fn send(server: &UdpSocket, replies: &[(Path, Vec<u8>)]) -> Sent {
        Outbox::new(Lanes::default()).send(server, replies.iter().map(|(path, reply)| (*path, &reply[..])))
    }

    fn local(ip: impl Into<IpAddr>) -> Option<LocalAddress> {
        Some(LocalAddress { ip: ip.into(), interface: 0 })
    }

    #[test]
    fn several_addresses_in_one_batch_each_answer_for_themselves() {
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let (one, two): (IpAddr, IpAddr) = (ONE.into(), TWO.into());
        let order = |addresses: &[IpAddr]| addresses.repeat(25);
        for (wildcard, asked) in
            [("0.0.0.0", order(&[one, two, two])), ("::", order(&[v6])), ("::", order(&[two, v6, one, v6]))]
        {
            let (server, port) = server(wildcard);
            let clients: Vec<_> = asked.iter().map(|ip| (*ip, client(*ip, port))).collect();
            for (number, (_, client)) in clients.iter().enumerate() {
                client.send(&number.to_be_bytes()).unwrap();
            }
            let received = receive(&mut Inbox::new(), &server, clients.len());
            for ((path, datagram), (number, (asked, client))) in
                received.iter().zip(clients.iter().enumerate())
            {
                assert_eq!(path.local.map(|local| local.ip.to_canonical()), Some(*asked), "{wildcard}");
                let port = client.local_addr().unwrap().port();
                assert_eq!((path.peer.port(), &datagram[..]), (port, &number.to_be_bytes()[..]));
            }
            let count = clients.len() as u64;
            assert_eq!(send(&server, &received), Sent { accepted: count, no_room: 0, failed: 0 });
            for (number, (asked, client)) in clients.iter().enumerate() {
                let mut reply = [0; 10];
                let length = client.recv(&mut reply).unwrap();
                assert_eq!(reply[..length], number.to_be_bytes(), "{wildcard} {asked}");
            }
        }
    }

    #[test]
    fn a_socket_for_both_families_writes_ipv4_addresses_as_ipv6() {
        let (server, port) = server("::");
        let client = client(TWO.into(), port);
        client.send(b"request").unwrap();
        let received = receive(&mut Inbox::new(), &server, 1);
        assert_eq!(received[0].0.local, local(TWO.to_ipv6_mapped()));
    }

    #[test]
    fn a_datagram_from_before_the_option_has_its_address() {
        for (wildcard, asked) in [("0.0.0.0", ONE.into()), ("0.0.0.0", TWO.into()), ("::", TWO.into())] {
            let (server, address) = socket(wildcard);
            let client = client(asked, address.port());
            client.send(b"request").unwrap();
            request_local_addresses(&server, address).unwrap();
            let received = receive(&mut Inbox::new(), &server, 1);
            assert_eq!(received[0].0.local.map(|local| local.ip.to_canonical()), Some(asked));
            assert_eq!(send(&server, &received), Sent { accepted: 1, no_room: 0, failed: 0 });
            assert_eq!(client.recv(&mut [0; 10]).unwrap(), 7);
        }
    }

    #[test]
    fn a_socket_of_one_address_needs_no_request() {
        for (address, ip) in [("127.0.0.2", IpAddr::from(TWO)), ("::1", Ipv6Addr::LOCALHOST.into())] {
            let (server, bound) = socket(address);
            let client = client(ip, bound.port());
            client.send(b"request").unwrap();
            let received = receive(&mut Inbox::new(), &server, 1);
            assert_eq!(received[0].0.local, None);
            assert_eq!(send(&server, &received), Sent { accepted: 1, no_room: 0, failed: 0 });
            assert_eq!(client.recv(&mut [0; 10]).unwrap(), 7);
        }
    }

    #[test]
    fn a_local_address_that_is_not_this_machines_costs_only_its_own_replies() {
        let not_here: [IpAddr; 2] = ["192.0.2.99".parse().unwrap(), "2001:db8::99".parse().unwrap()];
        for (wildcard, good, bad) in
            [("0.0.0.0", IpAddr::from(TWO), not_here[0]), ("::", Ipv6Addr::LOCALHOST.into(), not_here[1])]
        {
            let (server, port) = server(wildcard);
            let client = client(good, port);
            let peer = client.local_addr().unwrap();
            let path = |ip: IpAddr| (Path { peer, local: local(ip) }, b"reply".to_vec());
            let replies = [bad, good, bad, good, good].map(path);
            assert_eq!(send(&server, &replies), Sent { accepted: 3, no_room: 0, failed: 2 });
            for _ in 0..3 {
                assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
            }
        }
    }

    #[test]
    fn cut_control_messages_cost_the_address_of_one_batch_only() {
        let (server, port) = server("0.0.0.0");
        let client = client(ONE.into(), port);
        let mut inbox = Inbox::with_space(vec![0; 20]);
        for expected in [None, local(ONE), local(ONE)] {
            client.send(b"request").unwrap();
            let received = receive(&mut inbox, &server, 1);
            assert_eq!((received[0].0.local, &received[0].1[..]), (expected, &b"request"[..]));
            assert_eq!(send(&server, &received), Sent { accepted: 1, no_room: 0, failed: 0 });
            assert_eq!(client.recv(&mut [0; 10]).unwrap(), 7);
        }
    }

    #[test]
    fn the_option_may_come_while_an_inbox_is_in_use() {
        let (server, address) = socket("0.0.0.0");
        let client = client(TWO.into(), address.port());
        let mut inbox = Inbox::new();
        let mut ask = || {
            client.send(b"request").unwrap();
            receive(&mut inbox, &server, 1)[0].0.local
        };
        assert_eq!(ask(), None);
        request_local_addresses(&server, address).unwrap();
        // The first one without room for control messages has room made for the next.
        assert_eq!((ask(), ask()), (None, local(TWO)));
    }

    #[test]
    fn time_stamps_leave_room_for_the_address() {
        use nix::sys::socket::{setsockopt, sockopt};

        for (wildcard, asked) in [("0.0.0.0", IpAddr::from(TWO)), ("::", Ipv6Addr::LOCALHOST.into())] {
            let (server, port) = server(wildcard);
            setsockopt(&server, sockopt::ReceiveTimestampns, &true).unwrap();
            let (client, mut inbox) = (client(asked, port), Inbox::new());
            for _ in 0..3 {
                client.send(b"request").unwrap();
                assert_eq!(receive(&mut inbox, &server, 1)[0].0.local, local(asked));
            }
        }
    }
}
