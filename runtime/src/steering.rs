//! Which of the sockets that share a port gets a datagram.
//!
//! By itself, Linux chooses by the sender's address and port. Python's client takes a new port for each request, so that a
//! check could be served by one worker while the report before it waits for another. So the choice is by the address
//! alone, or by the first half of an IPv6 address: one sender's requests come to one worker, in their order. A flood
//! from one address costs one worker, too.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::UdpSocket;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

/// Where the network header begins, for the loads of a filter.
const NETWORK: u32 = libc::SKF_NET_OFF.cast_unsigned();
/// Where the protocol of the network header is, for the loads of a filter.
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL).cast_unsigned();
/// A random number, for the loads of a filter.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
const IPV6: u32 = libc::ETH_P_IPV6.cast_unsigned();

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const XOR: u32 = libc::BPF_ALU | libc::BPF_XOR;

/// Steers all requests of a sender to one of the sockets, which share the address of this one.
pub(crate) fn steer(first: &UdpSocket, sockets: usize) -> io::Result<()> {
    let sockets = u32::try_from(sockets).map_err(io::Error::other)?;
    let [a, b, c, d, e, f, g, h] = RandomState::new().hash_one(0).to_ne_bytes();
    let (secret, factor) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]) | 1);
    let mut program = program(sockets, secret, factor);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    Ok(setsockopt(first, sockopt::AttachReusePortCbpf, &program)?)
}

/// Returns a filter that computes the index of a socket. A secret hash, so that no sender of many addresses knows which
/// of them lead to one worker.
fn program(sockets: u32, secret: u32, factor: u32) -> [libc::sock_filter; 17] {
    [
        // An empty datagram wakes a worker: any of them.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0),
        libc::sock_filter { jt: 12, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0) },
        step(LOAD, PROTOCOL),
        // Over the two steps for IPv4.
        libc::sock_filter { jt: 2, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, IPV6) },
        step(LOAD, NETWORK + 12),
        step(libc::BPF_JMP | libc::BPF_JA, 4),
        step(LOAD, NETWORK + 8),
        step(libc::BPF_MISC | libc::BPF_TAX, 0),
        step(LOAD, NETWORK + 12),
        step(XOR | libc::BPF_X, 0),
        step(XOR | libc::BPF_K, secret),
        step(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, factor),
        // The high bits of a product depend on all bits of its factors.
        step(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16),
        step(libc::BPF_JMP | libc::BPF_JA, 1),
        step(LOAD, RANDOM),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ]
}

const fn step(code: u32, k: u32) -> libc::sock_filter {
    // The kernel has 16 bits for a code; those of libc have 8.
    let [low, high, ..] = code.to_le_bytes();
    libc::sock_filter { code: u16::from_le_bytes([low, high]), jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

    use crate::Sockets;

    /// Sends datagrams from new ports of an address. Returns how many each socket gets.
    fn spread(
        sockets: &Sockets,
        sender: IpAddr,
        target: IpAddr,
        datagram: &[u8],
        count: usize,
    ) -> Vec<usize> {
        let port = sockets.addresses().next().unwrap().port();
        for _ in 0..count {
            let client = UdpSocket::bind(SocketAddr::new(sender, 0)).unwrap();
            client.send_to(datagram, SocketAddr::new(target, port)).unwrap();
        }
        let received = |socket: &UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            (0..).take_while(|_| socket.recv(&mut [0; 8]).is_ok()).count()
        };
        sockets.iter().map(received).collect()
    }

    fn used(spread: &[usize]) -> usize {
        spread.iter().filter(|count| **count > 0).count()
    }

    #[test]
    fn a_sender_has_one_worker_and_many_senders_have_all() {
        for bound in ["127.0.0.1", "::"] {
            let sockets = Sockets::bind(bound, 0, 4).unwrap();
            let mut all = [0; 4];
            for host in 1..40 {
                let sender = IpAddr::from([127, 0, 1, host]);
                let spread = spread(&sockets, sender, Ipv4Addr::LOCALHOST.into(), b"x", 8);
                assert_eq!(used(&spread), 1, "{bound}, {sender}: {spread:?}");
                all.iter_mut().zip(spread).for_each(|(all, count)| *all += count);
            }
            assert_eq!((used(&all), all.iter().sum()), (4, 39 * 8), "{bound}: {all:?}");
        }
        let loopback = Ipv6Addr::LOCALHOST.into();
        let sockets = Sockets::bind("::1", 0, 4).unwrap();
        assert_eq!(used(&spread(&sockets, loopback, loopback, b"x", 40)), 1);
    }

    #[test]
    fn an_empty_datagram_may_wake_any_worker() {
        for (bound, loopback) in
            [("127.0.0.1", Ipv4Addr::LOCALHOST.into()), ("::1", Ipv6Addr::LOCALHOST.into())]
        {
            let sockets = Sockets::bind(bound, 0, 4).unwrap();
            assert_eq!(used(&spread(&sockets, loopback, loopback, b"", 100)), 4);
        }
    }
}
