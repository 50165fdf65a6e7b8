//! Generates requests: as clients write them, unusual ones and hostile ones.

mod datagrams;
mod generator;
mod headers;
mod layouts;
mod policies;
mod records;
mod signatures;
mod stored;
mod values;

use crate::exchange::{LONG, Marker};
use generator::Generator;
use headers::{render, sign};
pub(crate) use policies::{POLICIES, ServerFiles};
pub(crate) use stored::{STORED, of_kind, stored};

/// The kinds of requests.
const KINDS: [fn(&mut Generator) -> Vec<u8>; 17] = [
    Generator::plain,
    Generator::laid_out,
    Generator::badly_signed,
    Generator::of_a_version,
    Generator::with_odd_digests,
    Generator::with_many_digests,
    Generator::too_long,
    Generator::without_op,
    Generator::tiny,
    Generator::unknown_operation,
    Generator::with_odd_thread,
    Generator::not_ascii,
    Generator::signed_oddly,
    Generator::mutated,
    Generator::lines,
    Generator::of_the_unreadable,
    Generator::of_the_oldest,
];

/// Generates requests and markers for one policy.
pub(crate) struct Requests {
    generator: Generator,
}

impl Requests {
    pub(crate) fn new(seed: u64, files: ServerFiles) -> Self {
        Self { generator: Generator::new(seed, files) }
    }

    /// Returns request number `number`; the kinds take turns.
    pub(crate) fn request(&mut self, number: usize, now: i64) -> Vec<u8> {
        self.generator.now = now;
        KINDS[number % KINDS.len()](&mut self.generator)
    }

    /// Returns the ping that follows request number `number`, by a user with the right to ping. A long request has a long
    /// one.
    pub(crate) fn marker(&self, number: usize, request: &[u8], now: i64) -> Marker {
        let is_long = request.len() > LONG;
        let ping = |digest: &str, thread: &str| {
            let mut headers = vec![
                ("Op", b"ping".to_vec()),
                ("Op-Digest", digest.as_bytes().to_vec()),
                ("Thread", thread.as_bytes().to_vec()),
                ("PV", b"2.1".to_vec()),
            ];
            if is_long {
                headers.push(("Pad", vec![b'x'; LONG]));
            }
            let anonymous_may_ping = self.generator.files.accounts.is_none();
            let datagram =
                if anonymous_may_ping { render(&headers) } else { sign(headers, "marker", "m", now) };
            (datagram, Marker::pong(thread))
        };
        let (datagram, reply) = ping(&Marker::digest(number), &format!("marker-{number}"));
        let flush = is_long.then(|| ping(Marker::FLUSH, &format!("flush-{number}")));
        Marker { datagram, reply, flush }
    }
}
