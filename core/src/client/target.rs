//! One server that digests are sent to, and the requests that are pending there.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::backoff::Backoff;
use crate::client::address::Addresses;
use crate::client::condition::{Condition, Watch};
use crate::client::event::{Cause, Event, Unreachable};
use crate::client::marks::Marks;
use crate::client::message::Message;
use crate::client::patience::Patience;
use crate::client::queue::{BATCH, ROOM, SendQueue};
use crate::client::remote::Remote;
use crate::counted::Counted;
use crate::protocol::digest::Digest;
use crate::protocol::operation::Operation;
use crate::protocol::reply::Reply;
use crate::protocol::signature::MAX_CLOCK_DIFFERENCE;
use crate::protocol::thread::Thread;
use crate::time::{Now, Tick};

/// The most requests that are pending at once.
const WINDOW: usize = 32;
/// How often a request without a reply is sent.
const UNANSWERED_TRIES: u32 = 3;
/// How often a request that is answered with 500 is sent, if it may be repeated: for about a minute.
const FAILED_TRIES: u32 = 7;
/// The pause after the first 500.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The time for which a signature is used, which leaves as much for clocks that differ.
const SIGNED_FOR: Duration = Duration::from_secs(MAX_CLOCK_DIFFERENCE.as_secs() / 2);
/// So many requests in a row without a reply mean that the server loses them, though it answers pings.
const LOST: u32 = 2;
/// Dropped digests are reported at most once in this time.
const DROPPED_PERIOD: Duration = Duration::from_secs(60);

/// The digests for one server, by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// The server counted them.
    pub accepted: u64,
    /// The server refused them.
    pub refused: u64,
    /// They were sent, not answered, and not sent again: whether they are counted is unknown.
    pub unanswered: u64,
    /// They were dropped from a full queue.
    pub dropped: u64,
    /// They came from the server's own host and were not sent back.
    pub withheld: u64,
    /// They wait or are pending.
    pub waiting: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, unanswered, dropped, withheld, waiting } = self;
        write!(
            f,
            "{accepted} digests accepted, {refused} refused, {unanswered} unanswered, {dropped} dropped, \
             {withheld} not sent back, {waiting} waiting"
        )
    }
}

/// The next step for one server.
pub(super) enum TargetAction {
    Send(SocketAddr),
    LookUp,
    Log(Event),
}

#[derive(Clone, Debug)]
pub(super) struct Target {
    remote: Remote,
    timeout: Duration,
    addresses: Addresses,
    queues: [SendQueue; 2],
    requests: Vec<PendingRequest>,
    /// Whether it answers. A server that does not is pinged until it does.
    up: bool,
    /// The ping under way.
    ping: Option<Ping>,
    backoff: Backoff,
    patience: Patience,
    watch: Watch,
    /// When it last answered.
    heard: Option<Tick>,
    /// When it last counted a request.
    delivered: Option<Tick>,
    /// The requests without a reply since the last one with a reply.
    lost: u32,
    /// When that was sent whose silence the watch knows of.
    watched: Option<Tick>,
    /// Whether its last reply says that it counts copies of a signed request once.
    copies_once: bool,
    events: VecDeque<Event>,
    dropped_silent_until: Tick,
    dropped_unreported: u64,
    totals: Totals,
}

/// A ping without a reply yet.
#[derive(Clone, Copy, Debug)]
struct Ping {
    thread: Thread,
    to: SocketAddr,
    sent: Tick,
    give_up: Tick,
}

/// Digests that were sent, or are about to be.
#[derive(Clone, Debug)]
struct PendingRequest {
    operation: Operation,
    digests: Vec<Digest>,
    thread: Thread,
    /// The signed request; empty until it is signed.
    datagram: Vec<u8>,
    signed: Tick,
    sent: Tick,
    to: Option<SocketAddr>,
    tries: u32,
    /// Whether a try may have been counted.
    doubtful: bool,
    due: Due,
}

/// The next step for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// Its time for a reply ends.
    TimeOut(Tick),
    /// It is sent, again or for the first time.
    Send(Tick),
}

impl Target {
    pub(super) fn new(remote: Remote, timeout: Duration, now: Tick) -> Self {
        Self {
            addresses: Addresses::new(&remote, now),
            remote,
            timeout,
            queues: [SendQueue::new(Operation::Report), SendQueue::new(Operation::Whitelist)],
            requests: Vec::new(),
            up: true,
            ping: None,
            backoff: Backoff::new(),
            patience: Patience::new(timeout),
            watch: Watch::default(),
            heard: None,
            delivered: None,
            lost: 0,
            watched: None,
            copies_once: false,
            events: VecDeque::new(),
            dropped_silent_until: Tick::default(),
            dropped_unreported: 0,
            totals: Totals::default(),
        }
    }

    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { waiting: self.waiting(), ..self.totals }
    }

    pub(super) const fn condition(&self) -> &Condition {
        self.watch.condition()
    }

    pub(super) const fn delivered(&self) -> Option<Tick> {
        self.delivered
    }

    pub(super) fn count(&mut self, counted: Counted, now: Tick) {
        // Never back to its origin: a server that does not mark what it forwards would send it here again.
        if counted.peer.is_some_and(|peer| !peer.is_loopback() && self.addresses.contain(peer)) {
            self.totals.withheld += 1;
            return;
        }
        let [reports, whitelists] = &mut self.queues;
        let queue = if counted.whitelisted { whitelists } else { reports };
        if !queue.push(counted.digest, now) {
            self.totals.dropped += 1;
            self.dropped_unreported += 1;
            if !self.watch.fails() {
                self.watch.failed(Cause::Slow, now, now);
            }
        }
    }

    /// Takes a reply. Returns `false` if it answers no request to this server.
    pub(super) fn received(&mut self, from: SocketAddr, reply: &Reply<'_>, now: Tick) -> bool {
        if self.ping.is_some_and(|ping| (ping.thread, ping.to) == (reply.thread, from)) {
            self.ping = None;
            self.answered(reply, now);
            return true;
        }
        let answers = |request: &PendingRequest| (request.thread, request.to) == (reply.thread, Some(from));
        let Some(index) = self.requests.iter().position(answers) else { return false };
        self.answered(reply, now);
        let waited = self.waiting();
        let mut request = self.requests.swap_remove(index);
        let digests = request.digests.len() as u64;
        request.doubtful &= !reply.uncounted;
        self.lost = 0;
        self.patience.replied(now.since(request.sent));
        if reply.is_ok() {
            self.totals.accepted += digests;
            self.delivered = Some(now);
            if !self.is_slow() {
                self.events.extend(self.watch.succeeded(now, waited));
            }
            return true;
        }
        self.watch.failed(Cause::answered(reply.code, reply.diag), request.sent, now);
        if reply.is_temporary() && request.tries < FAILED_TRIES && self.may_repeat(&request, now) {
            let pause = FIRST_PAUSE.saturating_mul(1 << (request.tries.max(1) - 1));
            request.due = Due::Send(now.after(pause));
            self.requests.push(request);
        } else {
            self.totals.refused += digests;
        }
        true
    }

    /// Takes what the network says of a datagram to this address. It may be forged, so it changes no request.
    pub(super) fn unreachable(&mut self, to: SocketAddr, why: Unreachable, now: Tick) {
        let sent = self.unanswered().filter(|(at, _)| *at == to).map(|(_, sent)| sent).min();
        if let Some(sent) = sent {
            self.watch.failed(Cause::Unreachable(why), sent, now);
        }
    }

    pub(super) fn found(&mut self, addresses: &[SocketAddr], now: Tick) {
        self.addresses.found(addresses, now);
        if self.addresses.current().is_none() {
            self.fall_silent(now);
            self.watch.failed(Cause::Nowhere, now, now);
        } else if self.watch.lacks_address() {
            // A ping tells whether all is well now, also if there is nothing to send.
            self.fall_silent(now);
        }
    }

    /// Takes a digest that an earlier forwarder has left [unsent](Self::unsent).
    pub(super) fn restore(&mut self, counted: Counted, now: Tick) {
        self.count(Counted { peer: None, ..counted }, now);
    }

    /// Returns the digests that were never sent, the oldest of each operation first.
    pub(super) fn unsent(&self) -> impl Iterator<Item = Counted> {
        let gathered = self.requests.iter().filter(|request| request.tries == 0);
        let gathered =
            gathered.flat_map(|request| request.digests.iter().map(|digest| (*digest, request.operation)));
        let waiting =
            self.queues.iter().flat_map(|queue| queue.iter().map(|digest| (digest, queue.operation)));
        gathered
            .chain(waiting)
            .map(|(digest, operation)| Counted::new(digest, operation == Operation::Whitelist, None))
    }

    pub(super) fn hurry(&mut self) {
        self.queues.iter_mut().for_each(SendQueue::hurry);
    }

    pub(super) fn poll(
        &mut self,
        now: Now,
        marks: &mut Marks,
        datagram: &mut Vec<u8>,
    ) -> Option<TargetAction> {
        self.time_out(now.tick);
        self.give_up(now.tick);
        self.judge(now.tick);
        if self.dropped_unreported > 0 && self.dropped_silent_until <= now.tick {
            self.dropped_silent_until = now.tick.after(DROPPED_PERIOD);
            let digests = core::mem::take(&mut self.dropped_unreported);
            self.events.push_back(Event::Dropped { digests });
        }
        if let Some(event) = self.events.pop_front().or_else(|| self.watch.poll(now.tick)) {
            return Some(TargetAction::Log(event));
        }
        if self.addresses.lookup_at().is_some_and(|at| at <= now.tick) {
            self.addresses.asked(now.tick);
            return Some(TargetAction::LookUp);
        }
        let to = self.addresses.current()?;
        if self.ping_at().is_some_and(|at| at <= now.tick) {
            return Some(self.ping(to, now, marks, datagram));
        }
        if self.up { self.send(to, now, marks, datagram) } else { None }
    }

    pub(super) fn next_deadline(&self) -> Option<Tick> {
        if !self.events.is_empty() {
            return Some(Tick::default());
        }
        let up = self.up && self.addresses.current().is_some();
        let ping = self.ping_at().or(self.ping.map(|ping| ping.give_up));
        let dropped = (self.dropped_unreported > 0).then_some(self.dropped_silent_until);
        let room = up && self.requests.len() < WINDOW;
        let requests = self.requests.iter().filter_map(|request| match request.due {
            Due::TimeOut(at) => Some(at),
            Due::Send(at) => up.then_some(at),
        });
        let queues = self.queues.iter().filter(|_| room).filter_map(SendQueue::due_at);
        let others = [self.addresses.lookup_at(), ping, dropped, self.watch.due_at(), self.judge_at()];
        let others = others.into_iter().flatten();
        others.chain(requests).chain(queues).min()
    }

    pub(super) fn is_idle(&self) -> bool {
        let nothing = self.requests.is_empty() && self.queues.iter().all(|queue| queue.len() == 0);
        nothing || !self.up || self.addresses.current().is_none()
    }

    /// Sends the request that is due, or one of the waiting digests.
    fn send(
        &mut self,
        to: SocketAddr,
        now: Now,
        marks: &mut Marks,
        datagram: &mut Vec<u8>,
    ) -> Option<TargetAction> {
        let is_due = |request: &PendingRequest| matches!(request.due, Due::Send(at) if at <= now.tick);
        let index = self.requests.iter().position(is_due).or_else(|| self.gather(now.tick, marks))?;
        let give_up = now.tick.after(self.timeout);
        let Self { requests, remote, .. } = self;
        // What may have been counted is repeated with the same bytes only, or given up.
        let fresh = requests.get(index).is_some_and(|request| {
            request.datagram.is_empty() || !request.doubtful && request.is_stale(now.tick)
        });
        let thread = fresh.then(|| unused(requests, marks));
        let request = requests.get_mut(index)?;
        if let Some(thread) = thread {
            request.thread = thread;
            request.signed = now.tick;
            request.datagram.clear();
            let PendingRequest { operation, ref digests, .. } = *request;
            let message = Message { operation, digests, thread, forwarded: Some(marks.origin()) };
            message.write(&remote.credentials, now.wall, &mut request.datagram);
        }
        request.to = Some(to);
        request.sent = now.tick;
        request.tries += 1;
        request.doubtful = true;
        request.due = Due::TimeOut(give_up);
        datagram.extend_from_slice(&request.datagram);
        Some(TargetAction::Send(to))
    }

    /// Adds a request of the digests that are due, if there is room for one.
    fn gather(&mut self, now: Tick, marks: &mut Marks) -> Option<usize> {
        if self.requests.len() >= WINDOW {
            return None;
        }
        let is_due = |queue: &&mut SendQueue| queue.due_at().is_some_and(|at| at <= now);
        let queue = self.queues.iter_mut().find(is_due)?;
        self.requests.push(PendingRequest {
            operation: queue.operation,
            digests: queue.take(now),
            thread: marks.next(),
            datagram: Vec::new(),
            signed: now,
            sent: now,
            to: None,
            tries: 0,
            doubtful: false,
            due: Due::Send(now),
        });
        Some(self.requests.len() - 1)
    }

    fn ping(&mut self, to: SocketAddr, now: Now, marks: &mut Marks, datagram: &mut Vec<u8>) -> TargetAction {
        let thread = unused(&self.requests, marks);
        let message =
            Message { operation: Operation::Ping, digests: &[], thread, forwarded: Some(marks.origin()) };
        message.write(&self.remote.credentials, now.wall, datagram);
        self.ping = Some(Ping { thread, to, sent: now.tick, give_up: now.tick.after(self.timeout) });
        TargetAction::Send(to)
    }

    /// Returns when the next ping is due: one while the server does not answer, and one before a silent server counts as
    /// such, since a single datagram may be lost.
    fn ping_at(&self) -> Option<Tick> {
        if self.ping.is_some() || self.addresses.current().is_none() {
            return None;
        }
        if !self.up {
            return Some(self.backoff.ready_at());
        }
        self.silent_since().map(|sent| self.patience.probe_at(sent))
    }

    /// Returns the address and the time of everything that waits for a reply.
    fn unanswered(&self) -> impl Iterator<Item = (SocketAddr, Tick)> {
        let is_sent = |request: &&PendingRequest| matches!(request.due, Due::TimeOut(_));
        let requests = self.requests.iter().filter(is_sent);
        let requests = requests.filter_map(|request| request.to.map(|to| (to, request.sent)));
        requests.chain(self.ping.map(|ping| (ping.to, ping.sent)))
    }

    /// Returns when the oldest request was sent that has no reply, if the server has not answered since.
    fn silent_since(&self) -> Option<Tick> {
        let since = self.unanswered().map(|(_, sent)| sent);
        since.filter(|sent| self.heard.is_none_or(|heard| heard <= *sent)).min()
    }

    /// Returns what has no answer yet, and would be a failure, and when it becomes one.
    fn judge_at(&self) -> Option<Tick> {
        let silent = self.silent_since().filter(|sent| self.watched.is_none_or(|watched| watched < *sent));
        let silent = silent.map(|sent| self.patience.ends_at(sent));
        let unresolved = self.addresses.unresolved_since().filter(|_| !self.watch.fails());
        silent.into_iter().chain(unresolved.map(|asked| self.patience.ends_at(asked))).min()
    }

    /// Notes a failure of which nothing tells but the time, and its end.
    fn judge(&mut self, now: Tick) {
        if let Some(asked) = self.addresses.unresolved_since()
            && self.patience.ends_at(asked) <= now
            && !self.watch.fails()
        {
            self.watch.failed(Cause::Unresolved, asked, now);
        }
        if let Some(sent) = self.silent_since()
            && self.patience.ends_at(sent) <= now
            && self.watched.is_none_or(|watched| watched < sent)
        {
            self.watched = Some(sent);
            self.watch.failed(Cause::Silent, sent, now);
        }
        let waiting = self.waiting();
        if self.watch.answers_again() && waiting == 0 || self.watch.is_slow() && !self.is_slow() {
            self.events.extend(self.watch.succeeded(now, waiting));
        }
    }

    /// Whether so many digests wait that the next ones may find no room.
    fn is_slow(&self) -> bool {
        self.watch.is_slow() && self.queues.iter().any(|queue| queue.len() > ROOM / 2)
    }

    fn waiting(&self) -> u64 {
        let under_way: usize = self.requests.iter().map(|request| request.digests.len()).sum();
        let waiting: usize = self.queues.iter().map(SendQueue::len).sum();
        (under_way + waiting) as u64
    }

    /// Handles each request whose time for a reply is over.
    fn time_out(&mut self, now: Tick) {
        if let Some(ping) = self.ping.take_if(|ping| ping.give_up <= now)
            && !self.up
        {
            self.backoff.failed(now);
            self.addresses.failed();
            self.watch.failed(Cause::Silent, ping.sent, now);
        }
        let signed = !self.remote.credentials.are_anonymous();
        let (heard, copies_once, totals) = (self.heard, self.copies_once, &mut self.totals);
        let (mut silent, mut lost) = (None, None);
        self.requests.retain_mut(|request| {
            if !matches!(request.due, Due::TimeOut(at) if at <= now) {
                return true;
            }
            let alive = heard.is_some_and(|heard| heard > request.sent);
            silent = silent.or((!alive).then_some(request.sent));
            lost = Some(request.sent);
            self.lost += 1;
            // If the server is silent, its next reply says whether it counts copies once.
            let again = signed && (copies_once || !alive) && request.tries < UNANSWERED_TRIES;
            if again {
                request.due = Due::Send(now);
            } else {
                totals.unanswered += request.digests.len() as u64;
            }
            again
        });
        if let Some(sent) = silent {
            self.fall_silent(now);
            self.watch.failed(Cause::Silent, sent, now);
        } else if let Some(sent) = lost
            && self.lost >= LOST
        {
            self.watch.failed(Cause::Lost, sent, now);
        }
    }

    /// Whether a request may be repeated: no try of it can have been counted, or the server counts its copies once.
    fn may_repeat(&self, request: &PendingRequest, now: Tick) -> bool {
        let signed = !self.remote.credentials.are_anonymous();
        !request.doubtful || signed && self.copies_once && !request.is_stale(now)
    }

    /// Gives up requests that must not be repeated, so that no digest counts twice.
    fn give_up(&mut self, now: Tick) {
        let up = self.up;
        let mut requests = core::mem::take(&mut self.requests);
        requests.retain(|request| {
            let waits = matches!(request.due, Due::Send(_));
            let given_up = waits && request.doubtful && (up || request.is_stale(now));
            let kept = !given_up || self.may_repeat(request, now);
            if !kept {
                self.totals.unanswered += request.digests.len() as u64;
            }
            kept
        });
        self.requests = requests;
    }

    /// Records that the server does not answer: it is pinged from now on.
    fn fall_silent(&mut self, now: Tick) {
        if self.up {
            self.up = false;
            self.backoff.failed(now);
        }
    }

    /// Records that the server has answered.
    fn answered(&mut self, reply: &Reply<'_>, now: Tick) {
        self.heard = Some(now);
        self.copies_once = reply.copies_once;
        self.up = true;
        self.backoff.succeeded();
        self.watch.answered();
    }
}

impl PendingRequest {
    /// Whether its signature is too old to be sent.
    const fn is_stale(&self, now: Tick) -> bool {
        now.since(self.signed).as_secs() > SIGNED_FOR.as_secs()
    }
}

/// Returns a mark that no pending request has.
fn unused(requests: &[PendingRequest], marks: &mut Marks) -> Thread {
    loop {
        let thread = marks.next();
        if requests.iter().all(|request| request.thread != thread) {
            return thread;
        }
    }
}

// The pending requests have fewer digests than the queue, so the queue bounds the memory.
const _: () = assert!(WINDOW * BATCH < ROOM);
