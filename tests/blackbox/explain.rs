//! `pyzorctl explain` and `compare-orders`: what they say of a right is what the server does.

use std::fs;

use pyzord_core::{AccessOrder, Operation, Policy};

use crate::harness::Home;
use crate::pyzorctl::{ctl, printed, stderr};

#[test]
fn explanations_agree_with_the_server() {
    let home = Home::new();
    let accounts = "alice : 1\nbob : 2\nEve : 3\n";
    home.write("pyzord.passwd", accounts);
    let files = [
        Some("check report ping pong info : anonymous : allow\nall : all : allow\nwhitelist : bob : deny\n"),
        Some(
            "# nobody\n\nnonsense\nreport : eve Eve : deny\nall : all anonymous : allow\ncheck : bob : deny\nping:all:deny",
        ),
        Some(""),
        None,
    ];
    for text in files {
        match text {
            Some(text) => drop(home.write("pyzord.access", text)),
            None => fs::remove_file(home.path("pyzord.access")).unwrap(),
        }
        let mut differences = Vec::new();
        let [first, last] = [AccessOrder::FirstMatch, AccessOrder::LastMatch]
            .map(|order| Policy::parse(Some(accounts.as_bytes()), text.map(str::as_bytes), order).0);
        let mut rights = [Vec::new(), Vec::new()];
        for user in ["Eve", "alice", "bob", "anonymous"] {
            for operation in Operation::ALL {
                let allowed = [&first, &last].map(|policy| policy.allows(user.as_bytes(), operation));
                let start = format!("{{\"user\":\"{user}\",\"operation\":\"{operation}\",");
                for (rights, allowed) in rights.iter_mut().zip(allowed) {
                    rights.push(format!("{start}\"allowed\":{allowed},"));
                }
                if allowed[0] != allowed[1] {
                    differences.push(format!("{start}\"first_match\":{},", allowed[0]));
                }
            }
        }
        let starts = |arguments: &[&str], expected: &[String]| {
            let told = printed(&ctl(&home, arguments));
            assert_eq!(told.lines().count(), expected.len(), "{text:?}: {told}");
            assert!(
                told.lines().zip(expected).all(|(line, start)| line.starts_with(start)),
                "{text:?}: {told}"
            );
        };
        starts(&["explain", "--all", "--json"], &rights[0]);
        starts(&["explain", "--all", "--json", "--access-order", "last-match"], &rights[1]);
        starts(&["explain", "bob", "--json"], &rights[0][12..18]);
        starts(&["compare-orders", "--json"], &differences);
    }
}

#[test]
fn an_explanation_shows_the_line() {
    let home = Home::new();
    home.write("pyzord.passwd", "bob : 5ec2e7\n");
    assert_eq!(
        printed(&ctl(&home, &["explain", "anonymous", "check"])),
        "anonymous check: allowed by default, as there is no access file\n"
    );
    home.write("pyzord.access", "all : all : allow\nwhitelist : bob : deny\n");
    assert_eq!(
        printed(&ctl(&home, &["explain", "bob", "whitelist"])),
        "bob whitelist: allowed by line 1: all : all : allow\n"
    );
    assert_eq!(
        printed(&ctl(&home, &["compare-orders"])),
        "bob whitelist:\n  first-match: allowed by line 1: all : all : allow\n  \
         last-match: denied by line 2: whitelist : bob : deny\ndifferences: 1\n"
    );
    let table = printed(&ctl(&home, &["explain", "--all"]));
    let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[1], ["bob", "yes:1", "yes:1", "yes:1", "yes:1", "yes:1", "yes:1"]);
    assert_eq!(cells[2], ["anonymous", "no", "no", "no", "no", "no", "no"]);
    let unknown = ctl(&home, &["explain", "eve"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("pyzord.passwd: there is no account `eve`"), "{unknown:?}");
}
