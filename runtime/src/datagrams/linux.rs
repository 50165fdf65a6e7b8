//! One system call receives up to 64 datagrams, and one sends their replies.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};

use super::common::{Arrival, BATCH, Buffer, ReceiveMode, Sent, to_std};
use super::lanes::Lanes;
use super::packet_info::{PacketInfo, read_messages, receive_space};
use super::path::{LocalAddress, Path};

type Headers = MultiHeaders<SockaddrStorage>;

/// Buffers to receive into.
pub(crate) struct Inbox {
    buffers: Box<[Buffer; BATCH]>,
    headers: Headers,
    /// Whether the log has been told of control messages that were cut.
    warned: bool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self::with_space(receive_space())
    }

    /// With room for these control messages of each datagram.
    pub(super) fn with_space(space: Vec<u8>) -> Self {
        Self { buffers: buffers(), headers: MultiHeaders::preallocate(BATCH, Some(space)), warned: false }
    }

    /// Receives the datagrams that are there, and hands over each of them with its path and time.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mode: ReceiveMode,
        mut each: impl FnMut(Arrival, &[u8]),
    ) -> io::Result<()> {
        let flags = match mode {
            ReceiveMode::WaitForFirst => MsgFlags::MSG_WAITFORONE,
            ReceiveMode::NonBlocking => MsgFlags::MSG_DONTWAIT,
        };
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None)?;
        let mut cut = false;
        for message in messages {
            let Some(peer) = message.address.as_ref().and_then(to_std) else {
                debug_assert!(false, "a UDP socket gave a datagram without its sender's address");
                log::error!("received a datagram without its sender's address: it gets no reply");
                continue;
            };
            let (local, at) = match message.cmsgs() {
                Ok(messages) => read_messages(messages),
                // Cut, since there was no room for all of them.
                Err(_) => {
                    cut = true;
                    (None, None)
                }
            };
            // No slice: the datagram is empty.
            each(Arrival { path: Path { peer, local }, at }, message.iovs().next().unwrap_or_default());
        }
        if cut {
            self.make_room();
        }
        Ok(())
    }

    /// Gives each header all of its room back. `recvmmsg` leaves the length of the last control messages in it, which is
    /// the room for the next ones: too little where a datagram has more of them than the one before.
    fn make_room(&mut self) {
        self.headers = MultiHeaders::preallocate(BATCH, Some(receive_space()));
        if !self.warned {
            log::warn!(
                "the system cut the control messages of a datagram: its reply leaves from an address that the \
                 system chooses, maybe not the one that was asked (does the socket unit set options?)"
            );
            self.warned = true;
        }
    }
}

/// Half a megabyte: made in place, since it does not belong on the stack, and no page of it is touched before its use.
fn buffers() -> Box<[Buffer; BATCH]> {
    let buffers = vec![[0; size_of::<Buffer>()]; BATCH].into_boxed_slice();
    buffers.try_into().unwrap_or_else(|_| unreachable!("the vector has BATCH elements"))
}

/// Headers to send with.
pub(crate) struct Outbox {
    lanes: Lanes,
    /// For replies that leave from the address that the system chooses.
    any: Headers,
    v4: Headers,
    v6: Headers,
}

impl Outbox {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self {
            lanes,
            any: MultiHeaders::preallocate(BATCH, None),
            v4: MultiHeaders::preallocate(BATCH, Some(PacketInfo::v4_space())),
            v6: MultiHeaders::preallocate(BATCH, Some(PacketInfo::v6_space())),
        }
    }

    /// Sends the replies, each along its path. A reply that cannot be sent is given up; the others are sent all the same.
    ///
    /// One system call sends the replies of a batch that leave from one address.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        mut replies: impl Iterator<Item = (Path, &'a [u8])>,
    ) -> Sent {
        let mut sent = Sent::default();
        loop {
            // On the stack, and no more of it is written than there are replies.
            let mut batch: ArrayVec<(Path, &[u8]), BATCH> = replies.by_ref().take(BATCH).collect();
            if !batch.is_sorted_by_key(|(path, _)| path.local) {
                batch.sort_unstable_by_key(|(path, _)| path.local);
            }
            for run in batch.chunk_by(|(one, _), (other, _)| one.local == other.local) {
                let local = run.first().and_then(|(path, _)| path.local);
                self.send_from(local, socket, run, &mut sent);
            }
            if batch.len() < BATCH {
                return sent;
            }
        }
    }

    fn send_from(
        &mut self,
        local: Option<LocalAddress>,
        socket: &UdpSocket,
        run: &[(Path, &[u8])],
        sent: &mut Sent,
    ) {
        match local.map(PacketInfo::new) {
            None => send_run(&mut self.any, &[], socket, &self.lanes, run, sent),
            Some(info @ PacketInfo::V4(_)) => {
                send_run(&mut self.v4, &[info.message()], socket, &self.lanes, run, sent);
            }
            Some(info @ PacketInfo::V6(_)) => {
                send_run(&mut self.v6, &[info.message()], socket, &self.lanes, run, sent);
            }
        }
    }
}

/// Sends replies that share their control messages. The headers have exactly the room that these take.
fn send_run(
    headers: &mut Headers,
    control: &[ControlMessage<'_>],
    socket: &UdpSocket,
    lanes: &Lanes,
    run: &[(Path, &[u8])],
    sent: &mut Sent,
) {
    let peers: ArrayVec<_, BATCH> = run.iter().map(|(path, _)| Some(path.peer.into())).collect();
    let replies: ArrayVec<_, BATCH> = run.iter().map(|(_, reply)| [IoSlice::new(reply)]).collect();
    let mut done = 0;
    while let Some(peers @ [_, ..]) = peers.get(done..) {
        let rest = replies.iter().skip(done);
        match sendmmsg(socket.as_raw_fd(), headers, rest, peers, control, MsgFlags::MSG_DONTWAIT) {
            Ok(accepted) => {
                let accepted = accepted.count();
                sent.accepted += accepted as u64;
                done += accepted;
            }
            Err(Errno::EINTR) => (),
            // The send buffer is full, and no later reply finds room in it.
            Err(Errno::EAGAIN) => {
                return run
                    .iter()
                    .skip(done)
                    .for_each(|reply| send_apart(headers, control, lanes, *reply, sent));
            }
            // The error of the first reply: its network is gone, a firewall forbids it, or its local address is not one
            // of this machine's.
            Err(error) => {
                sent.refused(error);
                done += 1;
            }
        }
    }
}

/// Sends a reply through its spare socket; it is dropped if there is none, or if that is full, too.
fn send_apart(
    headers: &mut Headers,
    control: &[ControlMessage<'_>],
    lanes: &Lanes,
    (path, reply): (Path, &[u8]),
    sent: &mut Sent,
) {
    let (peer, slice) = ([Some(SockaddrStorage::from(path.peer))], [[IoSlice::new(reply)]]);
    let send = |socket: &UdpSocket| {
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmmsg(socket.as_raw_fd(), headers, &slice, peer, control, flags).map(Iterator::count)
    };
    match lanes.of(&path).map_or(Err(Errno::EAGAIN), send) {
        Ok(accepted) => sent.accepted += accepted as u64,
        Err(error) => sent.refused(error),
    }
}
