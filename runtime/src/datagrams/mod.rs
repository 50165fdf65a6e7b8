//! Datagrams in batches: what has come in is received together and its replies are sent together.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Inbox, send};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{Inbox, send};

use std::net::UdpSocket;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long replies may wait for room in a full send buffer.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How many datagrams are received at once.
const BATCH: usize = 64;

/// One byte more than the largest request, so that a longer one is known.
type Buffer = [u8; pyzord_core::MAX_REQUEST + 1];

/// Whether to wait when nothing has come in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wait {
    /// For the first datagram, until the socket's time-out; never for a second one.
    ForOne,
    /// Not at all.
    No,
}

/// What became of the replies of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) accepted: u64,
    pub(crate) failed: u64,
}

/// Waits, where the socket itself does not, until it takes more. `false` when that takes too long to be worth it: the
/// replies are given up then, as a network would.
fn room_to_send(socket: &UdpSocket) -> bool {
    let mut sockets = [PollFd::new(socket, PollFlags::OUT)];
    matches!(poll(&mut sockets, Some(&PATIENCE)), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::time::Duration;

    use super::*;

    fn socket(address: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// One suite for both implementations.
    macro_rules! suite {
        ($implementation:ident) => {
            mod $implementation {
                use super::super::$implementation::{Inbox, send};
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
                        let (mut inbox, mut received) = (Inbox::new(), Vec::new());
                        while received.len() < expected.len() {
                            let before = received.len();
                            let collect =
                                |peer: SocketAddr, datagram: &[u8]| received.push((peer, datagram.to_vec()));
                            inbox.receive(&server, Wait::ForOne, collect).unwrap();
                            assert!(received.len() - before <= BATCH);
                            let replies =
                                received[before..].iter().map(|(peer, datagram)| (*peer, &datagram[..]));
                            let count = replies.len() as u64;
                            assert_eq!(send(&server, replies), Sent { accepted: count, failed: 0 });
                        }
                        assert!(received.iter().all(|(peer, _)| *peer == client_address));
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
                        .receive(&server, Wait::ForOne, |_, datagram| lengths.push(datagram.len()))
                        .unwrap();
                    assert_eq!(lengths, [pyzord_core::MAX_REQUEST + 1]);
                }

                #[test]
                fn one_peer_that_cannot_be_reached_costs_the_others_nothing() {
                    let ((server, _), (client, address)) = (socket("127.0.0.1"), socket("127.0.0.1"));
                    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
                    let replies =
                        [nowhere, address, nowhere, nowhere, address].map(|peer| (peer, &b"reply"[..]));
                    let sent = send(&server, replies.into_iter());
                    assert_eq!(sent, Sent { accepted: 2, failed: 3 });
                    let mut reply = [0; 10];
                    assert_eq!((client.recv(&mut reply).unwrap(), client.recv(&mut reply).unwrap()), (5, 5));
                }

                #[test]
                fn without_waiting_an_empty_socket_says_so() {
                    let (server, _) = socket("127.0.0.1");
                    let error = Inbox::new()
                        .receive(&server, Wait::No, |_, _| panic!("nothing was sent"))
                        .unwrap_err();
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                }
            }
        };
    }

    #[cfg(target_os = "linux")]
    suite!(linux);
    suite!(portable);
}
