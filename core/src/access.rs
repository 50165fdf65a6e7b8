//! The access file: `operation ... : user ... : allow|deny`, and what it comes down to for each user.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::accounts::{Accounts, content_lines};
use crate::operation::Operation;
use crate::policy::{AccessOrder, File, Warning};
use crate::request::ANONYMOUS;

/// "If this file is non-existant, the following default is used".
const DEFAULT: &[u8] = b"check report ping pong info : anonymous : allow";

/// In how much detail differences between the two orders are told before they are only counted.
const MAX_DIFFERENCES: usize = 10;

/// A set of operations: a bit for each of the six, and for other words that the access file grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OpSet(u64);

impl OpSet {
    const NONE: Self = Self(0);
    /// `all`: the six operations, no other words.
    const ALL: Self = Self((1 << Operation::ALL.len()) - 1);

    pub(crate) const fn of(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The operations that are in one of both sets alone. Other words are left out: a request for one is refused anyway.
    const fn differences(self, other: Self) -> Self {
        Self((self.0 ^ other.0) & Self::ALL.0)
    }
}

/// The words that an access file has for operations which do not exist. Granted, they are answered with 501
/// where others get 403.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Vec<Box<[u8]>>);

impl Words {
    /// The set that holds just this word, in lower case; empty for a word the file did not have.
    pub(crate) fn find(&self, word: &[u8]) -> OpSet {
        if let Some(operation) = Operation::parse(word) {
            return OpSet::of(operation);
        }
        let bit = self.0.iter().position(|known| **known == *word).map(|index| index + Operation::ALL.len());
        bit.map_or(OpSet::NONE, |bit| OpSet(1 << bit))
    }

    fn intern(&mut self, word: &[u8]) -> OpSet {
        let found = self.find(word);
        // Beyond 64 words the rest cannot be told from forbidden ones, which harms nobody.
        if found != OpSet::NONE || self.0.len() + Operation::ALL.len() == 64 {
            return found;
        }
        self.0.push(word.into());
        self.find(word)
    }
}

/// One line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) line: usize,
    operations: OpSet,
    /// "The keyword `all` can be used to refer to all users other than the anonymous user."
    everyone: bool,
    users: Vec<Box<[u8]>>,
    pub(crate) allow: bool,
}

impl Rule {
    fn names(&self, user: &[u8]) -> bool {
        self.everyone && user != ANONYMOUS || self.users.iter().any(|name| **name == *user)
    }
}

/// The lines of an access file, in the order in which they stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    pub(crate) words: Words,
}

impl Rules {
    /// Reads an access file, `None` for an absent one. A bad line is skipped with a warning, never a grant.
    pub(crate) fn parse(text: Option<&[u8]>, accounts: &Accounts, warnings: &mut Vec<Warning>) -> Self {
        let mut rules = Self::default();
        for (line, content) in content_lines(text.unwrap_or(DEFAULT)) {
            let mut warn = |text: String| warnings.push(Warning::new(File::Access, line, text));
            match rules.parse_rule(line, content, accounts, &mut warn) {
                Ok(rule) => rules.rules.push(rule),
                Err(cause) => warn(format!("skipped: {cause}")),
            }
        }
        rules
    }

    fn parse_rule(
        &mut self,
        line: usize,
        content: &[u8],
        accounts: &Accounts,
        warn: &mut dyn FnMut(String),
    ) -> Result<Rule, &'static str> {
        let mut parts = content.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
        let (Some(operations), Some(users), Some(verdict), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("a line is `operation ... : user ... : allow|deny`, with two colons");
        };
        let allow = match verdict.to_ascii_lowercase().as_slice() {
            b"allow" => true,
            b"deny" => false,
            _ => return Err("the last word is neither `allow` nor `deny`"),
        };
        if operations.is_empty() || users.is_empty() {
            return Err("there are no operations or no users on the line");
        }
        if [operations, users].into_iter().any(has_all_among_others) {
            let text = "`all` stands among other words, where Python's pyzord 1.x did not know it: here it means all";
            warn(String::from(text));
        }
        let operations = self.operations(operations, warn);
        let mut rule = Rule { line, operations, everyone: false, users: Vec::new(), allow };
        for name in words(users) {
            rule.add_user(name, accounts, warn);
        }
        Ok(rule)
    }

    fn operations(&mut self, text: &[u8], warn: &mut dyn FnMut(String)) -> OpSet {
        words(text).fold(OpSet::NONE, |set, word| match word.to_ascii_lowercase().as_slice() {
            b"all" => set.with(OpSet::ALL),
            word => {
                if Operation::parse(word).is_none() {
                    warn(format!("there is no operation `{}`", word.escape_ascii()));
                }
                set.with(self.words.intern(word))
            }
        })
    }

    /// The line that decides whether `user` may ask for `operation`, found by reading line by line.
    /// `None` is the implicit last line, `all : all anonymous : deny`.
    pub(crate) fn deciding(&self, order: AccessOrder, user: &[u8], operation: OpSet) -> Option<&Rule> {
        let matches = |rule: &&Rule| rule.names(user) && rule.operations.contains(operation);
        match order {
            AccessOrder::FirstMatch => self.rules.iter().find(matches),
            AccessOrder::LastMatch => self.rules.iter().rfind(matches),
        }
    }

    /// What the file comes down to.
    ///
    /// The last match is the first one of the file read from bottom to top.
    pub(crate) fn compile(&self, order: AccessOrder) -> Table<'_> {
        match order {
            AccessOrder::FirstMatch => Table::of(&self.rules.iter().collect::<Vec<_>>()),
            AccessOrder::LastMatch => Table::of(&self.rules.iter().rev().collect::<Vec<_>>()),
        }
    }

    /// Warns where the two orders give a user different rights: Python 1.x documents the first match and
    /// applies the last.
    pub(crate) fn warn_of_differences(&self, accounts: &Accounts, warnings: &mut Vec<Warning>) {
        let [first, last] =
            [AccessOrder::FirstMatch, AccessOrder::LastMatch].map(|order| self.compile(order));
        let (mut told, mut untold) = (0, 0);
        for user in accounts.keys().map(|user| &**user).chain([ANONYMOUS]) {
            let differences = first.allowed(user).differences(last.allowed(user));
            if differences == OpSet::NONE {
                continue;
            }
            if told < MAX_DIFFERENCES {
                told += 1;
                self.explain_difference(user, differences, warnings);
            } else {
                untold += 1;
            }
        }
        if untold > 0 {
            let text = format!("first-match and last-match differ for {untold} more users");
            warnings.push(Warning::new(File::Access, 0, text));
        }
    }

    fn explain_difference(&self, user: &[u8], operations: OpSet, warnings: &mut Vec<Warning>) {
        let mut told: BTreeMap<(usize, usize, bool), Vec<&str>> = BTreeMap::new();
        for operation in Operation::ALL {
            let set = OpSet::of(operation);
            let first = self.deciding(AccessOrder::FirstMatch, user, set);
            let last = self.deciding(AccessOrder::LastMatch, user, set);
            if let (true, Some(first), Some(last)) = (operations.contains(set), first, last) {
                told.entry((first.line, last.line, first.allow)).or_default().push(operation.name());
            }
        }
        for ((first, last, allow), names) in told {
            let [now, then] = if allow { ["allows", "denies"] } else { ["denies", "allows"] };
            let text = format!(
                "this line {now} {} to `{}` and line {last} {then} it: first-match takes line {first}, \
                 last-match (what Python's pyzord 1.x does) line {last}",
                names.join(" "),
                user.escape_ascii()
            );
            warnings.push(Warning::new(File::Access, first, text));
        }
    }
}

impl Rule {
    /// User names compare exactly. Python lower-cased the whole file, so a name that matches no account but
    /// does in lower case was meant for that one.
    fn add_user(&mut self, name: &[u8], accounts: &Accounts, warn: &mut dyn FnMut(String)) {
        let known = |name: &[u8]| name == ANONYMOUS || accounts.contains_key(name);
        let lower = name.to_ascii_lowercase();
        if lower == b"all" {
            self.everyone = true;
        } else if known(name) {
            if *name != lower {
                let text =
                    "names its account, which Python's pyzord 1.x, that lower-cased this file, did not find";
                warn(format!("`{}` {text}", name.escape_ascii()));
            }
            self.users.push(name.into());
        } else if known(&lower) {
            warn(format!("`{}` is taken as `{}`", name.escape_ascii(), lower.escape_ascii()));
            self.users.push(lower.into());
        } else {
            warn(format!("there is no account `{}`", name.escape_ascii()));
        }
    }
}

/// An access file evaluated for every user, so that a request costs one look-up.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Of accounts that no line names.
    everyone: OpSet,
    named: BTreeMap<&'a [u8], OpSet>,
}

impl<'a> Table<'a> {
    /// Of rules of which the first match decides.
    fn of(rules: &[&'a Rule]) -> Self {
        // At most 64 lines for everyone can decide anything, one for each operation. So this takes time in
        // proportion to the words of the file, even for as many users as lines.
        let mut for_everyone = Vec::new();
        let mut decided = OpSet::NONE;
        let mut named: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if rule.everyone && rule.operations.without(decided) != OpSet::NONE {
                decided = decided.with(rule.operations);
                for_everyone.push(index);
            }
            for user in &rule.users {
                named.entry(user).or_default().push(index);
            }
        }
        let allowed =
            |lines: &[usize]| first_match(lines.iter().filter_map(|index| rules.get(*index).copied()));
        let named = named.into_iter().map(|(user, mut lines)| {
            if user != ANONYMOUS {
                lines.extend_from_slice(&for_everyone);
                lines.sort_unstable();
            }
            (user, allowed(&lines))
        });
        Self { named: named.collect(), everyone: allowed(&for_everyone) }
    }

    /// The operations that `user` may ask for.
    pub(crate) fn allowed(&self, user: &[u8]) -> OpSet {
        let other = if user == ANONYMOUS { OpSet::NONE } else { self.everyone };
        self.named.get(user).copied().unwrap_or(other)
    }
}

/// The operations that are allowed by the first of `rules` with them.
fn first_match<'a>(rules: impl Iterator<Item = &'a Rule>) -> OpSet {
    let (mut decided, mut allowed) = (OpSet::NONE, OpSet::NONE);
    for rule in rules {
        if rule.allow {
            allowed = allowed.with(rule.operations.without(decided));
        }
        decided = decided.with(rule.operations);
    }
    allowed
}

/// Python took `all` for the keyword only where it stood alone.
fn has_all_among_others(list: &[u8]) -> bool {
    words(list).count() > 1 && words(list).any(|word| word.eq_ignore_ascii_case(b"all"))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::HashedKey;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn accounts(names: &[&str]) -> Accounts {
        names.iter().map(|name| (name.as_bytes().into(), HashedKey::new(name.as_bytes(), b"key"))).collect()
    }

    fn parse(text: &str, names: &[&str]) -> (Rules, Vec<String>) {
        let mut warnings = Vec::new();
        let rules = Rules::parse(Some(text.as_bytes()), &accounts(names), &mut warnings);
        (rules, warnings.iter().map(ToString::to_string).collect())
    }

    fn allowed(text: &str, order: AccessOrder, user: &str) -> String {
        let (rules, _) = parse(text, &["bob", "eve"]);
        let set = rules.compile(order).allowed(user.as_bytes());
        let names = Operation::ALL.into_iter().filter(|operation| set.contains(OpSet::of(*operation)));
        names.map(Operation::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_order_decides_between_lines_that_disagree() {
        use AccessOrder::{FirstMatch, LastMatch};
        let all = "check report ping pong info whitelist";
        for (text, order, user, expected) in [
            ("all : all : allow", FirstMatch, "bob", all),
            ("all : all : allow", FirstMatch, "anonymous", ""),
            ("ALL : All anonymous : Allow", FirstMatch, "anonymous", all),
            ("check all : eve bob : allow", FirstMatch, "eve", all),
            ("check:bob:allow\nall:bob:deny", FirstMatch, "bob", "check"),
            ("check:bob:allow\nall:bob:deny", LastMatch, "bob", ""),
            ("all:all:deny\ncheck ping:bob:allow", FirstMatch, "bob", ""),
            ("all:all:deny\ncheck ping:bob:allow", LastMatch, "bob", "check ping"),
            ("report : bob : deny\nall : all : allow", FirstMatch, "bob", "check ping pong info whitelist"),
            ("report : bob : deny\nall : all : allow", LastMatch, "bob", all),
            ("", FirstMatch, "bob", ""),
        ] {
            assert_eq!(allowed(text, order, user), expected, "{text:?} {order:?} {user}");
        }
    }

    /// "If this file is non-existant, the following default is used".
    #[test]
    fn an_absent_file_is_the_default() {
        let rules = Rules::parse(None, &accounts(&["bob"]), &mut Vec::new());
        let table = rules.compile(AccessOrder::FirstMatch);
        let whitelist = OpSet::of(Operation::Whitelist);
        assert_eq!(table.allowed(ANONYMOUS), OpSet::ALL.without(whitelist));
        assert_eq!(table.allowed(b"bob"), OpSet::NONE);
    }

    #[test]
    fn bad_lines_are_skipped_and_named() {
        let text = "# all : all : allow\n\nall : all\nall : all : allow : x\nall : all : yes\n: all : allow\nall : : allow\n";
        let (rules, warnings) = parse(text, &["bob"]);
        assert!(rules.rules.is_empty());
        assert_eq!(warnings.len(), 5);
        assert!(warnings[0].contains("line 3: skipped: a line is"), "{}", warnings[0]);
    }

    #[test]
    fn names_compare_exactly_unless_only_their_lower_case_has_an_account() {
        let (rules, warnings) = parse("ping : BOB Bob bob nobody : allow", &["bob", "Bob"]);
        let users: Vec<&[u8]> = rules.rules[0].users.iter().map(|user| &**user).collect();
        assert_eq!(users, [&b"bob"[..], b"Bob", b"bob"]);
        let expected = ["`BOB` is taken as `bob`", "did not find", "there is no account `nobody`"];
        assert_eq!(warnings.len(), expected.len());
        assert!(warnings.iter().zip(expected).all(|(warning, end)| warning.ends_with(end)), "{warnings:?}");
    }

    /// Such a line granted less to who comes from Python, so he must be told.
    #[test]
    fn all_among_other_words_is_told() {
        for (text, told) in [
            ("all : all : allow", false),
            ("check report : bob eve : allow", false),
            ("check all : bob : allow", true),
            ("check : ALL anonymous : allow", true),
        ] {
            let (_, warnings) = parse(text, &["bob", "eve"]);
            assert_eq!(
                warnings.iter().any(|warning| warning.contains("`all` stands among other words")),
                told,
                "{text}"
            );
        }
    }

    #[test]
    fn words_that_are_no_operations_can_be_granted() {
        let (rules, warnings) = parse("Frobnicate ping : anonymous : allow", &[]);
        let table = rules.compile(AccessOrder::FirstMatch);
        assert!(table.allowed(ANONYMOUS).contains(rules.words.find(b"frobnicate")));
        assert!(!table.allowed(ANONYMOUS).contains(rules.words.find(b"other")));
        assert!(warnings[0].ends_with("there is no operation `frobnicate`"));
    }

    #[test]
    fn a_file_that_python_reads_otherwise_is_told_line_by_line() {
        let accounts = accounts(&["bob", "eve"]);
        let text = b"check report : bob : deny\nping : all : allow\nall : all : allow";
        let mut warnings = Vec::new();
        Rules::parse(Some(text), &accounts, &mut warnings).warn_of_differences(&accounts, &mut warnings);
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["access file, line 1: this line denies check report to `bob` and line 3 allows it: \
            first-match takes line 1, last-match (what Python's pyzord 1.x does) line 3"]
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let accounts = accounts(&names);
        let mut warnings = Vec::new();
        let rules = Rules::parse(Some(b"ping:all:deny\nping:all:allow"), &accounts, &mut warnings);
        rules.warn_of_differences(&accounts, &mut warnings);
        assert_eq!(warnings.len(), MAX_DIFFERENCES + 1);
        assert!(warnings[MAX_DIFFERENCES].to_string().contains("90 more users"));
    }

    const USERS: [&str; 5] = ["anonymous", "bob", "eve", "Eve", "mallory"];

    fn access_file() -> impl Strategy<Value = String> {
        let operation =
            prop::sample::select(vec!["all", "check", "REPORT", "ping", "pong", "info", "whitelist", "odd"]);
        let user = prop::sample::select(vec!["all", "anonymous", "bob", "Eve", "eve", "BOB", "nobody"]);
        let verdict = prop::sample::select(vec!["allow", "deny", "Allow", "perhaps"]);
        let list = |word: prop::sample::Select<&'static str>| prop::collection::vec(word, 1..4);
        let line = (list(operation), list(user), verdict).prop_map(|(operations, users, verdict)| {
            format!("{} : {} : {verdict}", operations.join(" "), users.join(" "))
        });
        prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn the_table_says_what_the_lines_say(text in access_file()) {
            let (rules, _) = parse(&text, &USERS[1..]);
            for order in [AccessOrder::FirstMatch, AccessOrder::LastMatch] {
                let table = rules.compile(order);
                for user in USERS {
                    for word in ["check", "report", "ping", "pong", "info", "whitelist", "odd", "none"] {
                        let operation = rules.words.find(word.as_bytes());
                        let model = rules.deciding(order, user.as_bytes(), operation).is_some_and(|rule| rule.allow);
                        prop_assert_eq!(table.allowed(user.as_bytes()).contains(operation), model, "{} {}", user, word);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_a_file(text: Vec<u8>) {
            Rules::parse(Some(&text), &accounts(&["bob"]), &mut Vec::new());
        }
    }
}
