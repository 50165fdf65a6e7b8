//! Requests with unusual values of headers.

use super::generator::{Generator, ODD_TEXTS, OPERATIONS};
use super::headers::render;

impl Generator {
    /// A request with any version.
    pub(super) fn of_a_version(&mut self) -> Vec<u8> {
        const VERSIONS: [&str; 34] = [
            "2",
            "2.0",
            "2.9",
            "2.99999999999999999999",
            "2.",
            "1.9999",
            "3",
            "3.0",
            "-2",
            "-2.5",
            "0",
            "",
            " ",
            "x",
            "2.1x",
            "2,1",
            "+2.1",
            ".2e1",
            "2e0",
            "20e-1",
            "2E400",
            "inf",
            "-inf",
            "Infinity",
            "nan",
            "NaN",
            "1e308",
            "0x2",
            "2_0e-1_0",
            "2.0_1",
            "_2",
            "2\n .1",
            "2.1 \t",
            "1e400",
        ];
        let mut headers = self.own_headers();
        headers.retain(|(name, _)| *name != "PV");
        if self.random.percent(90) {
            headers.push(("PV", self.random.pick(&VERSIONS).as_bytes().to_vec()));
        }
        self.written(headers)
    }

    /// A request with malformed digests.
    pub(super) fn with_odd_digests(&mut self) -> Vec<u8> {
        let mut headers =
            vec![("Op", self.random.pick(&OPERATIONS).as_bytes().to_vec()), ("PV", b"2.1".to_vec())];
        for _ in 0..self.random.below(4) {
            let spare = self.spare_digest();
            let digest = match self.random.below(6) {
                0 => spare.to_ascii_uppercase(),
                1 => [&spare[..], b"0"].concat(),
                2 => spare[..39].to_vec(),
                3 => [&spare[..], b" "].concat(),
                4 => [&spare[..20], b"\n ", &spare[20..]].concat(),
                _ => spare,
            };
            headers.push(("Op-Digest", digest));
        }
        headers.push(("Thread", self.thread()));
        self.written(headers)
    }

    /// A request with an unknown operation.
    pub(super) fn unknown_operation(&mut self) -> Vec<u8> {
        const WORDS: [&str; 11] = [
            "train",
            "frobnicate",
            "PING",
            "Check",
            "check ",
            "",
            "all",
            "allow",
            "report whitelist",
            "x\n y",
            "TRAIN",
        ];
        let mut headers = self.headers();
        headers[0].1 = self.random.pick(&WORDS).as_bytes().to_vec();
        self.written(headers)
    }

    /// A request with an unusual `Thread`, or without one.
    pub(super) fn with_odd_thread(&mut self) -> Vec<u8> {
        const THREADS: [&[u8]; 13] = [
            b"",
            b"0",
            b"-1",
            b"a b  c",
            b"x ",
            b"x\t\t",
            b"1\n 2\n\t3",
            b"1\r\n 2",
            b"Count: 5",
            b"=?utf-8?q?x?=",
            b"\0",
            b"\x7f\x1b[0m",
            b"\n 5",
        ];
        let mut headers = self.headers();
        headers.retain(|(name, _)| *name != "Thread");
        match self.random.below(4) {
            0 => (),
            1 => headers.push(("Thread", vec![b't'; self.random.below(3000)])),
            2 => {
                headers.retain(|(name, _)| *name != "Op-Digest");
                headers.insert(1, ("Thread", self.random.pick(&ODD_TEXTS).to_vec()));
                headers.push(("Op-Digest", self.spare_digest()));
                return render(&headers);
            }
            _ => headers.insert(1, ("Thread", self.random.pick(&THREADS).to_vec())),
        }
        self.written(headers)
    }

    /// A request with bytes beyond ASCII, or control characters, in one header.
    pub(super) fn not_ascii(&mut self) -> Vec<u8> {
        let text = self.random.pick(&ODD_TEXTS).to_vec();
        let mut headers =
            vec![("Op", self.random.pick(&OPERATIONS).as_bytes().to_vec()), ("PV", b"2.1".to_vec())];
        headers.push(("Thread", self.thread()));
        headers.push(("Op-Digest", self.spare_digest()));
        let user = self.user().0;
        match self.random.below(6) {
            0 => headers[0].1 = text,
            1 => headers[1].1.extend(text),
            2 => headers.push(("User", text)),
            3 => headers.extend([("User", user.as_bytes().to_vec()), ("Time", text), ("Sig", b"0".to_vec())]),
            4 => headers[3].1 = text,
            _ => headers.push(("X-Odd", text)),
        }
        render(&headers)
    }
}
