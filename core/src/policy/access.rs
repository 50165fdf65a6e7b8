//! The access file: lines of `operation ... : user ... : allow|deny`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;

use crate::policy::accounts::Accounts;
use crate::policy::op_set::{OpSet, Words};
use crate::policy::rights::Rights;
use crate::policy::rule::Rule;
use crate::protocol::operation::Operation;
use crate::protocol::request::ANONYMOUS;
use crate::user_file::{UserFile, Warning, content_lines};

/// "If this file is non-existant, the following default is used".
const DEFAULT: &[u8] = b"check report ping pong info : anonymous : allow";

/// Users whose differences between the two orders are explained; those of further users are only counted.
const MAX_DIFFERENCES: usize = 10;

/// The bytes of a word that a warning shows.
const MOST_SHOWN: usize = 64;

/// Which line of an access file decides when several match: the setting `AccessOrder`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AccessOrder {
    /// The first line that matches, as the user guide says: "the first match for user/privilege being the value
    /// taken".
    #[default]
    FirstMatch,
    /// The last line that matches, as the Python server 1.x does.
    LastMatch,
}

/// The lines of an access file, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    pub(crate) words: Words,
}

impl Rules {
    /// Parses an access file, `None` for an absent one. A bad line is skipped with a warning; it never grants anything.
    pub(crate) fn parse(text: Option<&[u8]>, accounts: &Accounts, warnings: &mut Vec<Warning>) -> Self {
        let mut rules = Self::default();
        for (line, content) in content_lines(UserFile::Access, text.unwrap_or(DEFAULT), warnings) {
            let mut warn = |text: String| warnings.push(Warning::on_line(UserFile::Access, line, text));
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
            let text =
                "`all` stands among other words: here it means all, Python's pyzord 1.x ignored it there";
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
                    warn(format!("there is no operation `{}`", shown(word)));
                }
                set.with(self.words.intern(word))
            }
        })
    }

    /// Returns the line that decides whether `user` may ask for `operation`; `None` for the implicit last line,
    /// `all : all anonymous : deny`.
    pub(crate) fn deciding(&self, order: AccessOrder, user: &[u8], operation: OpSet) -> Option<&Rule> {
        let matches = |rule: &&Rule| rule.names(user) && rule.operations.contains(operation);
        match order {
            AccessOrder::FirstMatch => self.rules.iter().find(matches),
            AccessOrder::LastMatch => self.rules.iter().rfind(matches),
        }
    }

    /// Evaluates the file for all users.
    pub(crate) fn compile(&self, order: AccessOrder) -> Rights<'_> {
        // The last match is the first match of the file read from the bottom.
        match order {
            AccessOrder::FirstMatch => Rights::of(&self.rules.iter().collect::<Vec<_>>()),
            AccessOrder::LastMatch => Rights::of(&self.rules.iter().rev().collect::<Vec<_>>()),
        }
    }

    /// Warns where the two orders give a user different rights: Python's server documents the first match and applies
    /// the last.
    pub(crate) fn warn_of_differences(&self, accounts: &Accounts, warnings: &mut Vec<Warning>) {
        let [first, last] =
            [AccessOrder::FirstMatch, AccessOrder::LastMatch].map(|order| self.compile(order));
        let (mut explained, mut unexplained) = (0, 0);
        for user in accounts.keys().map(|user| &**user).chain([ANONYMOUS]) {
            let differences = first.allowed(user).differences(last.allowed(user));
            if differences == OpSet::NONE {
                continue;
            }
            if explained < MAX_DIFFERENCES {
                explained += 1;
                self.explain_difference(user, differences, warnings);
            } else {
                unexplained += 1;
            }
        }
        if unexplained > 0 {
            let text = format!("first-match and last-match differ for {unexplained} more users");
            warnings.push(Warning::on_file(UserFile::Access, text));
        }
    }

    fn explain_difference(&self, user: &[u8], operations: OpSet, warnings: &mut Vec<Warning>) {
        let mut lines: BTreeMap<(usize, usize, bool), Vec<&str>> = BTreeMap::new();
        for operation in Operation::ALL {
            let set = OpSet::of(operation);
            let first = self.deciding(AccessOrder::FirstMatch, user, set);
            let last = self.deciding(AccessOrder::LastMatch, user, set);
            if let (true, Some(first), Some(last)) = (operations.contains(set), first, last) {
                lines.entry((first.line, last.line, first.allow)).or_default().push(operation.name());
            }
        }
        for ((first, last, allow), names) in lines {
            let [now, then] = if allow { ["allows", "denies"] } else { ["denies", "allows"] };
            let text = format!(
                "this line {now} {} to `{}` and line {last} {then} it: first-match takes line {first}, \
                 last-match (what Python's pyzord 1.x does) line {last}",
                names.join(" "),
                shown(user)
            );
            warnings.push(Warning::on_line(UserFile::Access, first, text));
        }
    }
}

/// Returns a word for a warning; a long one, of a file that is no text, is cut off.
fn shown(word: &[u8]) -> impl Display {
    word.get(..MOST_SHOWN).unwrap_or(word).escape_ascii()
}

/// Whether `all` is one of several words; Python takes it for the keyword only where it stands alone.
fn has_all_among_others(list: &[u8]) -> bool {
    words(list).count() > 1 && words(list).any(|word| word.eq_ignore_ascii_case(b"all"))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::signature::HashedKey;
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
        let expected = ["`BOB` is taken as `bob`", "did not find it", "there is no account `nobody`"];
        assert_eq!(warnings.len(), expected.len());
        assert!(warnings.iter().zip(expected).all(|(warning, end)| warning.ends_with(end)), "{warnings:?}");
    }

    /// Python grants less for such a line, so an administrator who moves from Python must see it.
    #[test]
    fn all_among_other_words_yields_a_warning() {
        for (text, warned) in [
            ("all : all : allow", false),
            ("check report : bob eve : allow", false),
            ("check all : bob : allow", true),
            ("check : ALL anonymous : allow", true),
        ] {
            let (_, warnings) = parse(text, &["bob", "eve"]);
            assert_eq!(
                warnings.iter().any(|warning| warning.contains("`all` stands among other words")),
                warned,
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
    fn a_file_that_python_reads_otherwise_yields_a_warning_for_each_line() {
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
