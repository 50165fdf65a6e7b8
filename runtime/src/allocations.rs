//! A test that a datagram costs no allocation, from its receipt to its reply, with metrics and with forwarding.

use std::net::UdpSocket;
use std::time::Duration;

use pyzord_core::client::Remote;
use pyzord_core::{
    AccessOrder, HashedKey, HeaderBlock, Limits, MemoryStore, Now, Policy, Progress, Record, Server, Store,
    StoreAnswer, StoreCall, StoreFailure, Task, UnixTime,
};
use pyzord_engines::Gdbm;

use crate::clock::Clock;
use crate::context::WorkerContext;
use crate::counters::Counters;
use crate::datagrams::ReceiveMode;
use crate::forward::Forwarding;
use crate::guard::shared_guard;
use crate::service::{Service, Stores};
use crate::socket::Sockets;

const ACCOUNTS: &[u8] = b"bob : 0123456789abcdef0123456789abcdef01234567";
const ACCESS: &[u8] = b"all : anonymous : allow\nall : bob : allow\n";

/// Returns one datagram of each kind, refused and ignored ones too.
fn datagrams(now: UnixTime) -> Vec<Vec<u8>> {
    let key = HashedKey::new(b"bob", b"0123456789abcdef0123456789abcdef01234567");
    let mut datagrams =
        vec![b"no request".to_vec(), Vec::new(), [&b"Op: ping\n"[..], &[b'x'; 9000]].concat()];
    for op in ["ping", "pong", "check", "info", "report", "whitelist", "frobnicate"] {
        let digest = "Op-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\n";
        let request = format!("Op: {op}\n{digest}Thread: 12345\nPV: 2.1\n");
        datagrams.push(format!("{request}\n").into_bytes());
        datagrams.push(format!("Op: {op}\n{}Thread: 12345\nPV: 2.1\n\n", digest.repeat(20)).into_bytes());
        for user in ["bob", "eve"] {
            let signed = format!("{request}User: {user}\nTime: {}\n", now.seconds());
            let signature = key.sign(HeaderBlock::new(signed.as_bytes()), now.seconds());
            datagrams.push([signed.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat());
        }
    }
    datagrams
}

/// Sends all datagrams to a worker with warm buffers, and returns the number of its allocations.
fn allocations<S: Store + Clone>(store: &S) -> u64 {
    allocations_of(Stores::Local { workers: vec![store.clone()], large: store.clone() }, store.clone())
}

fn allocations_of<S: Store>(stores: Stores<S>, upkeep: S) -> u64 {
    let sockets = Sockets::bind("127.0.0.1", 0, 1).unwrap();
    sockets.iter().for_each(|socket| socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap());
    let (policy, _) = Policy::parse(Some(ACCOUNTS), Some(ACCESS), AccessOrder::FirstMatch);
    let counters = Counters::detailed(1);
    // To a server that never answers. Allocations of the forwarding thread are not counted.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = Remote::new("127.0.0.1", silent.local_addr().unwrap().port());
    let forwarding = Forwarding::start(vec![remote], Duration::from_secs(60)).unwrap();
    let service = Service {
        sockets: &sockets,
        server: Server::new(policy, shared_guard(Limits::default()).unwrap()),
        counters: &counters,
        stores,
        upkeep,
        cleanup: None,
        reload: &mut || None,
        on_answered: &|answered| {
            assert!(answered.usage().count() > 0);
            forwarding.hand_over(answered);
        },
        supervisor: None,
    };
    let context = WorkerContext::new(&service);
    let mut parts = context.parts(service);
    let mut worker = context.worker(parts.backends.pop().unwrap());
    let mut executor = context.executor(parts.pool_stores.pop().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(sockets.address().unwrap()).unwrap();
    let datagrams = datagrams(Clock::start().now().wall);
    let mut serve = || {
        for datagram in &datagrams {
            client.send(datagram).unwrap();
        }
        while worker.serve(ReceiveMode::NonBlocking) {}
        context.serve_waiting(&mut executor);
    };
    // The first rounds make room in the buffers.
    for _ in 0..3 {
        serve();
    }
    let counted = allocation_counter::measure(&mut serve);
    let answered = format!("{} answered", 4 * (datagrams.len() - 2));
    assert!(counters.to_string().contains(&answered), "{counters}");
    counted.count_total
}

#[test]
fn a_datagram_costs_no_allocation() {
    assert_eq!(allocations(&MemoryStore::new()), 0);
}

#[test]
fn a_datagram_costs_no_allocation_with_gdbm() {
    let directory = tempfile::tempdir().unwrap();
    let store = Gdbm::open(&directory.path().join("pyzord.db")).unwrap();
    assert_eq!(allocations(&store), 0);
}

/// Reads and counts come together, and share a digest, too.
#[test]
fn a_datagram_costs_no_allocation_with_split_stores() {
    let store = MemoryStore::new();
    let stores = Stores::Split { readers: vec![store.clone()], writers: vec![store.clone()] };
    assert_eq!(allocations_of(stores, store), 0);
}

/// The counter itself works.
#[test]
fn an_allocation_is_counted() {
    assert!(allocations(&Wasteful) > 0);
}

#[derive(Clone)]
struct Wasteful;

impl Store for Wasteful {
    fn execute(&mut self, _: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        answers.extend(vec![Ok(Record::default()); calls.len()]);
    }

    fn upkeep(&mut self, _: Now, _: Task) -> Result<Progress, StoreFailure> {
        Ok(Progress::Done)
    }
}
