//! The access file in both orders, against a second reading of its text, line by line and from the documentation.
#![expect(clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::OneRequest;
use proptest::prelude::*;
use proptest::sample::{Select, select, subsequence};
use pyzord_core::{
    AccessOrder, Decision, HashedKey, HeaderBlock, Operation, Policy, Rulebook, UnixTime, Warning,
};

const NOW: i64 = 1_700_000_000;

/// Names of accounts, among them keywords and names that differ in their case alone.
const ACCOUNTS: [&str; 7] = ["bob", "Bob", "BOB", "eve", "Mallory", "all", "anonymous"];

/// Words that name operations, one that does not exist among them.
const OPERATIONS: [&str; 7] = ["check", "report", "ping", "pong", "info", "whitelist", "frobnicate"];

/// The number of the line that decides, and whether it allows.
fn deciding(
    text: &str,
    order: AccessOrder,
    accounts: &[&str],
    user: &str,
    op: &str,
) -> Option<(usize, bool)> {
    let mut lines = (1..).zip(text.lines()).filter_map(|(number, line)| {
        let parts: Vec<&str> = line.split(':').map(str::trim).collect();
        let (false, [operations, users, verdict]) = (line.starts_with('#'), &parts[..]) else { return None };
        let allow = ["deny", "allow"].iter().position(|word| verdict.eq_ignore_ascii_case(word))? == 1;
        let of_operations = |word: &str| match word.to_lowercase().as_str() {
            "all" => op != "frobnicate",
            word => word == op,
        };
        let of_users = |name: &str| match name.to_lowercase().as_str() {
            "all" => user != "anonymous",
            lower => name == user || lower == user && !accounts.contains(&name),
        };
        let matches =
            operations.split_whitespace().any(of_operations) && users.split_whitespace().any(of_users);
        matches.then_some((number, allow))
    });
    match order {
        AccessOrder::FirstMatch => lines.next(),
        AccessOrder::LastMatch => lines.last(),
    }
}

fn select_word(words: &'static str) -> Select<&'static str> {
    select(words.split(' ').collect::<Vec<_>>())
}

fn access_file() -> impl Strategy<Value = String> {
    let operation = select_word("all ALL check REPORT report ping pong info whitelist frobnicate");
    let user = select_word("all All anonymous Anonymous bob Bob BOB bOb eve EVE mallory nobody");
    let verdict = select(vec!["allow", "allow", "deny", "deny", "Allow", "DENY", "perhaps", ""]);
    let words = |word: Select<&'static str>| {
        (prop::collection::vec(word, 0..4), select(vec![" ", "\t", "  "]))
            .prop_map(|(words, blank)| words.join(blank))
    };
    let colon = select(vec![":", " : ", ": ", "\t:"]);
    let rule =
        (words(operation), colon, words(user), verdict).prop_map(|(operations, colon, users, verdict)| {
            [&operations, colon, &users, colon, verdict].concat()
        });
    let junk =
        select(vec!["", " ", "# all : all anonymous : allow", "all : all", "all:all:allow:", "\u{e9}"]);
    let line = prop_oneof![8 => rule, 1 => junk.prop_map(str::to_owned)];
    (prop::collection::vec(line, 0..12), select(vec!["\n", "\r\n"])).prop_map(|(lines, end)| lines.join(end))
}

/// An accounts file with these accounts.
fn lines(accounts: &[&str]) -> String {
    accounts.iter().map(|name| format!("{name} : key\n")).collect()
}

fn policy(text: &str, accounts: &[&str], order: AccessOrder) -> (Policy, Vec<Warning>) {
    Policy::parse(Some(lines(accounts).as_bytes()), Some(text.as_bytes()), order)
}

fn rulebook(text: &str, accounts: &[&str]) -> Rulebook {
    Rulebook::parse(Some(lines(accounts).as_bytes()), Some(text.as_bytes()))
}

/// The code that a request is answered with, 200 for one that the store is asked for.
fn code(policy: &Policy, user: &str, op: &str) -> u16 {
    let digest = "0".repeat(40);
    let text = format!("Op: {op}\nOp-Digest: {digest}\nPV: 2.1\nUser: {user}\nTime: {NOW}\n");
    let signature = HashedKey::new(user.as_bytes(), b"key").sign(HeaderBlock::new(text.as_bytes()), NOW);
    let datagram = [text.as_bytes(), b"Sig: ", &signature].concat();
    match OneRequest::accept(policy, &datagram, UnixTime::from_seconds(NOW)) {
        Ok(request) => request.refusal().map_or(200, pyzord_core::Refusal::code),
        Err(reason) => panic!("{reason:?}"),
    }
}

proptest! {
    #[test]
    fn the_deciding_line_of_the_text_is_what_a_client_sees(
        text in access_file(),
        accounts in subsequence(&ACCOUNTS[..], 0..=ACCOUNTS.len()),
    ) {
        for order in [AccessOrder::FirstMatch, AccessOrder::LastMatch] {
            let (policy, _) = policy(&text, &accounts, order);
            let rulebook = rulebook(&text, &accounts);
            for user in accounts.iter().chain(&["anonymous"]) {
                for op in OPERATIONS {
                    let allowed = deciding(&text, order, &accounts, user, op).is_some_and(|(_, allow)| allow);
                    let operation = Operation::parse(op.as_bytes());
                    let expected = match (allowed, operation) {
                        (true, Some(_)) => 200,
                        (true, None) => 501,
                        (false, _) => 403,
                    };
                    prop_assert_eq!(code(&policy, user, op), expected, "{} {} {:?}", user, op, order);
                    if let Some(operation) = operation {
                        prop_assert_eq!(policy.allows(user.as_bytes(), operation), allowed);
                        let line = deciding(&text, order, &accounts, user, op).map(|(line, _)| line);
                        let decision = rulebook.decide(order, user.as_bytes(), operation);
                        prop_assert_eq!(decision, Decision { allowed, line }, "{} {} {:?}", user, op, order);
                    }
                }
            }
            // A user without an account has no rights, also if the file names it.
            if !accounts.contains(&"nobody") {
                let decision = rulebook.decide(order, b"nobody", Operation::Ping);
                prop_assert_eq!(decision, Decision { allowed: false, line: None });
                prop_assert_eq!(code(&policy, "nobody", "ping"), 401);
                prop_assert!(!policy.allows(b"nobody", Operation::Ping));
            }
        }
    }

    #[test]
    fn each_difference_between_the_orders_is_told_with_both_lines_and_nothing_else_is(
        text in access_file(),
        accounts in subsequence(&ACCOUNTS[..], 0..=ACCOUNTS.len()),
    ) {
        let (_, warnings) = policy(&text, &accounts, AccessOrder::FirstMatch);
        let mut differences: Vec<&Warning> =
            warnings.iter().filter(|warning| warning.text.contains("last-match")).collect();
        for user in accounts.iter().filter(|user| **user != "anonymous").chain(&["anonymous"]) {
            let mut lines = Vec::new();
            for op in &OPERATIONS[..6] {
                let [first, last] = [AccessOrder::FirstMatch, AccessOrder::LastMatch]
                    .map(|order| deciding(&text, order, &accounts, user, op));
                if let (Some((first, allow)), Some((last, then))) = (first, last) && allow != then {
                    let tells = |warning: &&&Warning| {
                        warning.line == Some(first)
                            && warning.text.split(' ').any(|word| word == *op)
                            && warning.text.contains(&format!(" to `{user}` and line {last} "))
                            && warning.text.starts_with("this line allows") == allow
                    };
                    prop_assert!(differences.iter().any(|warning| tells(&warning)), "{} {}: {:?}", user, op, warnings);
                    lines.push((first, last));
                }
            }
            differences.retain(|warning| {
                !lines.iter().any(|(first, last)| {
                    warning.line == Some(*first) && warning.text.contains(&format!(" to `{user}` and line {last} "))
                })
            });
        }
        prop_assert!(differences.is_empty(), "{:?}", differences);
    }
}

/// An account of this name took the keyword's place: `all : all : deny` was about it alone, and no longer denied
/// anything to other users.
#[test]
fn all_is_the_keyword_even_where_an_account_has_its_name() {
    let text = "all : all : deny\nall : bob : allow";
    for accounts in [&["bob"][..], &["bob", "all"], &["bob", "ALL", "all"]] {
        let (policy, _) = policy(text, accounts, AccessOrder::FirstMatch);
        assert_eq!(code(&policy, "bob", "ping"), 403, "{accounts:?}");
    }
}

/// Such users took the places of those whose rights differ, of whom nothing but their number was told.
#[test]
fn a_word_that_is_no_operation_is_no_difference() {
    let names: Vec<String> = (10..30).map(|number| format!("user{number}")).collect();
    let accounts: Vec<&str> = names.iter().map(String::as_str).collect();
    let text =
        "frobnicate : all : deny\nfrobnicate : all : allow\nping : user29 : deny\nping : user29 : allow";
    let (_, warnings) = policy(text, &accounts, AccessOrder::FirstMatch);
    let told: Vec<&Warning> = warnings.iter().filter(|warning| warning.text.contains("match")).collect();
    assert!(matches!(told[..], [warning] if warning.text.contains("`user29`")), "{told:?}");
}

/// 58 words are remembered; beyond that a granted one is forbidden, and no operation is touched.
#[test]
fn any_number_of_words_leaves_the_operations_alone() {
    let words: String = (0..200).map(|number| format!("word{number} ")).collect();
    let (policy, _) = policy(&format!("{words} ping : bob : allow"), &["bob"], AccessOrder::FirstMatch);
    let codes: Vec<u16> = (0..200).map(|number| code(&policy, "bob", &format!("word{number}"))).collect();
    assert_eq!(codes, [&[501; 58][..], &[403; 142]].concat());
    let codes = OPERATIONS.map(|op| code(&policy, "bob", op));
    assert_eq!(codes, [403, 403, 200, 403, 403, 403, 403]);
}

#[test]
fn each_user_is_named_once_and_anonymous_last() {
    let users = |accounts: &[&str]| {
        let rulebook = rulebook("", accounts);
        rulebook.users().map(|user| String::from_utf8_lossy(user).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(users(&["eve", "bob"]), ["bob", "eve", "anonymous"]);
    assert_eq!(users(&["anonymous", "bob", "bob"]), ["bob", "anonymous"]);
    assert_eq!(users(&[]), ["anonymous"]);
}
