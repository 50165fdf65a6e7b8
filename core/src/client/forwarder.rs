//! Sending on what was counted.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::client::marks::Marks;
use crate::client::notice::Notice;
use crate::client::remote::Remote;
use crate::protocol::reply::Reply;
use crate::client::target::{Target, TargetAction, Totals};
use crate::counted::Counted;
use crate::time::{Now, Tick};

/// What is to be done for a [`Forwarder`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "nobody else sends it"]
pub enum Action {
    /// Send the datagram that was written into the caller's buffer. An error needs no attention: nobody will answer.
    Send(SocketAddr),
    /// Find the addresses of the server with this number, and hand them to [`Forwarder::found`].
    LookUp(usize),
    /// Log this.
    Tell(Notice),
}

/// Sends on reports and whitelistings to other servers, each of which has a queue of its own.
///
/// A pure state machine. Its driver calls [`count`](Self::count), [`received`](Self::received) and
/// [`found`](Self::found) when there is something, then [`poll`](Self::poll) until there is nothing more to do, and
/// waits until there is something again or the [deadline](Self::next_deadline) has come.
///
/// Up to ten digests of one operation go into a request, at the latest a second after the first of them was counted.
/// What becomes of a request that is not answered with 200:
///
/// - **No reply in time**, though the server answered something meanwhile: the request or its reply was lost, and
///   nobody knows which. A signed one is sent again, three times in all, with the same bytes, so that a server that
///   remembers signatures, as this one does, counts it once. An anonymous one is given up: it may have been counted.
/// - **No reply, and not a word since it was sent**: the server is away. From then on it is pinged, about every time-out,
///   and all else waits. When it answers, what was under way is sent again, three times in all, signed or not.
/// - **500**: the database of the server is away. The request is sent again after 1, 2, 4 seconds and so on, seven
///   times in all.
/// - **Any other code**: it is dropped.
///
/// Signed requests that are sent again half of [`MAX_CLOCK_DIFFERENCE`](crate::MAX_CLOCK_DIFFERENCE) after they were
/// signed are signed anew.
///
/// Requests are marked, and [`Batch::counted`](crate::Batch::counted) leaves marked ones out: what is sent on is not
/// sent on again. Servers of other make do not mark theirs. So nothing is sent to the server whose host it came from;
/// the loopback addresses excepted, where the clients of this machine are.
#[derive(Clone, Debug)]
pub struct Forwarder {
    targets: Vec<Target>,
    marks: Marks,
    stopping: bool,
}

impl Forwarder {
    /// A forwarder with nothing to do yet. `timeout` is how long a server has for its reply; `secret`, 16 random bytes,
    /// makes the marks of its requests, which nobody can guess who does not see them.
    #[must_use]
    pub fn new(
        remotes: impl IntoIterator<Item = Remote>,
        timeout: Duration,
        secret: [u8; 16],
        now: Tick,
    ) -> Self {
        Self {
            targets: remotes.into_iter().map(|remote| Target::new(remote, timeout, now)).collect(),
            marks: Marks::new(secret),
            stopping: false,
        }
    }

    /// Takes a digest that was counted. Where a queue is full, its oldest digest makes room.
    pub fn count(&mut self, counted: Counted, now: Tick) {
        self.targets.iter_mut().for_each(|target| target.count(counted, now));
    }

    /// Takes a datagram. What is no reply to a request that is under way is ignored.
    pub fn received(&mut self, from: SocketAddr, datagram: &[u8], now: Tick) {
        let Ok(reply) = Reply::parse(datagram) else { return };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        self.targets.iter_mut().any(|target| target.received(from, &reply, now));
    }

    /// Takes the addresses of the server with this number, in the order in which they should be tried; none when the
    /// lookup failed.
    pub fn found(&mut self, server: usize, addresses: &[SocketAddr], now: Tick) {
        if let Some(target) = self.targets.get_mut(server) {
            target.found(addresses, now);
        }
    }

    /// From now on nothing waits to fill a batch.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.targets.iter_mut().for_each(Target::hurry);
    }

    /// What is to be done now. To be called until there is nothing. `datagram` is cleared, and then holds what
    /// [`Action::Send`] is to send.
    pub fn poll(&mut self, now: Now, datagram: &mut Vec<u8>) -> Option<Action> {
        datagram.clear();
        for (server, target) in self.targets.iter_mut().enumerate() {
            match target.poll(now, &mut self.marks, datagram) {
                Some(TargetAction::Send(to)) => return Some(Action::Send(to)),
                Some(TargetAction::LookUp) => return Some(Action::LookUp(server)),
                Some(TargetAction::Tell(event)) => {
                    return Some(Action::Tell(Notice {
                        server: alloc::format!("{}", target.remote()),
                        event,
                    }));
                }
                None => (),
            }
        }
        None
    }

    /// When [`poll`](Self::poll) will next have something to do, if nothing happens until then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.targets.iter().filter_map(Target::next_deadline).min()
    }

    /// Whether nothing is under way, nor could be sent to a server that answers: a stop need not wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.targets.iter().all(Target::is_idle)
    }

    /// The servers, in the order of their numbers, and what became of the digests for them.
    pub fn totals(&self) -> impl Iterator<Item = (&Remote, Totals)> {
        self.targets.iter().map(|target| (target.remote(), target.totals()))
    }
}
