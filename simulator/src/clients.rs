//! Those who send: honest clients, which repeat what was lost, and peers who are up to something.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pyzord_core::Digest;

use crate::invariant::{Checked, Invariant};
use crate::law::{Rules, USERS, WORDS};
use crate::message::{Content, Message, Parcel, Signature, Signer};
use crate::stage::{Event, Stage};

/// A client waits this long for a reply before it sends again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it sends.
const ATTEMPTS: u32 = 3;
/// After the faults, a client has its answer within this time, asking this often.
const PROBE_WITHIN: Duration = Duration::from_secs(6);
const PROBE_PAUSE: Duration = Duration::from_millis(300);

/// How wrong a wrong client's clock is, in seconds.
const DRIFTS: [i64; 5] = [-299, 298, 303, -303, 100_000];

#[derive(Debug, Default)]
pub(crate) struct Clients {
    honest: BTreeMap<SocketAddr, Client>,
    /// Digests that many report.
    hot: Vec<Digest>,
    /// What was sent and can be sent again by others.
    seen: Vec<Arc<Parcel>>,
    sources: u16,
    threads: u64,
}

/// One request of an honest client. It has a port of its own.
#[derive(Debug)]
struct Client {
    parcel: Arc<Parcel>,
    /// How often it was sent.
    sent: u32,
    /// Sent until the answer is not 500, and soon.
    probe: bool,
    code: Option<u16>,
}

impl Clients {
    pub(crate) fn new(stage: &mut Stage) -> Self {
        let hot = (0..3).map(|_| Digest::new(stage.random.bytes())).collect();
        Self { hot, ..Self::default() }
    }

    /// A client with a request.
    pub(crate) fn ask(&mut self, stage: &mut Stage, rules: &Rules, delay: Duration) {
        let parcel = self.request(stage, rules).into_parcel();
        self.add(stage, parcel, delay, false);
    }

    /// A client that asks for each operation, and must have an answer soon.
    pub(crate) fn probe(&mut self, stage: &mut Stage, rules: &Rules) {
        for user in [None].into_iter().chain(USERS.map(Some)) {
            for op in WORDS {
                let digests = vec![Digest::new(stage.random.bytes())];
                let thread = self.thread();
                let signer = user.map(|user| Signer {
                    user,
                    key: rules.key(user),
                    time: stage.clock.seconds(),
                    signature: Signature::Valid,
                });
                let version = Some("2.1");
                let message = Message { op, digests, bad_digest: false, version, signer, thread, padding: 0 };
                self.add(stage, message.into_parcel(), Duration::ZERO, true);
            }
        }
    }

    /// Every probe has its answer.
    pub(crate) fn check_probes(&self) -> Checked {
        let unanswered = |client: &&Client| client.probe && !client.is_content();
        match self.honest.values().find(unanswered) {
            None => Ok(()),
            Some(client) => Err(Invariant::ComesBack.broken(format!(
                "no answer but {:?} within {PROBE_WITHIN:?} after all faults, to {:?}",
                client.code, client.parcel.content
            ))),
        }
    }

    pub(crate) const fn probe_time() -> Duration {
        PROBE_WITHIN
    }

    fn add(&mut self, stage: &mut Stage, parcel: Arc<Parcel>, delay: Duration, probe: bool) {
        let address = self.address(stage);
        self.honest.insert(address, Client { parcel, sent: 0, probe, code: None });
        stage.after(delay, Event::Send { client: address });
    }

    /// A client sends, the first time or again.
    pub(crate) fn send(&mut self, stage: &mut Stage, address: SocketAddr) {
        let Some(client) = self.honest.get_mut(&address) else { return };
        if client.is_content() || !client.probe && client.sent == ATTEMPTS {
            return;
        }
        client.sent += 1;
        stage.note(|| format!("{address} sends {:?}", client.parcel.content));
        stage.send(address, &client.parcel);
        stage.after(if client.probe { PROBE_PAUSE } else { PATIENCE }, Event::Send { client: address });
        if self.seen.len() < 50 {
            self.seen.push(Arc::clone(&client.parcel));
        }
    }

    pub(crate) fn replied(&mut self, address: SocketAddr, code: u16) {
        if let Some(client) = self.honest.get_mut(&address) {
            client.code = Some(code);
        }
    }

    fn request(&mut self, stage: &mut Stage, rules: &Rules) -> Message {
        let signer = stage.random.percent(50).then(|| {
            let user = stage.random.pick(&USERS).unwrap_or_default();
            // Some clocks are wrong, and some keys are old.
            let drift = if stage.random.percent(90) { 0 } else { stage.random.pick(&DRIFTS).unwrap_or(0) };
            let key = if stage.random.percent(90) { rules.key(user) } else { "2".to_owned() };
            Signer { user, key, time: stage.clock.seconds() + drift, signature: Signature::Valid }
        });
        let count = stage.random.pick(&[1, 1, 1, 2, 3, 20, 120, 140]).unwrap_or(0);
        let digests = (0..count).map(|_| self.digest(stage)).collect();
        let op =
            stage.random.pick(&["check", "check", "report", "report", "info", "whitelist", "ping", "pong"]);
        Message {
            op: op.unwrap_or("ping"),
            digests,
            bad_digest: false,
            version: Some("2.1"),
            signer,
            thread: self.thread(),
            padding: 0,
        }
    }

    fn digest(&self, stage: &mut Stage) -> Digest {
        let fresh = Digest::new(stage.random.bytes());
        if stage.random.percent(50) { fresh } else { stage.random.pick(&self.hot).unwrap_or(fresh) }
    }

    /// Somebody sends what no client would.
    pub(crate) fn mischief(&mut self, stage: &mut Stage, rules: &Rules) {
        let mut source = self.address(stage);
        let parcel = match stage.random.between(0, 7) {
            0 => Arc::new(Parcel { bytes: stage.random.bytes::<40>().into(), content: Content::NoRequest }),
            // A reply comes back as if it were a request.
            1 => {
                let index = stage.random.index(stage.replies.len());
                let bytes = stage.replies.get(index).cloned().unwrap_or_default();
                Arc::new(Parcel { bytes, content: Content::NoRequest })
            }
            2 => self.scrambled(stage),
            // What somebody else sent, from elsewhere.
            3 | 4 => {
                let index = stage.random.index(self.seen.len());
                let Some(parcel) = self.seen.get(index) else { return };
                Arc::clone(parcel)
            }
            5 => {
                source.set_port(0);
                self.request(stage, rules).into_parcel()
            }
            _ => self.malformed(stage, rules).into_parcel(),
        };
        // From the address of a client who waits for something else.
        if stage.random.percent(20)
            && let Some(address) = self.honest.keys().next_back()
        {
            source = *address;
        }
        stage.note(|| format!("{source} is up to {:?}", parcel.content));
        stage.send(source, &parcel);
    }

    /// More than a host may ask for, from one host, from many, or in the name of somebody who waits for something else.
    pub(crate) fn flood(&mut self, stage: &mut Stage, rules: &Rules) {
        let mut message = self.request(stage, rules);
        let overheard = self.seen.get(stage.random.index(self.seen.len())).map(Arc::clone);
        let parcel = match (stage.random.between(0, 2), overheard) {
            (0, Some(parcel)) => parcel,
            (0 | 1, _) => {
                message.signer.iter_mut().for_each(|signer| signer.signature = Signature::Tampered);
                message.into_parcel()
            }
            _ => Message { op: "ping", digests: Vec::new(), signer: None, ..message }.into_parcel(),
        };
        let mut source = self.address(stage);
        if let (true, Some(address)) = (stage.random.percent(40), self.honest.keys().next_back()) {
            source = *address;
        }
        let many = stage.random.percent(25);
        stage.note(|| format!("{source} begins a flood of {:?}", parcel.content));
        for _ in 0..stage.random.magnitude(9) {
            if many {
                source = self.address(stage);
            }
            stage.send(source, &parcel);
        }
    }

    fn malformed(&mut self, stage: &mut Stage, rules: &Rules) -> Message {
        let mut message = self.request(stage, rules);
        match stage.random.between(0, 6) {
            0 => message.op = stage.random.pick(&WORDS).unwrap_or("ping"),
            1 => {
                let versions = [None, Some("3.0"), Some("two"), Some("2.9"), Some("")];
                message.version = stage.random.pick(&versions).flatten();
            }
            2 => message.bad_digest = true,
            3 => message.digests.clear(),
            4 => message.padding = usize::try_from(stage.random.between(8000, 9000)).unwrap_or(0),
            _ => {
                let signature = stage.random.pick(&[Signature::Tampered, Signature::Missing]);
                if let (Some(signer), Some(signature)) = (&mut message.signer, signature) {
                    signer.signature = signature;
                }
            }
        }
        message
    }

    /// A ping with a few bytes changed. No such change makes it a request that counts.
    fn scrambled(&mut self, stage: &mut Stage) -> Arc<Parcel> {
        let thread = self.thread();
        let mut bytes = format!("Op: ping\nThread: {thread}\nPV: 2.1\n\n").into_bytes();
        for _ in 0..stage.random.between(1, 3) {
            let index = stage.random.index(bytes.len());
            let [byte] = stage.random.bytes();
            if let Some(place) = bytes.get_mut(index) {
                *place = byte;
            }
        }
        Arc::new(Parcel { bytes, content: Content::Scrambled })
    }

    fn thread(&mut self) -> u64 {
        self.threads += 1;
        self.threads
    }

    fn address(&mut self, stage: &mut Stage) -> SocketAddr {
        self.sources = self.sources.checked_add(1).unwrap_or(1);
        let [a, b] = stage.random.bytes();
        SocketAddr::new(IpAddr::from([192, 0, a, b]), self.sources.max(1))
    }
}

impl Client {
    fn is_content(&self) -> bool {
        self.code.is_some_and(|code| !self.probe || code != 500)
    }
}
