//! Brings calls to the masters of their slots.
//!
//! A round is one round trip to each master that has calls: all requests are sent, and only then the replies are read, with
//! one deadline for all. A call that a master has certainly not executed goes to the right one in the next round.

use std::mem;
use std::thread;
use std::time::Duration;

use ::redis::ConnectionInfo;
use pyzord_core::Tick;

use super::super::options::Options;
use super::super::replicas::{NotReplicated, Replicas};
use super::super::reply::{Refusal, ReplyError};
use super::super::request::Request;
use super::super::resp::Reply;
use super::node::{Asked, Node, Trip};
use super::refresh::Refresh;
use super::slot::Slot;
use super::topology::{Redirection, Topology};
use crate::hosts::Host;
use crate::wire::{Deadline, Limits};

/// How many rounds calls have: while clients wait, which their deadline limits as well, and without.
const ROUNDS: usize = 16;
const PATIENT_ROUNDS: usize = 60;
/// How many of them follow each other without a pause.
const IMMEDIATE_ROUNDS: usize = 8;
/// The first pause before a call is repeated that the cluster can do nothing with at the moment. The next one is twice as
/// long, and so on.
const PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A cluster that was down is not waited for again within this time.
const DOWN: Duration = Duration::from_secs(1);

/// Calls for a cluster.
pub(super) trait Calls {
    /// Returns how many calls there are.
    fn len(&self) -> usize;
    /// Returns the slot of a call's keys.
    fn slot(&mut self, index: usize) -> Slot;
    /// Returns the node that a call is for, if it is not for the master of its slot.
    fn host(&self, _index: usize) -> Option<&Host> {
        None
    }
    /// Returns whether a call writes.
    fn writes(&self, index: usize) -> bool;
    /// Returns whether a call must see what the one before it has written.
    fn follows(&self, _index: usize) -> bool {
        false
    }
    /// Adds the one command of a call; with its mark, if it has one, unless the user lacks the right to marks.
    fn command(&mut self, index: usize, marks: bool, request: &mut Request);
    /// Takes the reply to a call from the node of this name.
    fn reply(&mut self, index: usize, reply: Reply<'_>, node: &str) -> Verdict;
    /// Returns whether a call goes where it is redirected.
    fn redirected(&mut self, _index: usize, _to: &Redirection) -> bool {
        true
    }
    /// Learns that a call has several keys, which are on different nodes while their slot moves. Returns whether it goes on
    /// in steps of one key each.
    fn split(&mut self, _index: usize) -> bool {
        false
    }
    /// Learns that a call was sent and has no reply. Returns whether it may be sent again.
    fn lost(&mut self, index: usize) -> bool;
    /// Learns that a call that has its reply is not on as many replicas as wanted.
    fn not_replicated(&mut self, index: usize, cause: &NotReplicated, node: &str);
    /// Learns that a call was not executed, and why.
    fn refused(&mut self, _index: usize, _cause: &str) {}
}

/// What becomes of a call after its reply.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is over.
    Done,
    /// It is over; the node can do nothing for now, or the wrong node was asked.
    Away(Refusal),
    /// Another command follows.
    Step,
    /// The node does not know the script.
    Spell,
    /// The user lacks the right to marks.
    Unmark,
    /// The connection is out of step.
    OutOfStep,
}

/// Where a call goes in the next round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    /// To the master of its slot.
    Owner,
    /// To this node, though the slot has another master.
    Ask(usize),
    Over,
}

/// When a round follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Next {
    Never,
    AtOnce,
    AfterPause,
}

/// The connections to all masters of a cluster.
#[derive(Debug)]
pub(super) struct Router {
    name: String,
    info: ConnectionInfo,
    options: Options,
    replicas: Option<Replicas>,
    topology: Topology,
    /// One for each master of the topology, in its order.
    nodes: Vec<Node>,
    refresh: Refresh,
    routes: Vec<Route>,
    /// When the cluster last said that it is down, and whether the calls at hand wait if it is.
    down: Option<Tick>,
    waits_if_down: bool,
}

impl Router {
    pub(super) fn new(
        name: String,
        info: ConnectionInfo,
        seeds: Vec<Host>,
        options: Options,
        replicas: Option<Replicas>,
    ) -> Self {
        let refresh = Refresh::new(seeds.clone(), options);
        let mut router = Self {
            name,
            info,
            options,
            replicas,
            topology: Topology::unknown(),
            nodes: Vec::new(),
            refresh,
            routes: Vec::new(),
            down: None,
            waits_if_down: true,
        };
        // Until the topology is known, a node says where a slot is.
        for seed in seeds {
            router.node_index(&seed);
        }
        router
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the limits of calls that begin now.
    pub(super) fn limits(&self) -> Limits {
        let Options { exchange, pause, reply, .. } = self.options;
        Limits { deadline: Deadline::after(exchange), pause, reply }
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Returns why the last question for the topology failed, if it did.
    pub(super) fn topology_failure(&self) -> Option<&str> {
        self.refresh.failure()
    }

    /// Connects to the masters without a wait, but for a moment at the first call. Returns whether calls can be brought to
    /// some of them.
    pub(super) fn prepare(&mut self, now: Tick, moment: Duration) -> bool {
        self.follow(Some(now), moment);
        let mut any = false;
        for node in &mut self.nodes {
            any |= node.begin_connection(now);
        }
        any && self.refresh.has_asked()
    }

    /// Looks for a new topology if one is due. Waits at most `wait` for the first one.
    pub(super) fn follow(&mut self, now: Option<Tick>, wait: Duration) {
        let wait = if self.refresh.has_asked() && now.is_some() { Duration::ZERO } else { wait };
        if let Some(topology) = self.refresh.poll(now, wait, &self.name, &self.info, &self.topology) {
            self.adopt(topology);
        }
    }

    /// Asks for the topology now.
    pub(super) fn look_again(&mut self) {
        self.refresh.expire();
        self.follow(None, self.options.handshake);
    }

    /// Brings calls to their masters, and their replies back. Without a time there are no clients that wait.
    pub(super) fn run(&mut self, now: Option<Tick>, limits: Limits, calls: &mut impl Calls) {
        self.routes.clear();
        self.routes.resize(calls.len(), Route::Owner);
        self.follow(now, limits.deadline.left().unwrap_or_default().min(self.options.connect));
        let down = now.is_some_and(|now| self.down.is_some_and(|down| now.since(down) < DOWN));
        self.waits_if_down = !down;
        let mut pause = PAUSE;
        for round in 0..if now.is_some() { ROUNDS } else { PATIENT_ROUNDS } {
            self.read_again(calls);
            if !self.distribute(now, limits, calls) {
                break;
            }
            match self.round(now, limits, calls) {
                Next::Never => break,
                Next::AtOnce if round < IMMEDIATE_ROUNDS => (),
                Next::AtOnce | Next::AfterPause => {
                    if limits.deadline.left().is_none_or(|left| left < pause * 2) {
                        break;
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if now.is_none() {
                        self.look_again();
                    }
                }
            }
        }
    }

    /// Repeats the reads that were answered before an earlier call on their digest: they have missed its count.
    fn read_again(&mut self, calls: &impl Calls) {
        let mut open = false;
        for (index, route) in self.routes.iter_mut().enumerate() {
            open &= calls.follows(index);
            if open && *route == Route::Over && !calls.writes(index) {
                *route = Route::Owner;
            }
            open |= *route != Route::Over;
        }
    }

    /// Makes the requests of all masters. Returns whether there is one.
    fn distribute(&mut self, now: Option<Tick>, limits: Limits, calls: &mut impl Calls) -> bool {
        self.nodes.iter_mut().for_each(Node::clear);
        let any = self.nodes.iter_mut().position(Node::is_connected).unwrap_or_default();
        for index in 0..self.routes.len() {
            let route = self.routes.get(index).copied().unwrap_or(Route::Over);
            let target = match (route, calls.host(index)) {
                (Route::Over, _) => continue,
                (Route::Ask(node), _) => node,
                (Route::Owner, None) => self.topology.owner(calls.slot(index)).unwrap_or(any),
                (Route::Owner, Some(host)) => {
                    let host = host.clone();
                    self.node_index(&host).unwrap_or(any)
                }
            };
            let Some(node) = self.nodes.get_mut(target) else { continue };
            if let Route::Ask(_) = route {
                node.asked.push(Asked::Asking);
            }
            node.asked.push(Asked::Call(index));
        }
        self.connect(now, limits, calls);
        let mut some = false;
        for node in &mut self.nodes {
            write_request(node, self.replicas, calls);
            some |= !node.asked.is_empty();
        }
        some
    }

    /// Connects to the masters that have calls, all at the same time. The calls of one that is not there are over.
    fn connect(&mut self, now: Option<Tick>, limits: Limits, calls: &mut impl Calls) {
        let needed = |node: &Node| !node.asked.is_empty();
        if let Some(now) = now {
            for node in self.nodes.iter_mut().filter(|node| needed(node)) {
                node.begin_connection(now);
            }
        }
        for node in self.nodes.iter_mut().filter(|node| needed(node)) {
            let wait = limits.deadline.left().unwrap_or_default().min(self.options.connect);
            let connected = match now {
                Some(now) => node.connect(now, wait),
                None => node.wait_for_connection(),
            };
            if !connected {
                self.refresh.expire();
                for asked in mem::take(&mut node.asked) {
                    if let Asked::Call(index) = asked {
                        over(&mut self.routes, index);
                        calls.refused(index, node.cause.as_deref().unwrap_or("there is no connection"));
                    }
                }
            }
        }
        let Some(now) = now else { return };
        let half = Limits { deadline: Deadline::after(self.options.exchange / 2), ..limits };
        let mut asked: Vec<&mut Node> = Vec::new();
        for node in self.nodes.iter_mut().filter(|node| needed(node)) {
            if node.ping(now, half) {
                asked.push(node);
            }
        }
        for node in asked {
            node.answers(now, half);
            // The server has closed one that was idle: another is made at once.
            node.connect(now, half.deadline.left().unwrap_or_default());
        }
    }

    /// Sends the requests, and reads their replies.
    fn round(&mut self, now: Option<Tick>, limits: Limits, calls: &mut impl Calls) -> Next {
        let mut next = Next::Never;
        for index in 0..self.nodes.len() {
            let trip = match self.nodes.get_mut(index) {
                Some(node) if !node.asked.is_empty() => node.send(now, limits),
                _ => continue,
            };
            next = next.max(self.after_trip(index, trip, calls));
        }
        for index in 0..self.nodes.len() {
            let trip = match self.nodes.get_mut(index) {
                Some(node) if !node.asked.is_empty() => node.receive(now, limits),
                _ => continue,
            };
            next = next.max(self.read_replies(now, index, calls));
            next = next.max(self.after_trip(index, trip, calls));
        }
        next
    }

    /// Settles the calls that have no reply, if the trip failed.
    fn after_trip(&mut self, index: usize, trip: Trip, calls: &mut impl Calls) -> Next {
        let Trip::Lost { sent, closed } = trip else { return Next::Never };
        let Some(node) = self.nodes.get_mut(index) else { return Next::Never };
        self.refresh.expire();
        let mut next = Next::Never;
        let answered = mem::take(&mut node.answered);
        for asked in mem::take(&mut node.asked).into_iter().skip(answered) {
            let Asked::Call(call) = asked else { continue };
            let again = (!sent || calls.lost(call)) && closed;
            if again {
                next = Next::AtOnce;
            } else {
                over(&mut self.routes, call);
                if !sent {
                    calls.refused(call, node.cause.as_deref().unwrap_or("there is no connection"));
                }
            }
        }
        next
    }

    /// Hands the replies of a node that have arrived to their calls.
    fn read_replies(&mut self, now: Option<Tick>, index: usize, calls: &mut impl Calls) -> Next {
        let mut next = Next::Never;
        let Some(node) = self.nodes.get_mut(index) else { return next };
        let replies = mem::take(&mut node.replies);
        let asked = mem::take(&mut node.asked);
        node.answered = replies.iter().len();
        for (place, (asked_for, reply)) in asked.iter().zip(replies.iter()).enumerate() {
            match *asked_for {
                Asked::Asking => (),
                Asked::Wait => self.read_wait(index, reply, asked.get(..place).unwrap_or_default(), calls),
                Asked::Call(call) => next = next.max(self.read_reply(now, index, call, reply, calls)),
            }
        }
        if let Some(node) = self.nodes.get_mut(index) {
            (node.asked, node.replies) = (asked, replies);
        }
        next
    }

    /// Tells the calls of a request whether enough replicas have them.
    fn read_wait(&mut self, index: usize, reply: Reply<'_>, asked: &[Asked], calls: &mut impl Calls) {
        let (Some(replicas), Some(node)) = (self.replicas, self.nodes.get(index)) else { return };
        let Err(cause) = replicas.read(reply) else { return };
        for asked in asked {
            match asked {
                Asked::Call(call) if calls.writes(*call) && self.routes.get(*call) == Some(&Route::Over) => {
                    calls.not_replicated(*call, &cause, node.connection.name());
                }
                _ => (),
            }
        }
    }

    fn read_reply(
        &mut self,
        now: Option<Tick>,
        index: usize,
        call: usize,
        reply: Reply<'_>,
        calls: &mut impl Calls,
    ) -> Next {
        if let Some(error) = Refusal::read(reply)
            && let Some(next) = self.follow_error(now, index, call, &error, calls)
        {
            return next;
        }
        let Some(node) = self.nodes.get_mut(index) else { return Next::Never };
        match calls.reply(call, reply, node.connection.name()) {
            Verdict::Done => over(&mut self.routes, call),
            Verdict::Away(refusal) => {
                over(&mut self.routes, call);
                self.refresh.expire();
                if let Some(now) = now {
                    node.connection.doubt(now, &refusal);
                }
            }
            Verdict::OutOfStep => {
                over(&mut self.routes, call);
                node.abandon(now, &ReplyError::Unexpected);
            }
            Verdict::Step => {
                set(&mut self.routes, call, Route::Owner);
                return Next::AtOnce;
            }
            Verdict::Spell => {
                node.spelled = true;
                return Next::AtOnce;
            }
            Verdict::Unmark => {
                if let Some(connection) = node.connection.current() {
                    connection.keeps_marks = false;
                }
                return Next::AtOnce;
            }
        }
        Next::Never
    }

    /// Follows an error of the cluster itself, by which a node has certainly not executed a call. `None` if it is another
    /// error, or leads nowhere.
    fn follow_error(
        &mut self,
        now: Option<Tick>,
        index: usize,
        call: usize,
        error: &Refusal,
        calls: &mut impl Calls,
    ) -> Option<Next> {
        let next = match error.0.code() {
            code @ ("MOVED" | "ASK") => {
                let sender = &self.nodes.get(index)?.host;
                let to = Redirection::read(code, error.0.details().unwrap_or_default(), sender)?;
                let node = self.node_index(&to.host)?;
                if !to.ask {
                    self.refresh.expire();
                    self.topology.adopt(to.slot, &to.host)?;
                }
                if !calls.redirected(call, &to) {
                    over(&mut self.routes, call);
                    return Some(Next::Never);
                }
                set(&mut self.routes, call, if to.ask { Route::Ask(node) } else { Route::Owner });
                Next::AtOnce
            }
            "TRYAGAIN" => {
                set(&mut self.routes, call, Route::Owner);
                if calls.split(call) { Next::AtOnce } else { Next::AfterPause }
            }
            "CLUSTERDOWN" => {
                self.refresh.expire();
                self.down = now;
                self.waits_if_down.then_some(Next::AfterPause)?
            }
            _ => return None,
        };
        calls.refused(call, &error.to_string());
        Some(next)
    }

    /// Returns the index of a master, which is added if it is new; `None` if there are too many.
    fn node_index(&mut self, host: &Host) -> Option<usize> {
        let index = self.topology.index(host)?;
        if index == self.nodes.len() {
            self.nodes.push(Node::new(host.clone(), &self.info, self.options, &self.name));
        }
        Some(index)
    }

    /// Takes a new topology, and keeps the connections to masters that it still has.
    fn adopt(&mut self, topology: Topology) {
        let mut old = mem::take(&mut self.nodes);
        self.nodes = topology
            .masters
            .iter()
            .map(|host| match old.iter().position(|node| node.host == *host) {
                Some(index) => old.swap_remove(index),
                None => Node::new(host.clone(), &self.info, self.options, &self.name),
            })
            .collect();
        self.topology = topology;
        for route in &mut self.routes {
            if let Route::Ask(_) = route {
                *route = Route::Owner;
            }
        }
    }
}

/// Makes the request of a node's calls, with a wait for replicas behind the writes.
fn write_request(node: &mut Node, replicas: Option<Replicas>, calls: &mut impl Calls) {
    node.request.clear();
    node.request.spell_scripts(mem::take(&mut node.spelled));
    let marks = node.connection.current().is_none_or(|connection| connection.keeps_marks);
    let mut writes = false;
    for asked in &node.asked {
        match asked {
            Asked::Asking => node.request.command(&[b"ASKING"]),
            Asked::Call(index) => {
                writes |= calls.writes(*index);
                calls.command(*index, marks, &mut node.request);
            }
            Asked::Wait => (),
        }
    }
    if let Some(replicas) = replicas.filter(|_| writes) {
        node.asked.push(Asked::Wait);
        replicas.wait(&mut node.request);
    }
}

fn over(routes: &mut [Route], call: usize) {
    set(routes, call, Route::Over);
}

fn set(routes: &mut [Route], call: usize, to: Route) {
    if let Some(route) = routes.get_mut(call) {
        *route = to;
    }
}
