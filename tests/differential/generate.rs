//! Requests: as clients write them, odd and hostile.

use pyzord_core::{HashedKey, HeaderBlock};

use crate::exchange::Marker;
use crate::random::Random;

/// The files of one policy, with who may sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) accounts: Option<&'static str>,
    pub(crate) access: Option<&'static str>,
    pub(crate) users: &'static [(&'static str, &'static str)],
}

const USERS: [(&str, &str); 3] = [("bob", "5ecre7"), ("eve", "ABCdef0123"), ("Ann", "a b,c")];
const ACCOUNTS: &str = "bob : 5ecre7\neve:ABCdef0123\n\n# the others\nAnn : a b,c\nmarker : m\n";

/// What the servers are run with. In the access files the last match is the one that counts.
pub(crate) const POLICIES: [Policy; 4] = [
    Policy { accounts: None, access: None, users: &[] },
    Policy {
        accounts: Some(ACCOUNTS),
        access: Some(
            "all : all : allow\nwhitelist : eve : deny\nfrobnicate : bob : allow\n\
             check report ping pong info train : anonymous : allow\nreport : anonymous : deny\n",
        ),
        users: &USERS,
    },
    Policy {
        accounts: Some(ACCOUNTS),
        access: Some(
            "check report:bob:allow\nALL : eve : Allow\nreport : eve : deny\nping : marker bob : allow\n",
        ),
        users: &USERS,
    },
    Policy {
        accounts: Some(ACCOUNTS),
        access: Some("all : anonymous bob eve marker : allow\ntrain frobnicate : anonymous eve : allow\n"),
        users: &USERS,
    },
];

/// What a digest has in the store before the first request.
pub(crate) const STORED: &[(&str, &str)] = &[
    ("sound", "1,7,2024-01-09 12:00:00.250007,2024-03-09 12:00:01,0,None,None"),
    ("sound", "1,0,None,None,3,2024-01-09 12:00:00,2024-03-09 12:00:01.999999"),
    ("sound", "1,5,2023-01-09 12:00:00,2024-03-09 12:00:01,9,2022-01-09 12:00:00,2025-03-09 12:00:01"),
    ("sound", "1,9223372036854775807,2024-01-09 12:00:00,2024-03-09 12:00:01,9223372036854775806,None,None"),
    ("sound", "1,0,None,None,0,None,None"),
    ("oldest", "17,1300000000,1400000000"),
    ("unreadable", "1,not,a,record,at,all,really"),
    ("unreadable", "2,5,None,None,0,None,None"),
    ("unreadable", ""),
    ("unreadable", "1,5,2024-02-30 12:00:00,None,0,None,None"),
];

/// The digest of a row of [`STORED`]; the numbers behind them are digests that are not stored.
pub(crate) fn stored(number: usize) -> String {
    format!("da39a3ee5e6b4b0d3255bfef95601890{number:08x}")
}

const OPERATIONS: [&str; 6] = ["ping", "pong", "check", "info", "report", "whitelist"];

/// Values that are not ASCII, that Python's `str.splitlines` breaks where no header line ends, or with a blank at the
/// end of a line.
const ODD_TEXTS: [&[u8]; 10] = [
    b"1\n 2 \n   3",
    b"1\n \n 3",
    b"caf\xc3\xa9",
    b"\xff",
    b"\x80\x81",
    b"a\x0bb",
    b"a\x0cb",
    b"a\x1cb\x1d",
    b"x\x1ey",
    b"\xc2\x85",
];

type Headers = Vec<(&'static str, Vec<u8>)>;

/// Makes requests for one policy.
pub(crate) struct Generator {
    random: Random,
    policy: Policy,
    /// Unix time.
    now: i64,
    spare: usize,
}

impl Generator {
    pub(crate) fn new(seed: u64, policy: Policy) -> Self {
        Self { random: Random::new(seed), policy, now: 0, spare: 0 }
    }

    /// The `number`th request; the kinds take turns, so that each of them comes.
    pub(crate) fn request(&mut self, number: usize, now: i64) -> Vec<u8> {
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
        self.now = now;
        KINDS[number % KINDS.len()](self)
    }

    /// The ping that follows the `number`th request, by a user who may.
    pub(crate) fn marker(&self, number: usize, now: i64) -> Marker {
        let headers = vec![
            ("Op", b"ping".to_vec()),
            ("Op-Digest", Marker::digest(number).into_bytes()),
            ("Thread", Marker::thread(number).into_bytes()),
            ("PV", b"2.1".to_vec()),
        ];
        let may_all = self.policy.accounts.is_none();
        let datagram = if may_all { render(&headers) } else { sign(headers, "marker", "m", now) };
        Marker { datagram, reply: Marker::reply(number) }
    }

    /// As Python's client writes it.
    fn plain(&mut self) -> Vec<u8> {
        let headers = self.headers();
        self.signed_by_somebody(headers)
    }

    fn headers(&mut self) -> Headers {
        let op = self.random.pick(&OPERATIONS);
        let count = match op {
            "ping" => 0,
            "report" | "whitelist" => 1 + self.random.below(3),
            _ => 1,
        };
        let mut headers = vec![("Op", op.as_bytes().to_vec())];
        headers.extend((0..count).map(|_| ("Op-Digest", self.sound_digest())));
        if op == "report" && self.random.percent(50) {
            headers.push(("Op-Spec", b"20,3,60,3".to_vec()));
        }
        headers.extend([("Thread", self.thread()), ("PV", b"2.1".to_vec())]);
        headers
    }

    /// Headers with digests that nobody else uses, for a request that only one of the servers may count.
    fn own_headers(&mut self) -> Headers {
        let mut headers = self.headers();
        for (_, value) in headers.iter_mut().filter(|(name, _)| *name == "Op-Digest") {
            *value = self.spare_digest();
        }
        headers
    }

    fn thread(&mut self) -> Vec<u8> {
        (1024 + self.random.below(64_000)).to_string().into_bytes()
    }

    /// A digest that others use as well: with a readable record or none.
    fn sound_digest(&mut self) -> Vec<u8> {
        let sound: Vec<usize> = of_kind("sound").chain(100..106).collect();
        stored(self.random.pick(&sound)).into_bytes()
    }

    /// A digest that nobody else uses, so that nothing follows from what happens to it.
    fn spare_digest(&mut self) -> Vec<u8> {
        self.spare += 1;
        format!("beefc0de{:032x}", self.spare).into_bytes()
    }

    fn signed_by_somebody(&mut self, mut headers: Headers) -> Vec<u8> {
        if self.policy.users.is_empty() || self.random.percent(40) {
            if self.random.percent(50) {
                headers.push(("User", b"anonymous".to_vec()));
            }
            return render(&headers);
        }
        let (user, key) = self.random.pick(self.policy.users);
        sign(headers, user, key, self.now)
    }

    /// Other order, case, blanks and line breaks; headers twice or folded.
    fn laid_out(&mut self) -> Vec<u8> {
        const EXTRA: [(&str, &str); 8] = [
            ("Op", "ping"),
            ("Thread", "again"),
            ("PV", "3"),
            ("User", "eve"),
            ("Content-Type", "text/plain"),
            ("X-Folded", "a\n b\n\tc"),
            ("X-Blank", "  a  "),
            ("X-Empty", ""),
        ];
        let mut headers = self.headers();
        for _ in 0..self.random.below(4) {
            let (from, to) = (self.random.below(headers.len()), self.random.below(headers.len()));
            headers.swap(from, to);
        }
        if self.random.percent(30) {
            let (name, value) = self.random.pick(&EXTRA);
            headers.push((name, value.into()));
        }
        let mut text = self.signed_by_somebody(headers);
        if self.random.percent(40) {
            text = self.recased(&text);
        }
        if self.random.percent(30) {
            text = self.reblanked(&text);
        }
        let line_break = self.random.pick(&[&b"\n"[..], b"\r\n", b"\n\n", b"\r"]);
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        lines.join(line_break)
    }

    /// Names in another case. What is signed is not the same then, which both servers have to see.
    fn recased(&mut self, text: &[u8]) -> Vec<u8> {
        let upper = self.random.percent(50);
        let recase = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
            let (name, value) = line.split_at(colon);
            [if upper { name.to_ascii_uppercase() } else { name.to_ascii_lowercase() }, value.to_vec()]
                .concat()
        };
        text.split(|byte| *byte == b'\n').map(recase).collect::<Vec<_>>().join(&b'\n')
    }

    /// Other blanks before values, which are not signed, and behind them, which are.
    fn reblanked(&mut self, text: &[u8]) -> Vec<u8> {
        let (before, behind) =
            (self.random.pick(&[":", ":\t", ":  \t "]), self.random.pick(&["", "", " ", "\t"]));
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.replace(": ", before).replace('\n', &format!("{behind}\n")).into_bytes()
    }

    fn badly_signed(&mut self) -> Vec<u8> {
        let headers = self.headers();
        let (user, key) = self.user();
        let good = String::from_utf8(sign(headers.clone(), user, key, self.now)).unwrap();
        let (rest, signature) = good.trim_end().rsplit_once("Sig: ").unwrap();
        let time = format!("Time: {}", self.now);
        let times = [
            "",
            "soon",
            "1.5",
            "1e9",
            "0",
            "-5",
            "99999999999999999999",
            "-99999999999999999999",
            "9223372036854775807",
            "-9223372036854775808",
            "1_700_000_000",
            "0x10",
        ];
        let text = match self.random.below(14) {
            0 => return sign(headers, user, "wrong", self.now),
            1 => return sign(headers, "nobody", key, self.now),
            2 => {
                return sign(
                    headers,
                    user,
                    key,
                    self.now + self.random.pick(&[-400, 400, -240, 240, 1 << 40]),
                );
            }
            3 => return sign(headers, &user.to_uppercase(), key, self.now),
            4 => return sign(headers, &format!("{user} "), key, self.now),
            5 => rest.to_owned(),
            6 => format!("{rest}Sig: {}\n\n", signature.to_uppercase()),
            7 => format!("{rest}Sig: {signature} \n\n"),
            8 => format!("Sig: {signature}\n{rest}\n"),
            9 => format!("{rest}sIG: {signature}\nSig: {signature}\n\n"),
            10 => format!("{rest}Sig:\nSig: {signature}\n\n"),
            11 => good.replace("PV: 2.1", "PV: 2.0"),
            12 => good.replace(&format!("{time}\n"), ""),
            _ => good.replace(&time, &format!("Time: {}", self.random.pick(&times))),
        };
        text.into_bytes()
    }

    fn user(&mut self) -> (&'static str, &'static str) {
        if self.policy.users.is_empty() { USERS[0] } else { self.random.pick(self.policy.users) }
    }

    fn of_a_version(&mut self) -> Vec<u8> {
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
        self.signed_by_somebody(headers)
    }

    fn with_odd_digests(&mut self) -> Vec<u8> {
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
        self.signed_by_somebody(headers)
    }

    fn with_many_digests(&mut self) -> Vec<u8> {
        let op = self.random.pick(&OPERATIONS).as_bytes().to_vec();
        let mut headers = vec![("Op", op), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        for _ in 0..self.random.below(150) {
            headers.push(("Op-Digest", self.sound_digest()));
        }
        self.signed_by_somebody(headers)
    }

    /// More than 8192 bytes, or just as many.
    fn too_long(&mut self) -> Vec<u8> {
        let op = self.random.pick(&OPERATIONS).as_bytes().to_vec();
        let mut headers = vec![("Op", op), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        for _ in 0..140 {
            headers.push(("Op-Digest", self.spare_digest()));
        }
        let mut text = self.signed_by_somebody(headers);
        let length = self.random.pick(&[8191, 8192, 8193, 8250, 9000, 20_000]);
        text.pop();
        text.extend_from_slice(b"X-Padding: ");
        text.resize(length, b'x');
        text
    }

    fn without_op(&mut self) -> Vec<u8> {
        let mut headers = self.headers();
        headers.retain(|(name, _)| *name != "Op");
        match self.random.below(4) {
            0 => b"Code: 200\nDiag: OK\nPV: 2.1\nThread: 12345\n\n".to_vec(),
            1 => [&b"\n\n\nOp: ping\n"[..], &render(&headers)].concat(),
            2 => self.random.pick(&[&b"x"[..], b"\n", b"\0\0", b": Op\n", b"Op ping", b"Op"]).to_vec(),
            _ => self.signed_by_somebody(headers),
        }
    }

    /// So little that a whole `Diag` would weigh more than the request allows.
    fn tiny(&mut self) -> Vec<u8> {
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

    fn unknown_operation(&mut self) -> Vec<u8> {
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
        self.signed_by_somebody(headers)
    }

    fn with_odd_thread(&mut self) -> Vec<u8> {
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
        self.signed_by_somebody(headers)
    }

    /// Bytes beyond ASCII, or control characters, where they may matter.
    fn not_ascii(&mut self) -> Vec<u8> {
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

    /// Rightly signed, with something in the text that Python's reading of it changes.
    fn signed_oddly(&mut self) -> Vec<u8> {
        let (user, key) = self.random.pick(&USERS[..2]);
        let mut headers = vec![("Op", b"ping".to_vec()), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        if self.random.percent(60) {
            headers.push(("X-Odd", self.random.pick(&ODD_TEXTS).to_vec()));
            return sign(headers, user, key, self.now);
        }
        let body = self.random.pick(&[&b"no header\n"[..], b"\n\nbody", b"\n\n  \n", b"\n\n\n\n", b" :x"]);
        [&sign(headers, user, key, self.now)[..], body].concat()
    }

    /// A request of which some bytes were changed, cut out or doubled.
    fn mutated(&mut self) -> Vec<u8> {
        let headers = self.own_headers();
        let mut text = self.signed_by_somebody(headers);
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

    /// Lines in any order, with any line breaks.
    fn lines(&mut self) -> Vec<u8> {
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

    /// One unreadable record, among others that are counted.
    fn of_the_unreadable(&mut self) -> Vec<u8> {
        let unreadable: Vec<usize> = of_kind("unreadable").collect();
        let mut digests = vec![stored(self.random.pick(&unreadable)).into_bytes()];
        for _ in 0..self.random.below(3) {
            digests.insert(self.random.below(digests.len() + 1), self.spare_digest());
        }
        self.of_these(&OPERATIONS, digests)
    }

    fn of_the_oldest(&mut self) -> Vec<u8> {
        let digests = of_kind("oldest").map(|number| stored(number).into_bytes()).collect();
        self.of_these(&["check", "info"], digests)
    }

    fn of_these(&mut self, operations: &[&'static str], digests: Vec<Vec<u8>>) -> Vec<u8> {
        let mut headers = vec![("Op", self.random.pick(operations).as_bytes().to_vec())];
        headers.extend(digests.into_iter().map(|digest| ("Op-Digest", digest)));
        headers.extend([("Thread", self.thread()), ("PV", b"2.1".to_vec())]);
        self.signed_by_somebody(headers)
    }
}

/// The numbers of the stored digests with records of this kind.
pub(crate) fn of_kind(kind: &'static str) -> impl Iterator<Item = usize> {
    (0..STORED.len()).filter(move |number| STORED[*number].0 == kind)
}

fn render(headers: &Headers) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in headers {
        text.extend([name.as_bytes(), b": ", value, b"\n"].concat());
    }
    text.push(b'\n');
    text
}

/// The request with its signature behind it, as Python's client signs.
fn sign(mut headers: Headers, user: &str, key: &str, time: i64) -> Vec<u8> {
    headers.extend([("User", user.as_bytes().to_vec()), ("Time", time.to_string().into_bytes())]);
    let text = render(&headers);
    let signature = HashedKey::new(user.as_bytes(), key.as_bytes()).sign(HeaderBlock::new(&text), time);
    headers.push(("Sig", signature.to_vec()));
    render(&headers)
}
