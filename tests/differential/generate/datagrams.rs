//! Datagrams of unusual size, datagrams that are not requests, and mutated requests.

use super::generator::{Generator, OPERATIONS};
use super::headers::render;

impl Generator {
    /// A request with many digests.
    pub(super) fn with_many_digests(&mut self) -> Vec<u8> {
        let op = self.random.pick(&OPERATIONS).as_bytes().to_vec();
        let mut headers = vec![("Op", op), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        for _ in 0..self.random.below(150) {
            headers.push(("Op-Digest", self.sound_digest()));
        }
        self.written(headers)
    }

    /// A request of about 8192 bytes or more.
    pub(super) fn too_long(&mut self) -> Vec<u8> {
        let op = self.random.pick(&OPERATIONS).as_bytes().to_vec();
        let mut headers = vec![("Op", op), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        for _ in 0..140 {
            headers.push(("Op-Digest", self.spare_digest()));
        }
        let mut text = self.written(headers);
        let length = self.random.pick(&[8191, 8192, 8193, 8250, 9000, 20_000]);
        text.pop();
        text.extend_from_slice(b"X-Padding: ");
        text.resize(length, b'x');
        text
    }

    /// A datagram that is not a request.
    pub(super) fn without_op(&mut self) -> Vec<u8> {
        let mut headers = self.headers();
        headers.retain(|(name, _)| *name != "Op");
        match self.random.below(4) {
            0 => b"Code: 200\nDiag: OK\nPV: 2.1\nThread: 12345\n\n".to_vec(),
            1 => [&b"\n\n\nOp: ping\n"[..], &render(&headers)].concat(),
            2 => self.random.pick(&[&b"x"[..], b"\n", b"\0\0", b": Op\n", b"Op ping", b"Op"]).to_vec(),
            _ => self.written(headers),
        }
    }

    /// A request so short that a reply with the whole `Diag` exceeds three times its size.
    pub(super) fn tiny(&mut self) -> Vec<u8> {
        const TINY: [&str; 9] = [
            "Op:",
            "Op: ping",
            "Op:ping\nPV:2",
            "Op:pong\nPV:2",
            "Op:x\nPV:2.1",
            "Op:x\nThread:7",
            "Op:\nUser:x",
            "Op:check\nPV:2.1",
            "Op:\nPV:9\nThread:",
        ];
        self.random.pick(&TINY).as_bytes().to_vec()
    }

    /// A request with some changed, removed or repeated bytes.
    pub(super) fn mutated(&mut self) -> Vec<u8> {
        let headers = self.own_headers();
        let mut text = self.written(headers);
        for _ in 0..=self.random.below(3) {
            let at = self.random.below(text.len());
            match self.random.below(4) {
                0 => text[at] = self.random.byte(),
                1 => text[at] ^= 1 << self.random.below(8),
                2 => drop(text.remove(at)),
                _ => text.insert(at, text[at]),
            }
        }
        text
    }

    /// Header lines in any order, with any line breaks.
    pub(super) fn lines(&mut self) -> Vec<u8> {
        const LINES: [&str; 22] = [
            "Op: check",
            "Op: report",
            "op:ping",
            "OP:  pong",
            "Op : info",
            "Thread: 7",
            "thread:",
            "PV: 2.1",
            "pv:2",
            "User: anonymous",
            "User:",
            "User: bob",
            " folded",
            "\t",
            "",
            ": empty name",
            "From somebody",
            "From: x",
            "no colon",
            "X: 1",
            "Sig: 0",
            "Time: 5",
        ];
        const BREAKS: [&str; 6] = ["\n", "\n", "\n", "\r\n", "\r", "\n\n"];
        let mut text = Vec::new();
        for _ in 0..2 + self.random.below(9) {
            if self.random.percent(15) {
                text.extend_from_slice(b"Op-Digest: ");
                text.extend(self.spare_digest());
            } else {
                text.extend_from_slice(self.random.pick(&LINES).as_bytes());
            }
            text.extend_from_slice(self.random.pick(&BREAKS).as_bytes());
        }
        text
    }
}
