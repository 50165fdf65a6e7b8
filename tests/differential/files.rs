//! Accounts and access files, parsed by Python and by the core.
//!
//! Each named difference is a rewriting of the files: the core must read the files as Python reads the rewritten ones.

use std::collections::{BTreeMap, BTreeSet};

use pyzord_core::{
    AccessOrder, Batch, Guard, HashedKey, HeaderBlock, Limits, Now, Policy, Refusal, Server, Tick, UnixTime,
};

use crate::differences::Coverage;
use crate::peer::{ask, hex, unhex};
use crate::random::{Random, Size};

/// The lines of an accounts file and of an access file; `None` for a missing file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Files {
    accounts: Option<Vec<String>>,
    access: Option<Vec<String>>,
    line_break: &'static str,
}

impl Files {
    fn texts(&self) -> [Option<String>; 2] {
        [&self.accounts, &self.access].map(|lines| lines.as_ref().map(|lines| lines.join(self.line_break)))
    }
}

/// The content of the files: the key and the operations of each user.
#[derive(PartialEq, Eq, Debug)]
struct Meaning {
    keys: BTreeMap<String, String>,
    rights: BTreeMap<String, BTreeSet<String>>,
}

type Rewriting = fn(Files) -> Files;

/// Each rewriting applies to the result of those before it.
const REWRITINGS: [(&str, Rewriting); 5] = [
    ("indented-comment", without_indented_comments),
    ("empty-part", without_empty_parts),
    ("account-named-anonymous", without_anonymous),
    ("all-in-a-list", with_all_written_out),
    ("names-with-capitals", with_small_names),
];

const ANONYMOUS: &str = "anonymous";

/// The words in the files: six operations, and others.
const WORDS: [&str; 9] = ["check", "report", "ping", "pong", "info", "whitelist", "train", "all", "x-y"];

#[test]
fn accounts_and_access_files_mean_the_same() {
    let size = Size::of_run(6000);
    let mut coverage = Coverage::expecting(REWRITINGS.map(|(name, _)| name));
    let mut random = Random::new(size.seed);
    let cases: Vec<Files> = (0..size.cases / 4).map(|_| files(&mut random)).collect();
    let rewritten: Vec<Files> = cases.iter().map(|files| rewrite(files.clone(), &mut coverage)).collect();
    let lines: Vec<String> = rewritten.iter().map(line).collect();
    for ((files, rewritten), answer) in cases.iter().zip(&rewritten).zip(ask("files", "UTC", None, &lines)) {
        check(files, &meaning(&answer), &format!("{files:?}\nrewritten {rewritten:?}\nPython {answer}"));
    }
    coverage.finish();
}

fn rewrite(files: Files, coverage: &mut Coverage) -> Files {
    REWRITINGS.into_iter().fold(files, |files, (name, rewriting)| {
        let rewritten = rewriting(files.clone());
        if rewritten != files {
            coverage.hit(name);
        }
        rewritten
    })
}

/// Checks that the core gives each user the key and the rights that Python gives to the user's rewritten name.
fn check(files: &Files, python: &Meaning, shown: &str) {
    let [accounts, access] = files.texts().map(|text| text.map(String::into_bytes));
    let (policy, _) = Policy::parse(accounts.as_deref(), access.as_deref(), AccessOrder::LastMatch);
    let (anonymous, no_key, none) = (ANONYMOUS.to_owned(), String::new(), BTreeSet::new());
    for (alias, key) in python.keys.iter().chain([(&anonymous, &no_key)]) {
        let user = unalias(alias);
        let rights = python.rights.get(alias).unwrap_or(&none);
        for word in WORDS {
            let expected = match (rights.contains(word), WORDS[..6].contains(&word)) {
                (true, true) => None,
                (true, false) => Some(Refusal::NotImplemented),
                (false, _) => Some(Refusal::Forbidden),
            };
            assert_eq!(refusal(&policy, &user, key, word), expected, "{user} {word}\n{shown}");
        }
    }
    let readable = without_empty_parts(files.clone());
    let unusable = usize::from(readable != without_anonymous(readable.clone()));
    assert_eq!(policy.accounts(), python.keys.len() + unusable, "{shown}");
}

/// Returns the refusal of a correct request of this user for this word.
fn refusal(policy: &Policy, user: &str, key: &str, word: &str) -> Option<Refusal> {
    const TIME: i64 = 1_700_000_000;
    let digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let text = format!("Op: {word}\nOp-Digest: {digest}\nPV: 2.1\nUser: {user}\nTime: {TIME}\n");
    let signature =
        HashedKey::new(user.as_bytes(), key.as_bytes()).sign(HeaderBlock::new(text.as_bytes()), TIME);
    let request = [text.as_bytes(), b"Sig: ", &signature, b"\n\n"].concat();
    let server: Server = Server::new(policy.clone(), Guard::new(Limits::default(), [7; 16]));
    let mut batch = Batch::new();
    let now = Now { wall: UnixTime::from_seconds(TIME), tick: Tick::default() };
    batch.accept(&server, (), &request, now).unwrap_or_else(|reason| panic!("{reason:?}: {text}"));
    if batch.waiting() > 0 {
        return None;
    }
    let answered = batch.ask().resolve(&server, &[]);
    answered.usage().next().expect("one request has one line").refusal
}

/// Returns the line of `peer.py`'s input.
fn line(files: &Files) -> String {
    files.texts().map(|text| text.map_or("-".into(), |text| format!("x{}", hex(text.as_bytes())))).join(" ")
}

fn meaning(answer: &str) -> Meaning {
    let text = |word: &str| String::from_utf8(unhex(word)).unwrap();
    let list = |words: &str| match words {
        "-" => Vec::new(),
        words => words.split(',').map(text).collect(),
    };
    let mut words = answer.split(' ');
    let account = |account: String| {
        let (user, key) = account.split_once(':').unwrap();
        (user.to_owned(), key.to_owned())
    };
    let keys = list(words.next().unwrap()).into_iter().map(account).collect();
    let rights = words.map(|rule| rule.split_once('=').unwrap());
    Meaning {
        keys,
        rights: rights.map(|(user, ops)| (text(user), list(ops).into_iter().collect())).collect(),
    }
}

/// Removes the comments that are indented or stand behind a byte order mark, and the mark.
fn without_indented_comments(mut files: Files) -> Files {
    for lines in [&mut files.accounts, &mut files.access].into_iter().flatten() {
        for line in lines.iter_mut() {
            *line = line.strip_prefix('\u{feff}').unwrap_or(line).to_owned();
        }
        lines.retain(|line| line.starts_with('#') || !line.trim_start().starts_with('#'));
    }
    files
}

/// Removes the lines without a user, a key, operations or users.
fn without_empty_parts(mut files: Files) -> Files {
    let is_whole = |line: &String, parts: usize| {
        let found: Vec<&str> = line.split(':').map(str::trim).collect();
        line.starts_with('#') || found.len() != parts || found.iter().all(|part| !part.is_empty())
    };
    files.accounts.iter_mut().for_each(|lines| lines.retain(|line| is_whole(line, 2)));
    files.access.iter_mut().for_each(|lines| lines.retain(|line| is_whole(line, 3)));
    files
}

/// Removes the account named anonymous.
fn without_anonymous(mut files: Files) -> Files {
    let is_anonymous = |line: &String| account(line).is_some_and(|(user, _)| user == ANONYMOUS);
    files.accounts.iter_mut().for_each(|lines| lines.retain(|line| !is_anonymous(line)));
    files
}

/// Replaces `all` in a list of several words by its meaning.
fn with_all_written_out(mut files: Files) -> Files {
    let [operations, users] = [WORDS[..6].join(" "), names(&files).into_iter().collect::<Vec<_>>().join(" ")];
    let written_out = |list: &str, all: &str| {
        let words: Vec<&str> = list.split_ascii_whitespace().collect();
        let word =
            |word: &&str| if word.eq_ignore_ascii_case("all") { all.to_owned() } else { (*word).to_owned() };
        let is_meant = words.len() > 1 && words.iter().any(|word| word.eq_ignore_ascii_case("all"));
        if is_meant { words.iter().map(word).collect::<Vec<_>>().join(" ") } else { list.to_owned() }
    };
    change_rules(&mut files, |ops, names| (written_out(ops, &operations), written_out(names, &users)));
    files
}

/// Replaces names with capitals by aliases, in both files.
fn with_small_names(mut files: Files) -> Files {
    let names = names(&files);
    let known = |word: &str| word == ANONYMOUS || names.contains(word);
    let name = |word: &str| match word.to_ascii_lowercase() {
        _ if known(word) => alias(word),
        lower if known(&lower) => lower,
        _ => word.to_owned(),
    };
    let is_keyword = |list: &str| list.trim().eq_ignore_ascii_case("all");
    change_rules(&mut files, |ops, users| {
        let named = || users.split_ascii_whitespace().map(name).collect::<Vec<_>>().join(" ");
        let has_alias = users.split_ascii_whitespace().any(|word| name(word) != word.to_ascii_lowercase());
        (ops.to_owned(), if has_alias && !is_keyword(users) { named() } else { users.to_owned() })
    });
    for line in files.accounts.iter_mut().flatten() {
        let small = account(line).filter(|(user, _)| alias(user) != *user);
        if let Some(small) = small.map(|(user, key)| format!("{}:{key}", alias(user))) {
            *line = small;
        }
    }
    files
}

/// Returns the alias of a name: `+ann` for `Ann`.
fn alias(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_uppercase() { format!("+{}", c.to_ascii_lowercase()) } else { c.into() })
        .collect()
}

fn unalias(alias: &str) -> String {
    let mut parts = alias.split('+');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |name, part| name + &part[..1].to_ascii_uppercase() + &part[1..])
}

/// Returns the user and the key in a line of an accounts file.
fn account(line: &str) -> Option<(&str, &str)> {
    let (user, key) = line.split_once(':')?;
    (!line.starts_with('#') && !key.contains(':')).then(|| (user.trim(), key.trim()))
}

fn names(files: &Files) -> BTreeSet<String> {
    let lines = files.accounts.iter().flatten();
    lines.filter_map(|line| account(line)).map(|(user, _)| user.to_owned()).collect()
}

/// Changes the operations and the users of each access line.
fn change_rules(files: &mut Files, change: impl Fn(&str, &str) -> (String, String)) {
    for line in files.access.iter_mut().flatten().filter(|line| !line.starts_with('#')) {
        if let [operations, users, verdict] = line.split(':').collect::<Vec<_>>()[..] {
            let (operations, users) = change(operations, users);
            *line = format!("{operations}:{users}:{verdict}");
        }
    }
}

const NAMES: [&str; 8] = ["bob", "eve", "Ann", "ann", "ANN", "anonymous", "all", "#x"];

fn files(random: &mut Random) -> Files {
    let line_break = random.pick(&["\n", "\n", "\r\n", "\r"]);
    let mut lines = |line: fn(&mut Random) -> String| {
        let count = random.below(9);
        (!random.percent(5)).then(|| (0..count).map(|_| line(random)).collect())
    };
    Files { accounts: lines(account_line), access: lines(access_line), line_break }
}

fn account_line(random: &mut Random) -> String {
    let key = random.pick(&["5ecre7", "ABCDEF", "a b", "salt,key", "#"]);
    let user = random.pick(&NAMES);
    match random.below(14) {
        0 => other_line(random),
        1 => format!("{user} : {key} : more"),
        2 => format!(" : {key}"),
        3 => format!("{user}:"),
        4 => format!("\t{user}\t:\t{key}\t "),
        5 => user.to_owned(),
        _ => format!("{user} : {key}"),
    }
}

fn access_line(random: &mut Random) -> String {
    const OPERATIONS: [&str; 12] = [
        "check",
        "report",
        "ping",
        "pong",
        "info",
        "whitelist",
        "all",
        "ALL",
        "Report",
        "train",
        "x-y",
        "check",
    ];
    const USERS: [&str; 12] =
        ["bob", "eve", "Ann", "ann", "ANN", "anonymous", "all", "All", "BOB", "Anonymous", "nobody", "#x"];
    const VERDICTS: [&str; 8] = ["allow", "allow", "allow", "deny", "deny", "ALLOW", "Deny", "maybe"];
    let mut list = |from: &[&'static str]| {
        let count = random.pick(&[0, 1, 1, 1, 1, 1, 2, 3]);
        let words: Vec<&str> = (0..count).map(|_| random.pick(from)).collect();
        words.join(random.pick(&[" ", "  ", "\t"]))
    };
    let (operations, users) = (list(&OPERATIONS), list(&USERS));
    let verdict = random.pick(&VERDICTS);
    match random.below(14) {
        0 => other_line(random),
        1 => format!("{operations} : {users}"),
        2 => format!("{operations} : {users} : {verdict} : more"),
        3 => format!("\t{operations}:{users}:{verdict} "),
        _ => format!("{operations} : {users} : {verdict}"),
    }
}

fn other_line(random: &mut Random) -> String {
    const LINES: [&str; 11] = [
        "",
        "  ",
        "# comment",
        "#bob : key",
        "# all : all : allow",
        " # all : all anonymous : allow",
        "\t#eve : key",
        "\u{feff}bob : key",
        ":",
        "::",
        "nonsense",
    ];
    random.pick(&LINES).to_owned()
}

/// Python decodes the files: it fails for other encodings, and strips the white space of Unicode.
#[test]
fn names_and_keys_are_bytes() {
    let mut coverage = Coverage::expecting(["file-encoding", "file-blanks"]);
    let read = |accounts: &[u8]| {
        let policy = Policy::parse(Some(accounts), None, AccessOrder::LastMatch).0;
        (ask("files", "UTC", None, &[format!("x{} -", hex(accounts))]).remove(0), policy.accounts())
    };
    let (answer, accounts) = read(b"bob : 5ecre7\nj\xfcrgen : 5ecre7\n");
    assert_eq!((answer.as_str(), accounts), ("error UnicodeDecodeError", 2));
    coverage.hit("file-encoding");
    let (answer, accounts) = read("bob : 5ecre7\nbob\u{a0}: 5ecre7\n".as_bytes());
    assert_eq!((meaning(&answer).keys.len(), accounts), (1, 2));
    coverage.hit("file-blanks");
    coverage.finish();
}
