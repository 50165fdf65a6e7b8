//! The clients, which repeat lost requests, and the attackers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::Digest;

use crate::context::Context;
use crate::event::Event;
use crate::invariant::{Checked, Invariant};
use crate::payload::{Content, Payload, RequestSpec, SignatureKind, Signer};
use crate::rules::{Rules, USERS, WORDS};

/// The time after which a client sends a request again.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a client sends a request.
const ATTEMPTS: u32 = 3;
/// The longest time to the reply of a probe after all faults.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);
/// The time after which a probe is sent again.
const PROBE_PAUSE: Duration = Duration::from_millis(300);

/// Errors of clients' clocks, in seconds.
const DRIFTS: [i64; 5] = [-299, 298, 303, -303, 100_000];

/// Payloads that attackers can send again: the first ones.
const OVERHEARD: usize = 50;

#[derive(Debug)]
pub(crate) struct Clients {
    clients: BTreeMap<SocketAddr, Client>,
    /// Digests that many clients use.
    popular: [Digest; 3],
    /// Sent payloads that attackers can send again.
    overheard: Vec<Arc<Payload>>,
    sources: u16,
    threads: u64,
}

/// A client with one request, on its own port.
#[derive(Debug)]
struct Client {
    payload: Arc<Payload>,
    /// How often the request was sent.
    sent: u32,
    /// The request is sent until the reply is not 500, and must have that reply in time.
    probe: bool,
    code: Option<u16>,
}

impl Clients {
    pub(crate) fn new(context: &mut Context) -> Self {
        let popular = std::array::from_fn(|_| Digest::new(context.random.bytes()));
        Self { clients: BTreeMap::new(), popular, overheard: Vec::new(), sources: 0, threads: 0 }
    }

    /// Adds a client that sends a request after `delay`.
    pub(crate) fn ask(&mut self, context: &mut Context, rules: &Rules, delay: Duration) {
        let payload = self.request(context, rules).into_payload();
        self.add(context, payload, delay, false);
    }

    /// Adds probes: a client for each operation and user.
    pub(crate) fn probe(&mut self, context: &mut Context, rules: &Rules) {
        for user in [None].into_iter().chain(USERS.map(Some)) {
            for op in WORDS {
                let digests = vec![Digest::new(context.random.bytes())];
                let thread = self.thread();
                let signer = user.map(|user| Signer {
                    user,
                    key: rules.key(user),
                    time: context.clock.seconds(),
                    signature: SignatureKind::Valid,
                });
                let version = Some("2.1");
                let request =
                    RequestSpec { op, digests, bad_digest: false, version, signer, thread, padding: 0 };
                self.add(context, request.into_payload(), Duration::ZERO, true);
            }
        }
    }

    /// Checks that every probe has a reply.
    pub(crate) fn check_probes(&self) -> Checked {
        let unanswered = |client: &&Client| client.probe && !client.is_satisfied();
        match self.clients.values().find(unanswered) {
            None => Ok(()),
            Some(client) => Err(Invariant::Recovers.broken(format!(
                "within {PROBE_TIMEOUT:?} after all faults the last code is {:?} for {:?}",
                client.code, client.payload.content
            ))),
        }
    }

    pub(crate) const fn probe_time() -> Duration {
        PROBE_TIMEOUT
    }

    fn add(&mut self, context: &mut Context, payload: Arc<Payload>, delay: Duration, probe: bool) {
        // Hosts of other clients may have used up their limit.
        let address = if probe { self.address_in(context, 198) } else { self.address(context) };
        self.clients.insert(address, Client { payload, sent: 0, probe, code: None });
        context.after(delay, Event::Send { client: address });
    }

    /// Sends a client's request, for the first time or again.
    pub(crate) fn send(&mut self, context: &mut Context, address: SocketAddr) {
        let Some(client) = self.clients.get_mut(&address) else { return };
        if client.is_satisfied() || !client.probe && client.sent == ATTEMPTS {
            return;
        }
        client.sent += 1;
        context.note(|| format!("{address} sends {:?}", client.payload.content));
        context.send(address, &client.payload);
        context.after(if client.probe { PROBE_PAUSE } else { TIMEOUT }, Event::Send { client: address });
        if self.overheard.len() < OVERHEARD {
            self.overheard.push(Arc::clone(&client.payload));
        }
    }

    /// Records the reply to a client.
    pub(crate) fn replied(&mut self, address: SocketAddr, code: u16) {
        if let Some(client) = self.clients.get_mut(&address) {
            client.code = Some(code);
        }
    }

    /// Draws a request.
    fn request(&mut self, context: &mut Context, rules: &Rules) -> RequestSpec {
        let signer = context.random.percent(50).then(|| {
            let user = context.random.pick(&USERS);
            // Some clocks are wrong, and some keys are outdated.
            let drift = if context.random.percent(90) { 0 } else { context.random.pick(&DRIFTS) };
            let key = if context.random.percent(90) { rules.key(user) } else { "2".to_owned() };
            Signer { user, key, time: context.clock.seconds() + drift, signature: SignatureKind::Valid }
        });
        let count = context.random.pick(&[1, 1, 1, 2, 3, 20, 120, 140]);
        let digests = (0..count).map(|_| self.digest(context)).collect();
        let op =
            context.random.pick(&["check", "check", "report", "report", "info", "whitelist", "ping", "pong"]);
        RequestSpec {
            op,
            digests,
            bad_digest: false,
            version: Some("2.1"),
            signer,
            thread: self.thread(),
            padding: 0,
        }
    }

    fn digest(&self, context: &mut Context) -> Digest {
        let fresh = Digest::new(context.random.bytes());
        if context.random.percent(50) { fresh } else { context.random.pick(&self.popular) }
    }

    /// Sends a datagram that no client sends.
    pub(crate) fn attack(&mut self, context: &mut Context, rules: &Rules) {
        let mut source = self.address(context);
        let payload = match context.random.between(0, 7) {
            0 => {
                Arc::new(Payload { bytes: context.random.bytes::<40>().into(), content: Content::NoRequest })
            }
            // A reply of the server; an empty datagram if there is none.
            1 => {
                let index = context.random.index(context.replies.len());
                let bytes = context.replies.get(index).cloned().unwrap_or_default();
                Arc::new(Payload { bytes, content: Content::NoRequest })
            }
            2 => self.scrambled(context),
            // The payload of another client.
            3 | 4 => {
                let index = context.random.index(self.overheard.len());
                let Some(payload) = self.overheard.get(index) else { return };
                Arc::clone(payload)
            }
            5 => {
                source.set_port(0);
                self.request(context, rules).into_payload()
            }
            _ => self.malformed(context, rules).into_payload(),
        };
        // With the address of a waiting client.
        if context.random.percent(20)
            && let Some(address) = self.clients.keys().next_back()
        {
            source = *address;
        }
        context.note(|| format!("{source} attacks with {:?}", payload.content));
        context.send(source, &payload);
    }

    /// Floods the server: from one host, from many, or with the address of a waiting client.
    pub(crate) fn flood(&mut self, context: &mut Context, rules: &Rules) {
        let mut request = self.request(context, rules);
        let overheard = self.overheard.get(context.random.index(self.overheard.len())).map(Arc::clone);
        let payload = match (context.random.between(0, 2), overheard) {
            (0, Some(payload)) => payload,
            (0 | 1, _) => {
                request.signer.iter_mut().for_each(|signer| signer.signature = SignatureKind::Tampered);
                request.into_payload()
            }
            _ => RequestSpec { op: "ping", digests: Vec::new(), signer: None, ..request }.into_payload(),
        };
        let mut source = self.address(context);
        if let (true, Some(address)) = (context.random.percent(40), self.clients.keys().next_back()) {
            source = *address;
        }
        let many = context.random.percent(25);
        context.note(|| format!("{source} begins a flood of {:?}", payload.content));
        for _ in 0..context.random.magnitude(9) {
            if many {
                source = self.address(context);
            }
            context.send(source, &payload);
        }
    }

    /// Draws a request with a defect.
    fn malformed(&mut self, context: &mut Context, rules: &Rules) -> RequestSpec {
        let mut request = self.request(context, rules);
        match context.random.between(0, 6) {
            0 => request.op = context.random.pick(&WORDS),
            1 => {
                let versions = [None, Some("3.0"), Some("two"), Some("2.9"), Some("")];
                request.version = context.random.pick(&versions);
            }
            2 => request.bad_digest = true,
            3 => request.digests.clear(),
            4 => request.padding = 8000 + context.random.index(1001),
            _ => {
                let signature = context.random.pick(&[SignatureKind::Tampered, SignatureKind::Missing]);
                if let Some(signer) = &mut request.signer {
                    signer.signature = signature;
                }
            }
        }
        request
    }

    /// Draws a ping with a few changed bytes. Such a change cannot make it a report or a whitelisting.
    fn scrambled(&mut self, context: &mut Context) -> Arc<Payload> {
        let thread = self.thread();
        let mut bytes = format!("Op: ping\nThread: {thread}\nPV: 2.1\n\n").into_bytes();
        for _ in 0..context.random.between(1, 3) {
            let index = context.random.index(bytes.len());
            let [byte] = context.random.bytes();
            if let Some(place) = bytes.get_mut(index) {
                *place = byte;
            }
        }
        Arc::new(Payload { bytes, content: Content::Scrambled })
    }

    fn thread(&mut self) -> u64 {
        self.threads += 1;
        self.threads
    }

    fn address(&mut self, context: &mut Context) -> SocketAddr {
        self.address_in(context, 192)
    }

    fn address_in(&mut self, context: &mut Context, network: u8) -> SocketAddr {
        self.sources = self.sources.checked_add(1).unwrap_or(1);
        let [a, b] = context.random.bytes();
        SocketAddr::new(IpAddr::from([network, 0, a, b]), self.sources.max(1))
    }
}

impl Client {
    fn is_satisfied(&self) -> bool {
        // A signed request is repeated after a failure, as by a server that forwards.
        let repeats = self.probe
            || matches!(&self.payload.content, Content::Request(request) if request.signer.is_some());
        self.code.is_some_and(|code| !repeats || code != 500)
    }
}
