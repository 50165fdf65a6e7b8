//! Forwarding of counts to other servers.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::client::condition::Condition;
use crate::client::event::{ServerEvent, Unreachable};
use crate::client::marks::Marks;
use crate::client::remote::Remote;
use crate::client::target::{Target, TargetAction, Totals};
use crate::counted::Counted;
use crate::protocol::origin::Origin;
use crate::protocol::reply::Reply;
use crate::time::{Now, Tick};

/// The next step for the driver of a [`Forwarder`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an action that is dropped is never done"]
pub enum Action {
    /// Send the datagram in the caller's buffer. An error is handled like a missing reply; pass one that names its cause to
    /// [`Forwarder::unreachable`].
    Send(SocketAddr),
    /// Look up the addresses of the server with this number, and pass them to [`Forwarder::found`].
    LookUp(usize),
    /// Log this event.
    Log(ServerEvent),
}

/// How one server fares.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Standing<'a> {
    /// The server.
    pub remote: &'a Remote,
    /// The digests for it.
    pub totals: Totals,
    /// Whether it takes what it is sent.
    pub condition: &'a Condition,
    /// When it last counted a request.
    pub delivered: Option<Tick>,
}

/// Forwards reports and whitelistings to other servers. Each server has a queue of its own.
///
/// A pure state machine. Its driver passes in counts, datagrams and addresses with [`count`](Self::count),
/// [`received`](Self::received) and [`found`](Self::found), then calls [`poll`](Self::poll) until it returns `None`, and
/// waits for the next input or the [deadline](Self::next_deadline).
///
/// A request has up to ten digests of one operation and is sent at the latest a second after its first digest was
/// counted. A reply other than 200 is handled by its cause:
///
/// - **No reply in time, but others since**: the request or its reply is lost. It may have been counted, so it is sent
///   again only with an account, and to a server that says in its replies that it counts copies of a signed request once:
///   with the same bytes, three times in all.
/// - **No reply for half a second, and no other since**: the server is pinged once. If it does not answer that either, it
///   is failing after a second, or later if its replies take long; the log says so.
/// - **No reply in time, and no other since**: the server is down. It is pinged about every time-out, and everything else waits.
///   When it answers, pending requests are sent again by the same rule.
/// - **500**: the server's database failed. The request is sent again after 1, 2, 4 seconds and so on, seven times in all,
///   by the same rule, or if the reply says that nothing was counted.
/// - **Any other code**: the request is dropped.
///
/// A request that may have been counted keeps its bytes, and is given up when half of
/// [`MAX_CLOCK_DIFFERENCE`](crate::MAX_CLOCK_DIFFERENCE) has passed since it was signed.
///
/// Forwarded requests are marked, and [`Answered::counted`](crate::Answered::counted) leaves marked ones out, so no
/// server forwards them again. Other implementations do not mark them: so no digest is forwarded to the host that it
/// came from, unless that is a loopback address, which local clients have.
#[derive(Clone, Debug)]
pub struct Forwarder {
    targets: Vec<Target>,
    marks: Marks,
    stopping: bool,
}

impl Forwarder {
    /// Returns a forwarder without work. `timeout` is the time for a reply. `secret` is 16 random bytes, so that the marks
    /// of its requests cannot be predicted.
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

    /// Returns what marks the requests. A server that is [given it](crate::Server::with_origin) refuses them: it forwards
    /// to itself.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.marks.origin()
    }

    /// Takes a digest that was counted. A full queue drops its oldest digest.
    pub fn count(&mut self, counted: Counted, now: Tick) {
        self.targets.iter_mut().for_each(|target| target.count(counted, now));
    }

    /// Takes a digest for the server with this number that an earlier forwarder has left [unsent](Self::unsent).
    pub fn restore(&mut self, server: usize, counted: Counted, now: Tick) {
        if let Some(target) = self.targets.get_mut(server) {
            target.restore(counted, now);
        }
    }

    /// Returns the digests that were never sent, each with the number of its server. Digests whose request is unanswered
    /// are not among them: whether they are counted is unknown.
    pub fn unsent(&self) -> impl Iterator<Item = (usize, Counted)> {
        let numbered = self.targets.iter().enumerate();
        numbered.flat_map(|(server, target)| target.unsent().map(move |counted| (server, counted)))
    }

    /// Takes a datagram. It is ignored unless it is the reply to a pending request.
    pub fn received(&mut self, from: SocketAddr, datagram: &[u8], now: Tick) {
        let Ok(reply) = Reply::parse(datagram) else { return };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        self.targets.iter_mut().any(|target| target.received(from, &reply, now));
    }

    /// Takes the addresses of the server with this number, in the order in which they are tried; none if the lookup
    /// failed.
    pub fn found(&mut self, server: usize, addresses: &[SocketAddr], now: Tick) {
        if let Some(target) = self.targets.get_mut(server) {
            target.found(addresses, now);
        }
    }

    /// Takes what the network says of the last datagram to this address. The server's [condition](Self::standings) and the
    /// log say so at once; requests still wait for their replies, since such a message is easily forged.
    pub fn unreachable(&mut self, to: SocketAddr, why: Unreachable, now: Tick) {
        self.targets.iter_mut().for_each(|target| target.unreachable(to, why, now));
    }

    /// Prepares for a stop: sends the waiting digests without waiting until they fill a request.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.targets.iter_mut().for_each(Target::hurry);
    }

    /// Returns the next action; call it until it returns `None`. `datagram` is cleared and filled with what
    /// [`Action::Send`] sends.
    pub fn poll(&mut self, now: Now, datagram: &mut Vec<u8>) -> Option<Action> {
        datagram.clear();
        for (server, target) in self.targets.iter_mut().enumerate() {
            match target.poll(now, &mut self.marks, datagram) {
                Some(TargetAction::Send(to)) => return Some(Action::Send(to)),
                Some(TargetAction::LookUp) => return Some(Action::LookUp(server)),
                Some(TargetAction::Log(event)) => {
                    return Some(Action::Log(ServerEvent {
                        server: alloc::format!("{}", target.remote()),
                        event,
                    }));
                }
                None => (),
            }
        }
        None
    }

    /// Returns when [`poll`](Self::poll) next has an action, if there is no input before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.targets.iter().filter_map(Target::next_deadline).min()
    }

    /// Whether a stop need not wait: no request is pending, and none can be sent to a server that answers.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.targets.iter().all(Target::is_idle)
    }

    /// Returns how each server fares, in the order of their numbers.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.targets.iter().map(|target| Standing {
            remote: target.remote(),
            totals: target.totals(),
            condition: target.condition(),
            delivered: target.delivered(),
        })
    }

    /// Returns the servers in the order of their numbers, and the totals of each.
    pub fn totals(&self) -> impl Iterator<Item = (&Remote, Totals)> {
        self.targets.iter().map(|target| (target.remote(), target.totals()))
    }
}
