//! Which node has which slot, as a node of the cluster tells.

use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo};

use super::super::connection::{Connection, ConnectionError, ExchangeError};
use super::super::reply::{self, ReplyError};
use super::super::request::Request;
use super::super::resp::{Replies, Reply};
use super::slot::{SLOTS, Slot};
use crate::address::{host_and_port, parse_port};
use crate::hosts::Host;
use crate::wire::{Deadline, Limits};

/// The most nodes that a cluster may have: redis advises up to a thousand.
pub(super) const MOST_NODES: usize = 2000;
/// The largest reply that describes a cluster.
const LARGEST: usize = 16 << 20;
/// Among so many tags there is one of each slot.
const MOST_TAGS: u32 = 1_000_000;
/// The number that stands for no node.
const NONE: u16 = u16::MAX;

/// The nodes of a cluster, and the owner of each slot.
#[derive(Debug)]
pub(super) struct Topology {
    /// The masters, and those that were named by a redirection.
    pub(super) masters: Vec<Host>,
    /// The other nodes, which know the topology as well.
    pub(super) replicas: Vec<Host>,
    /// For each slot the index of its master.
    owners: Box<[u16]>,
}

/// Where a node sends a call that it does not execute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Redirection {
    pub(super) slot: Slot,
    pub(super) host: Host,
    /// Only this call goes there, as the slot is moving.
    pub(super) ask: bool,
}

/// Why the topology is not known.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum TopologyError {
    #[error("{0}: {1}")]
    Connect(Host, ConnectionError),
    #[error("{0}: {1}")]
    Exchange(Host, ExchangeError),
    #[error("{0} refuses CLUSTER SLOTS: {1}")]
    Refused(Host, ReplyError),
    #[error("{0}: its answer to CLUSTER SLOTS is not understood")]
    Malformed(Host),
    #[error("{0}: no slot has a node yet")]
    Empty(Host),
    #[error("the cluster has more than {MOST_NODES} nodes")]
    TooMany,
    #[error("there is no node to ask")]
    NoNode,
}

impl Topology {
    /// Returns the state in which nothing is known but some nodes.
    pub(super) fn unknown() -> Self {
        Self { masters: Vec::new(), replicas: Vec::new(), owners: vec![NONE; SLOTS].into() }
    }

    /// Returns whether the owner of any slot is known.
    pub(super) fn is_known(&self) -> bool {
        self.owners.iter().any(|owner| *owner != NONE)
    }

    /// Returns for each master that has slots one of them, and a tag that has it.
    pub(super) fn tagged_slots(&self) -> Vec<(Slot, u32)> {
        let mut seen = vec![false; self.masters.len()];
        let mut left = seen.iter().zip(0..).filter(|(_, master)| self.owners.contains(master)).count();
        let mut found = Vec::new();
        for tag in 0..MOST_TAGS {
            if left == 0 {
                break;
            }
            let slot = Slot::of(tag.to_string().as_bytes());
            if let Some(seen) = self.owner(slot).and_then(|owner| seen.get_mut(owner))
                && !std::mem::replace(seen, true)
            {
                found.push((slot, tag));
                left -= 1;
            }
        }
        found
    }

    /// Returns the index of a slot's master.
    pub(super) fn owner(&self, slot: Slot) -> Option<usize> {
        self.owners.get(slot.number()).filter(|owner| **owner != NONE).map(|owner| usize::from(*owner))
    }

    /// Gives a slot to a master that has just been told. Returns the index of the master, or `None` if there are too many.
    pub(super) fn adopt(&mut self, slot: Slot, host: &Host) -> Option<usize> {
        let index = self.index(host)?;
        if let (Some(owner), Ok(index)) = (self.owners.get_mut(slot.number()), u16::try_from(index)) {
            *owner = index;
        }
        Some(index)
    }

    /// Returns the index of a master, which is added if it is new.
    pub(super) fn index(&mut self, host: &Host) -> Option<usize> {
        if let Some(index) = self.masters.iter().position(|master| master == host) {
            return Some(index);
        }
        if self.masters.len() >= MOST_NODES {
            return None;
        }
        self.masters.push(host.clone());
        Some(self.masters.len() - 1)
    }

    /// Reads the answer to `CLUSTER SLOTS` of the node `asked`.
    fn read(reply: Reply<'_>, asked: &Host) -> Result<Self, TopologyError> {
        let malformed = || TopologyError::Malformed(asked.clone());
        let ranges = match reply {
            Reply::Array(ranges) => ranges,
            other => return Err(TopologyError::Refused(asked.clone(), reply::error(other))),
        };
        let mut topology = Self::unknown();
        for range in ranges.iter() {
            let Reply::Array(parts) = range else { return Err(malformed()) };
            let mut parts = parts.iter();
            let (Some(Reply::Number(first)), Some(Reply::Number(last)), Some(master)) =
                (parts.next(), parts.next(), parts.next())
            else {
                return Err(malformed());
            };
            let (first, last) = (slot(first).ok_or_else(malformed)?, slot(last).ok_or_else(malformed)?);
            let master = node(master, asked).ok_or_else(malformed)?;
            let index = topology.index(&master).ok_or(TopologyError::TooMany)?;
            let index = u16::try_from(index).map_err(|_| TopologyError::TooMany)?;
            let owners = topology.owners.get_mut(first.number()..=last.number()).ok_or_else(malformed)?;
            // A slot has one master: an answer that says another thing is wrong.
            if owners.is_empty() || owners.iter().any(|owner| *owner != NONE) {
                return Err(malformed());
            }
            owners.fill(index);
            for replica in parts.filter_map(|replica| node(replica, asked)) {
                if topology.replicas.len() < MOST_NODES && !topology.replicas.contains(&replica) {
                    topology.replicas.push(replica);
                }
            }
        }
        if topology.masters.is_empty() { Err(TopologyError::Empty(asked.clone())) } else { Ok(topology) }
    }
}

impl Redirection {
    /// Reads the details of the errors MOVED and ASK: a slot and an address. An address without a host is on the host of the
    /// node that sends it.
    pub(super) fn read(code: &str, details: &str, sender: &Host) -> Option<Self> {
        let (number, address) = details.split_once(' ')?;
        let slot = number.parse().ok().and_then(Slot::new)?;
        let (name, port) = address.rsplit_once(':')?;
        let name = if matches!(name, "" | "?") { sender.name.as_str() } else { name };
        Some(Self { slot, host: host(name, parse_port(port)?)?, ask: code == "ASK" })
    }
}

/// Asks nodes for the topology, one after another, until one tells. Each has this much time.
pub(super) fn ask(info: &ConnectionInfo, nodes: &[Host], limit: Duration) -> Result<Topology, TopologyError> {
    let mut last = TopologyError::NoNode;
    for host in nodes {
        match ask_node(info, host, limit) {
            Ok(topology) => return Ok(topology),
            Err(error) => {
                log::debug!("{error}");
                last = error;
            }
        }
    }
    Err(last)
}

/// Asks a server whether it is a node of a cluster.
pub(in super::super) fn is_node(
    info: &ConnectionInfo,
    host: &Host,
    limit: Duration,
) -> Result<(), TopologyError> {
    ask_node(info, host, limit).map(drop)
}

fn ask_node(info: &ConnectionInfo, host: &Host, limit: Duration) -> Result<Topology, TopologyError> {
    let connection = Connection::open(&at(info, host), limit);
    let mut connection = connection.map_err(|error| TopologyError::Connect(host.clone(), error))?;
    let (mut request, mut replies) = (Request::default(), Replies::default());
    request.command(&[b"CLUSTER", b"SLOTS"]);
    let limits = Limits { deadline: Deadline::after(limit), pause: limit, reply: LARGEST };
    connection
        .exchange(&request, limits, &mut replies)
        .map_err(|error| TopologyError::Exchange(host.clone(), error))?;
    let reply = replies.first().ok_or_else(|| TopologyError::Malformed(host.clone()))?;
    Topology::read(reply, host)
}

/// Returns how a node is connected to: as the DSN says, with the node's address.
pub(super) fn at(info: &ConnectionInfo, host: &Host) -> ConnectionInfo {
    let (name, port) = (host.name.clone(), host.port);
    info.clone().set_addr(match info.addr() {
        ConnectionAddr::TcpTls { .. } => {
            ConnectionAddr::TcpTls { host: name, port, insecure: false, tls_params: None }
        }
        _ => ConnectionAddr::Tcp(name, port),
    })
}

fn slot(number: i64) -> Option<Slot> {
    usize::try_from(number).ok().and_then(Slot::new)
}

/// Reads the address of a node: the endpoint that it prefers, the port, the id, and further addresses by their kind.
fn node(parts: Reply<'_>, asked: &Host) -> Option<Host> {
    let Reply::Array(parts) = parts else { return None };
    let mut parts = parts.iter();
    let (endpoint, Reply::Number(port)) = (text(parts.next()?)?, parts.next()?) else { return None };
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    let name = match endpoint {
        // The node does not know its own address, or must not tell it: it is where the asked one is.
        None | Some("") => asked.name.as_str(),
        // The node prefers a name and has none.
        Some("?") => parts.nth(1).and_then(ip).unwrap_or(&asked.name),
        Some(name) => name,
    };
    host(name, port)
}

/// Returns the IP address among the further addresses of a node.
fn ip(metadata: Reply<'_>) -> Option<&str> {
    let Reply::Array(pairs) = metadata else { return None };
    let mut pairs = pairs.iter();
    while let (Some(kind), Some(value)) = (pairs.next(), pairs.next()) {
        if text(kind)? == Some("ip") {
            return text(value)?;
        }
    }
    None
}

/// Returns a text, `Some(None)` for the null that stands for none, and `None` for anything else.
fn text(value: Reply<'_>) -> Option<Option<&str>> {
    match value {
        Reply::Nil => Some(None),
        Reply::Text(text) | Reply::Status(text) => str::from_utf8(text).ok().map(Some),
        _ => None,
    }
}

/// Returns the host of this name. Logs show it, so it has no character but those of names and addresses.
fn host(name: &str, port: u16) -> Option<Host> {
    let (name, None) = host_and_port(name)? else { return None };
    Some(Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NIL: &str = "$-1\r\n";

    fn asked() -> Host {
        Host { name: "asked".into(), port: 7000 }
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn int(number: i64) -> String {
        format!(":{number}\r\n")
    }

    fn array(elements: &[String]) -> String {
        format!("*{}\r\n{}", elements.len(), elements.concat())
    }

    fn node_at(endpoint: String, port: i64) -> String {
        array(&[endpoint, int(port), bulk("id"), array(&[])])
    }

    fn range(first: i64, last: i64, nodes: &[String]) -> String {
        array(&[&[int(first), int(last)], nodes].concat())
    }

    fn shown(reply: &str) -> String {
        let mut replies = Replies::default();
        replies.begin(1, 1 << 20);
        for piece in reply.as_bytes().chunks(1000) {
            replies.room().unwrap()[..piece.len()].copy_from_slice(piece);
            replies.arrived(piece.len()).unwrap();
        }
        match Topology::read(replies.first().unwrap(), &asked()) {
            Err(error) => error.to_string(),
            Ok(topology) => {
                let owned: Vec<_> =
                    [0, 1, 16383].map(|slot| topology.owner(Slot::new(slot).unwrap())).to_vec();
                let hosts = |hosts: &[Host]| hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(" ");
                format!("{} | {} | {owned:?}", hosts(&topology.masters), hosts(&topology.replicas))
            }
        }
    }

    #[test]
    fn an_answer_becomes_a_table() {
        let ip = array(&[bulk("ip"), bulk("10.0.0.9")]);
        let unnamed = array(&[bulk("?"), int(3), bulk("id"), ip]);
        for (ranges, expected) in [
            (
                vec![
                    range(0, 0, &[node_at(bulk("10.0.0.1"), 1), node_at(bulk("10.0.0.2"), 2)]),
                    range(1, 16383, &[node_at(bulk("::1"), 1)]),
                ],
                "10.0.0.1:1 [::1]:1 | 10.0.0.2:2 | [Some(0), Some(1), Some(1)]",
            ),
            (
                vec![range(16383, 16383, &[node_at(bulk("a"), 1)]), range(0, 0, &[node_at(bulk("a"), 1)])],
                "a:1 |  | [Some(0), None, Some(0)]",
            ),
            (vec![range(0, 1, &[node_at(bulk(""), 1)])], "asked:1 |  | [Some(0), Some(0), None]"),
            (vec![range(0, 1, &[node_at(NIL.to_owned(), 1)])], "asked:1 |  | [Some(0), Some(0), None]"),
            (vec![range(1, 1, &[unnamed])], "10.0.0.9:3 |  | [None, Some(0), None]"),
            (vec![range(1, 1, &[node_at(bulk("?"), 1)])], "asked:1 |  | [None, Some(0), None]"),
        ] {
            assert_eq!(shown(&array(&ranges)), expected);
        }
    }

    #[test]
    fn a_wrong_answer_is_refused() {
        let a = || node_at(bulk("a"), 1);
        for wrong in [
            vec![range(0, 16384, &[a()])],
            vec![range(-1, 0, &[a()])],
            vec![range(2, 1, &[a()])],
            vec![range(0, 5, &[a()]), range(5, 6, &[a()])],
            vec![range(0, 5, &[])],
            vec![range(0, 5, &[node_at(bulk("a"), 0)])],
            vec![range(0, 5, &[node_at(bulk("a"), 65536)])],
            vec![range(0, 5, &[node_at(bulk("a\nb"), 1)])],
            vec![range(0, 5, &[node_at(bulk("a:1"), 1)])],
            vec![range(0, 5, &[node_at(int(3), 1)])],
            vec![range(0, 5, &[bulk("a")])],
            vec![int(3)],
        ] {
            assert_eq!(shown(&array(&wrong)), "asked:7000: its answer to CLUSTER SLOTS is not understood");
        }
        assert_eq!(shown(&array(&[])), "asked:7000: no slot has a node yet");
        let many = (0..=2000).map(|slot| range(slot, slot, &[node_at(bulk("a"), slot + 1)]));
        assert_eq!(shown(&array(&many.collect::<Vec<_>>())), "the cluster has more than 2000 nodes");
    }

    #[test]
    fn a_redirection_names_a_slot_and_a_host() {
        for (details, expected) in [
            ("3999 127.0.0.1:6381", Some("3999 127.0.0.1:6381")),
            ("0 db-1.example.com:1", Some("0 db-1.example.com:1")),
            ("1 ::1:6381", Some("1 [::1]:6381")),
            ("1 :6381", Some("1 asked:6381")),
            ("1 ?:6381", Some("1 asked:6381")),
            ("16384 h:1", None),
            ("-1 h:1", None),
            ("1 h:0", None),
            ("1 h:65536", None),
            ("1 h", None),
            ("1", None),
            ("", None),
            ("1 h\n:1", None),
            ("1 u@h:1", None),
        ] {
            let read = Redirection::read("MOVED", details, &asked());
            let shown = read.map(|read| format!("{} {}", read.slot.number(), read.host));
            assert_eq!(shown.as_deref(), expected, "{details}");
        }
        assert!(Redirection::read("ASK", "1 h:1", &asked()).unwrap().ask);
    }

    #[test]
    fn redirections_do_not_fill_the_memory() {
        let mut topology = Topology::unknown();
        let slot = Slot::new(7).unwrap();
        for port in 1..=3000 {
            topology.adopt(slot, &Host { name: "h".into(), port });
        }
        assert_eq!((topology.masters.len(), topology.owner(slot)), (MOST_NODES, Some(MOST_NODES - 1)));
    }

    proptest! {
        #[test]
        fn no_details_panic(any in any::<String>(), near in "[0-9]{0,6} ?[a-z:.\\[\\]?0-9]{0,12}") {
            for text in [any, near] {
                Redirection::read("MOVED", &text, &asked());
            }
        }
    }
}
