//! The rules of the server, and a model of them: it reads the lines one by one for each request.

use std::fmt::Write as _;

use pyzord_core::{AccessOrder, MAX_REQUEST, Policy};

use crate::payload::{Content, Payload, RequestSpec, SignatureKind};
use crate::random::Random;

/// The users in the files. The last one never has an account.
pub(crate) const USERS: [&str; 4] = ["ann", "bob", "cy", "nobody"];
/// The operations in requests. The last one does not exist.
pub(crate) const WORDS: [&str; 7] = ["check", "report", "ping", "pong", "info", "whitelist", "frobnicate"];
const OPERATIONS: usize = 6;

/// The accounts and the access file.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    accounts: Vec<(&'static str, String)>,
    lines: Option<Vec<Line>>,
    order: AccessOrder,
}

#[derive(Clone, Debug)]
struct Line {
    words: Vec<&'static str>,
    users: Vec<&'static str>,
    allow: bool,
}

/// The expected reply to a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// No reply.
    NoReply,
    /// This code.
    Code(u16),
    /// 200 with the largest count.
    Pong,
    /// 200 with the counts, or 500.
    Counts,
    /// 200 with the dates and the counts, or 500.
    Info,
    /// 200 if every digest was reported, or 500.
    Report,
    /// 200 if every digest was whitelisted, or 500.
    Whitelist,
    /// 200 without a count: the datagram repeats a signed count.
    AlreadyCounted,
    /// Not predicted, but the store does not change.
    Unknown,
}

impl Expected {
    /// Returns the number of store calls of a request with this many digests.
    pub(crate) fn calls(self, digests: usize) -> usize {
        match self {
            Self::Counts | Self::Info => 1,
            Self::Report | Self::Whitelist => digests,
            Self::NoReply | Self::Code(_) | Self::Pong | Self::AlreadyCounted | Self::Unknown => 0,
        }
    }
}

impl Rules {
    /// Draws accounts and access lines.
    pub(crate) fn random(random: &mut Random, order: AccessOrder) -> Self {
        let mut accounts = Vec::new();
        for user in USERS.into_iter().take(3) {
            if random.percent(80) {
                accounts.push((user, format!("{:x}", random.between(0, 3))));
            }
        }
        let mut lines: Vec<Line> = (0..random.between(0, 5)).map(|_| Line::random(random)).collect();
        if random.percent(60) {
            let index = random.index(lines.len() + 1);
            lines.insert(index, Line { words: vec!["all"], users: vec!["all", "anonymous"], allow: true });
        }
        Self { accounts, lines: random.percent(85).then_some(lines), order }
    }

    /// Returns the current key of a user; any key if the user has no account.
    pub(crate) fn key(&self, user: &str) -> String {
        self.accounts.iter().find(|(name, _)| *name == user).map_or("none".to_owned(), |(_, key)| key.clone())
    }

    /// Returns the server's policy for these files.
    pub(crate) fn policy(&self) -> Policy {
        self.mixed_with(self)
    }

    /// Returns the server's policy for these accounts and the access file of `access`.
    pub(crate) fn mixed_with(&self, access: &Self) -> Policy {
        let mut accounts = String::from("# accounts\nno account\n");
        for (user, key) in &self.accounts {
            let _ = writeln!(accounts, "{user} : {key}");
        }
        let text = access.lines.as_ref().map(|lines| {
            let mut text = String::from("# rules\n\nall : all : perhaps\n");
            for Line { words, users, allow } in lines {
                let effect = if *allow { "allow" } else { "deny" };
                let _ = writeln!(text, "{} : {} : {effect}", words.join(" "), users.join(" "));
            }
            text
        });
        Policy::parse(Some(accounts.as_bytes()), text.as_deref().map(str::as_bytes), self.order).0
    }

    /// Returns the expected reply to a datagram that is accepted at `wall`, in microseconds since 1970.
    pub(crate) fn expected(&self, payload: &Payload, port: u16, wall: i64) -> Expected {
        match &payload.content {
            _ if port == 0 => Expected::NoReply,
            Content::NoRequest => Expected::NoReply,
            Content::Scrambled => Expected::Unknown,
            Content::Request(_) if payload.bytes.len() > MAX_REQUEST => Expected::Code(400),
            Content::Request(request) => self.check(request, wall).unwrap_or_else(Expected::Code),
        }
    }

    fn check(&self, request: &RequestSpec, wall: i64) -> Result<Expected, u16> {
        let user = match &request.signer {
            None => "anonymous",
            Some(signer) => {
                let account = self.accounts.iter().find(|(user, _)| *user == signer.user);
                let known = account.is_some_and(|(_, key)| *key == signer.key);
                let [wall, signed] = [i128::from(wall), i128::from(signer.time) * 1_000_000];
                let in_time = wall.abs_diff(signed) <= 300_000_000;
                if !known || !in_time || signer.signature != SignatureKind::Valid {
                    return Err(401);
                }
                signer.user
            }
        };
        match request.version {
            Some(version) if version.starts_with("2.") => (),
            Some(version) if version.starts_with("3.") => return Err(505),
            _ => return Err(400),
        }
        if !self.allows(user, request.op) {
            return Err(403);
        }
        let expected = match request.op {
            "ping" => Expected::Code(200),
            "pong" => Expected::Pong,
            "check" => Expected::Counts,
            "info" => Expected::Info,
            "report" => Expected::Report,
            "whitelist" => Expected::Whitelist,
            _ => return Err(501),
        };
        let without_digest = matches!(request.op, "ping" | "pong");
        let malformed = request.bad_digest || request.digests.is_empty() && !without_digest;
        if malformed { Err(400) } else { Ok(expected) }
    }

    fn allows(&self, user: &str, word: &str) -> bool {
        let Some(lines) = &self.lines else {
            return user == "anonymous" && matches!(word, "check" | "report" | "ping" | "pong" | "info");
        };
        let matching = |line: &&Line| line.covers(user, word);
        let line = match self.order {
            AccessOrder::FirstMatch => lines.iter().find(matching),
            AccessOrder::LastMatch => lines.iter().rfind(matching),
        };
        line.is_some_and(|line| line.allow)
    }
}

impl Line {
    fn random(random: &mut Random) -> Self {
        let mut words: Vec<&str> = WORDS.into_iter().filter(|_| random.percent(40)).collect();
        if words.is_empty() || random.percent(30) {
            words.push("all");
        }
        let known = USERS.into_iter().chain(["anonymous"]);
        let mut users: Vec<&str> = known.filter(|_| random.percent(40)).collect();
        if users.is_empty() || random.percent(30) {
            users.push("all");
        }
        Self { words, users, allow: random.percent(75) }
    }

    fn covers(&self, user: &str, word: &str) -> bool {
        let all_words =
            self.words.contains(&"all") && WORDS.into_iter().take(OPERATIONS).any(|known| known == word);
        let all_users = self.users.contains(&"all") && user != "anonymous";
        (all_words || self.words.contains(&word)) && (all_users || self.users.contains(&user))
    }
}
