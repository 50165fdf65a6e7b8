//! Datagrams that the system drops before the server sees them, as a receive buffer is full.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstat;

use crate::socket_table::{SocketRow, udp_sockets};

/// Counts the drops of some sockets. The system is asked when a reader wants to know.
#[derive(Debug, Default)]
pub(crate) struct KernelDrops(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The system's count of each socket, by inode, at the last look.
    last: BTreeMap<u64, u32>,
    total: u64,
}

impl KernelDrops {
    /// Counts from now on.
    ///
    /// # Errors
    /// The system does not tell which sockets these are.
    pub(crate) fn of(sockets: impl Iterator<Item = impl AsFd>) -> io::Result<Self> {
        let mut last: BTreeMap<u64, u32> =
            sockets.map(|socket| Ok((fstat(socket)?.st_ino, 0))).collect::<io::Result<_>>()?;
        // Sockets that a service manager passes are older than this process.
        for row in udp_sockets() {
            last.entry(row.inode).and_modify(|drops| *drops = row.drops);
        }
        Ok(Self(Mutex::new(State { last, total: 0 })))
    }

    /// Returns the number of drops; `None` if the system does not tell it.
    pub(crate) fn count(&self) -> Option<u64> {
        let rows = udp_sockets();
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(&rows)
    }
}

impl State {
    fn add(&mut self, rows: &[SocketRow]) -> Option<u64> {
        let mut is_known = false;
        for row in rows {
            if let Some(last) = self.last.get_mut(&row.inode) {
                let more = row.drops.wrapping_sub(*last);
                // Two readers may come in the other order than their tables: then the count goes back a little.
                if more < u32::MAX / 2 {
                    self.total += u64::from(more);
                    *last = row.drops;
                }
                is_known = true;
            }
        }
        is_known.then_some(self.total)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_drops_of_all_own_sockets_are_added_up_beyond_32_bits() {
        let mut state = State { last: BTreeMap::from([(7, u32::MAX - 1), (8, 0)]), total: 0 };
        let address = "127.0.0.1:5".parse().unwrap();
        let row = |inode, drops| SocketRow { address, is_connected: false, inode, drops };
        assert_eq!(state.add(&[]), None);
        assert_eq!(state.add(&[row(7, u32::MAX), row(8, 3), row(9, 100)]), Some(4));
        assert_eq!(state.add(&[row(7, 1)]), Some(6), "the number of the system begins anew");
        assert_eq!(state.add(&[row(7, 0), row(8, 3)]), Some(6), "an older table is read after a newer one");
        assert_eq!(state.add(&[row(7, 2), row(8, 3)]), Some(7));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_receive_buffer_is_seen() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        let drops = KernelDrops::of([&socket].into_iter()).unwrap();
        assert_eq!(drops.count(), Some(0));
        let sent = (0..10_000).filter(|_| client.send(&[0; 1000]).is_ok()).count();
        socket.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 1]).ok()).count();
        assert!(received > 0 && received < sent);
        assert_eq!(drops.count(), Some((sent - received) as u64));
    }
}
