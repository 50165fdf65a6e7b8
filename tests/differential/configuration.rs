//! Configuration files, read by Python's `configparser` as its server uses it, and by this server: the text of each
//! setting is the same, and what Python refuses has a warning that names it.

use std::collections::BTreeMap;

use pyzord::fuzzing::{SettingTexts, setting_texts};

use crate::differences::Coverage;
use crate::peer::{ask, hex, unhex};
use crate::random::{Random, Size};

/// The settings that are compared.
const SETTINGS: [&str; 8] =
    ["Port", "ListenAddress", "Engine", "DigestDB", "LogFile", "Threads", "CleanupAge", "PasswdFile"];
/// Names in the files: settings, one that Python's server does not have, and values for references.
const NAMES: [&str; 13] = [
    "Port",
    "port",
    "ENGINE",
    "Engine",
    "DigestDB",
    "LogFile",
    "Threads",
    "CleanupAge",
    "PasswdFile",
    "User",
    "base",
    "a",
    "b",
];
const SECTIONS: [&str; 13] = [
    "server", "server", "server", "server", "client", "client", "DEFAULT", "DEFAULT", "Server", " server ",
    "a]b", "x", "]",
];
const BLANKS: [&str; 12] = ["", "", "", "", " ", "  ", "\t", "    ", "\t\t", "\u{a0}", "\u{3000}", "\x1f "];
const PARTS: [&str; 23] = [
    "1",
    "redis",
    "localhost,6379,,0",
    "/var/log",
    "x",
    "é",
    "%%",
    "%%%%",
    "%(port)s",
    "%(Engine)s",
    "%(base)s",
    "%(a)s",
    "%(b)s",
    "%(user)s",
    "%",
    "%(none)s",
    "%()s",
    "%(x",
    " # c",
    " ; c",
    "\"q\"",
    "[x]",
    "a=b",
];

/// A file with byte order marks, and the same file without them.
#[derive(Debug)]
struct Case {
    marked: Vec<u8>,
    plain: Vec<u8>,
    options: Vec<(&'static str, String)>,
}

/// How many files had each outcome.
type Outcomes = BTreeMap<&'static str, usize>;

#[test]
fn configuration_files_mean_the_same() {
    let size = Size::of_run(2000);
    let mut random = Random::new(size.seed);
    let mut coverage = Coverage::expecting([
        "repeated-setting",
        "percent-sign",
        "configuration-mark",
        "configuration-encoding",
    ]);
    let cases: Vec<Case> = (0..size.cases).map(|_| case(&mut random)).collect();
    let lines: Vec<String> =
        cases.iter().flat_map(|case| [line(case, &case.marked), line(case, &case.plain)]).collect();
    let mut outcomes = Outcomes::new();
    for (case, answers) in cases.iter().zip(ask("configuration", "UTC", None, &lines).chunks(2)) {
        let outcome = check(case, &answers[0], &answers[1], &mut coverage);
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.len(), 3, "{outcomes:?}");
    coverage.finish();
}

/// Compares one file; returns the outcome.
fn check(case: &Case, marked: &str, plain: &str, coverage: &mut Coverage) -> &'static str {
    let shown = format!(
        "{:?}\n{case:?}\nPython {marked}\nwithout marks {plain}",
        String::from_utf8_lossy(&case.marked)
    );
    let read = read(&case.marked, &case.options);
    if plain.starts_with("error ") {
        assert!(read.is_err(), "{read:?}\n{shown}");
        return "refused by both";
    }
    let SettingTexts { texts, warnings } = read.unwrap_or_else(|error| panic!("{error:?}\n{shown}"));
    let mut warned = |id, part: &str| {
        coverage.hit(id);
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}\n{warnings:?}\n{shown}");
    };
    let mut words = plain.split(' ');
    let refusals = words.next().unwrap();
    if case.marked != case.plain {
        warned("configuration-mark", "byte order mark");
    }
    if refusals.contains("Duplicate") {
        warned("repeated-setting", "is also on line");
    }
    if refusals.contains("Unicode") {
        warned("configuration-encoding", "not UTF-8");
    }
    for ((name, text), answer) in SETTINGS.iter().zip(&texts).zip(words) {
        match answer.strip_prefix('x') {
            Some(value) => assert_eq!(*text, String::from_utf8(unhex(value)).unwrap(), "{name}\n{shown}"),
            None => {
                let cause = match answer {
                    "InterpolationMissingOptionError" => "which is not set",
                    "InterpolationDepthError" => "levels deep",
                    _ => "a single `%`",
                };
                warned("percent-sign", &format!("the value of {name}"));
                warned("percent-sign", cause);
            }
        }
    }
    let is_equal = refusals == "-" && case.marked == case.plain && !plain.contains("Interpolation");
    if is_equal { "equal" } else { "warned by name" }
}

fn read(text: &[u8], options: &[(&str, String)]) -> Result<SettingTexts, pyzord::fuzzing::Message> {
    let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, &**value)).collect();
    setting_texts(text, &options, &SETTINGS)
}

/// Writes a case for `peer.py`.
fn line(case: &Case, text: &[u8]) -> String {
    let pairs = |pairs: &mut dyn Iterator<Item = (&'static str, String)>| {
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", hex(name.as_bytes()), hex(value.as_bytes())))
            .collect();
        pairs.join(",")
    };
    let defaults = read(b"", &[]).unwrap().texts;
    let defaults = pairs(&mut SETTINGS.into_iter().zip(defaults));
    format!("{} {defaults} {}", hex(text), pairs(&mut case.options.iter().cloned()))
}

fn case(random: &mut Random) -> Case {
    let line_break = random.pick(&["\n", "\n", "\n", "\r\n", "\r"]);
    let base = random.pick(&BLANKS);
    let (mut marked, mut plain) = (Vec::new(), Vec::new());
    let has_marks = random.percent(8);
    let mut add = |text: &str, mark: &str| {
        marked.extend([mark, text, line_break].concat().bytes());
        plain.extend([text, line_break].concat().bytes());
    };
    if random.percent(95) {
        let mark = if has_marks && random.percent(50) { "\u{feff}" } else { "" };
        add(&format!("{base}[{}]", random.pick(&["server", "server", "server", "DEFAULT"])), mark);
    }
    for _ in 0..random.below(12) {
        let indent = if random.percent(65) { base } else { random.pick(&BLANKS) };
        let mark = if has_marks && random.percent(20) { "\u{feff}" } else { "" };
        add(&format!("{indent}{}", content(random)), mark);
    }
    if random.percent(3) && plain.len() > 9 && !has_marks {
        let place = random.below(plain.len() - 2) + 2;
        plain[place] = 0xfc;
        marked = plain.clone();
    }
    let options = if random.percent(15) { vec![("Port", "25000".to_owned())] } else { Vec::new() };
    Case { marked, plain, options }
}

fn content(random: &mut Random) -> String {
    match random.below(100) {
        0..=9 => {
            let behind = random.pick(&["", "", "", " # c", " ; [c", " [c]", " Port = 1"]);
            format!("[{}]{behind}", random.pick(&SECTIONS))
        }
        10..=15 => random.pick(&["# c", "; c", "#Port = 1", "# é", ";[client]"]).to_owned(),
        16..=27 => random.pick(&["", "", " ", "\t", "    ", "\u{a0}"]).to_owned(),
        28 => random.pick(&["more", "= x", ":", "[", "[]", "[server", "[]]", "[] = x", "[x = 1"]).to_owned(),
        29..=32 => value(random),
        _ => {
            let sign = random.pick(&["=", "=", " = ", ": ", " : ", "\t=\t", "\u{a0}= ", " =\x1f"]);
            format!("{}{sign}{}{}", random.pick(&NAMES), value(random), random.pick(&["", "", " ", "\t"]))
        }
    }
}

fn value(random: &mut Random) -> String {
    (0..random.pick(&[0, 1, 1, 1, 1, 2, 3])).map(|_| random.pick(&PARTS)).collect()
}
