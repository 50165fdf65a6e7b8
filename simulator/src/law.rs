//! The rules of the server, written down a second time and read the slow way: line by line, for each request.

use std::fmt::Write as _;

use pyzord_core::{AccessOrder, MAX_REQUEST, Policy};

use crate::message::{Content, Message, Parcel, Signature};
use crate::random::Random;

/// The users that a file may have. One never has an account.
pub(crate) const USERS: [&str; 4] = ["ann", "bob", "cy", "nobody"];
/// The words that a request may ask for; the last is no operation.
pub(crate) const WORDS: [&str; 7] = ["check", "report", "ping", "pong", "info", "whitelist", "frobnicate"];
const OPERATIONS: usize = 6;

/// The two files of the access rules.
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

/// What must become of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// No answer.
    Silence,
    /// Exactly this code.
    Code(u16),
    /// 200 and the largest count.
    Pong,
    /// 200 and the counts, or 500.
    Counts,
    /// 200, the dates and the counts, or 500.
    Info,
    /// 200 when every digest was reported, or 500.
    Report,
    /// 200 when every digest was whitelisted, or 500.
    Whitelist,
    /// 200, and nothing is counted: it is a copy of a signed count.
    Again,
    /// Nobody knows, but the store is as it was.
    Unknown,
}

impl Verdict {
    /// How many calls of the store a request with this many digests makes.
    pub(crate) fn calls(self, digests: usize) -> usize {
        match self {
            Self::Counts | Self::Info => 1,
            Self::Report | Self::Whitelist => digests,
            Self::Silence | Self::Code(_) | Self::Pong | Self::Again | Self::Unknown => 0,
        }
    }
}

impl Rules {
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

    /// Keys of now for all who have one, and any key for the others.
    pub(crate) fn key(&self, user: &str) -> String {
        self.accounts.iter().find(|(name, _)| *name == user).map_or("none".to_owned(), |(_, key)| key.clone())
    }

    /// What the server makes of the files.
    pub(crate) fn policy(&self) -> Policy {
        self.mixed_with(self)
    }

    /// What a server makes of the accounts of one and the access rules of the other.
    pub(crate) fn mixed_with(&self, access: &Self) -> Policy {
        let mut accounts = String::from("# accounts\nno account\n");
        for (user, key) in &self.accounts {
            let _ = writeln!(accounts, "{user} : {key}");
        }
        let text = access.lines.as_ref().map(|lines| {
            let mut text = String::from("# rules\n\nall : all : perhaps\n");
            for Line { words, users, allow } in lines {
                let verdict = if *allow { "allow" } else { "deny" };
                let _ = writeln!(text, "{} : {} : {verdict}", words.join(" "), users.join(" "));
            }
            text
        });
        Policy::parse(Some(accounts.as_bytes()), text.as_deref().map(str::as_bytes), self.order).0
    }

    /// What must become of a datagram that is judged at `wall`, in microseconds since 1970.
    pub(crate) fn verdict(&self, parcel: &Parcel, port: u16, wall: i64) -> Verdict {
        match &parcel.content {
            _ if port == 0 => Verdict::Silence,
            Content::NoRequest => Verdict::Silence,
            Content::Scrambled => Verdict::Unknown,
            Content::Request(_) if parcel.bytes.len() > MAX_REQUEST => Verdict::Code(400),
            Content::Request(message) => self.judge(message, wall).unwrap_or_else(Verdict::Code),
        }
    }

    fn judge(&self, message: &Message, wall: i64) -> Result<Verdict, u16> {
        let user = match &message.signer {
            None => "anonymous",
            Some(signer) => {
                let account = self.accounts.iter().find(|(user, _)| *user == signer.user);
                let known = account.is_some_and(|(_, key)| *key == signer.key);
                let [wall, signed] = [i128::from(wall), i128::from(signer.time) * 1_000_000];
                let in_time = wall.abs_diff(signed) <= 300_000_000;
                if !known || !in_time || signer.signature != Signature::Valid {
                    return Err(401);
                }
                signer.user
            }
        };
        match message.version {
            Some(version) if version.starts_with("2.") => (),
            Some(version) if version.starts_with("3.") => return Err(505),
            _ => return Err(400),
        }
        if !self.allows(user, message.op) {
            return Err(403);
        }
        let verdict = match message.op {
            "ping" => Verdict::Code(200),
            "pong" => Verdict::Pong,
            "check" => Verdict::Counts,
            "info" => Verdict::Info,
            "report" => Verdict::Report,
            "whitelist" => Verdict::Whitelist,
            _ => return Err(501),
        };
        let needless = matches!(message.op, "ping" | "pong");
        let wrong = message.bad_digest || message.digests.is_empty() && !needless;
        if wrong { Err(400) } else { Ok(verdict) }
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
