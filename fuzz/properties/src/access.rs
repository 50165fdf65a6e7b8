use std::collections::BTreeSet;

use pyzord_core::{ANONYMOUS, AccessOrder, Operation, Policy, Refusal, Server, UnixTime};

use crate::one_request::{OneRequest, forgetful_server};
use crate::{told, user_lines};

/// A policy says of every user and operation what the lines of the access file say, read one after another, in either
/// order. Words that are no operations are granted by them, too, as far as 501 takes the place of 403.
///
/// The input is an accounts file, a NUL and an access file; without a NUL, an access file alone.
pub fn access(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0).collect::<Vec<_>>();
    let access = parts.pop().unwrap_or_default();
    let accounts = parts.pop();
    let model = Model::new(accounts.unwrap_or_default(), access);
    for order in [AccessOrder::FirstMatch, AccessOrder::LastMatch] {
        let (policy, warnings) = Policy::parse(accounts, Some(access), order);
        told::bounded(&warnings, accounts.unwrap_or_default(), access);
        for user in model.names() {
            for operation in Operation::ALL {
                let expected = model.allows(order, user, operation.name().as_bytes());
                assert_eq!(policy.allows(user, operation), expected, "{operation} {}", user.escape_ascii());
            }
        }
        words(&forgetful_server(policy), &model, order);
    }
}

/// What becomes of words that are no operations; the server tells the first 58 of them apart.
fn words(server: &Server, model: &Model<'_>, order: AccessOrder) {
    let unknown: BTreeSet<&Vec<u8>> =
        model.lines.iter().flat_map(|line| &line.operations).filter(|word| Operation::parse(word).is_none()).collect();
    for word in unknown.iter().take(if unknown.len() > 50 { 0 } else { 50 }) {
        let datagram = [b"Op: ", &word[..], b"\nPV: 2.1\n"].concat();
        let request = OneRequest::accept(server, &datagram, UnixTime::from_seconds(0));
        let refusal = request.expect("an unknown word is answered").refusal();
        let granted = *word != b"all" && model.allows(order, ANONYMOUS, word);
        let expected = if granted { Refusal::NotImplemented } else { Refusal::Forbidden };
        assert_eq!(refusal, Some(expected), "{}", word.escape_ascii());
    }
}

/// The files, read line by line for each question.
struct Model<'a> {
    accounts: BTreeSet<&'a [u8]>,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    /// In lower case.
    operations: Vec<Vec<u8>>,
    users: Vec<&'a [u8]>,
    allow: bool,
}

impl<'a> Model<'a> {
    fn new(accounts: &'a [u8], access: &'a [u8]) -> Self {
        let account = |line: &'a [u8]| match fields(line)[..] {
            [user, key] if !user.is_empty() && !key.is_empty() => Some(user),
            _ => None,
        };
        Self {
            accounts: content(accounts).filter_map(account).collect(),
            lines: content(access).filter_map(Line::parse).collect(),
        }
    }

    /// Every user whom a file names.
    fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        let named = self.lines.iter().flat_map(|line| line.users.iter().copied());
        named.chain(self.accounts.iter().copied()).chain([ANONYMOUS]).collect::<BTreeSet<_>>().into_iter()
    }

    fn allows(&self, order: AccessOrder, user: &[u8], operation: &[u8]) -> bool {
        if user != ANONYMOUS && !self.accounts.contains(user) {
            return false;
        }
        let mut matching = self.lines.iter().filter(|line| line.names(operation) && self.names_user(line, user));
        let deciding = match order {
            AccessOrder::FirstMatch => matching.next(),
            AccessOrder::LastMatch => matching.next_back(),
        };
        deciding.is_some_and(|line| line.allow)
    }

    /// "`all` is every account except anonymous"; "a name that matches no account but does in lower case is taken as
    /// that account".
    fn names_user(&self, line: &Line<'_>, user: &[u8]) -> bool {
        let known = |name: &[u8]| name == ANONYMOUS || self.accounts.contains(name);
        line.users.iter().any(|name| {
            let lower = name.to_ascii_lowercase();
            match &lower[..] {
                b"all" => user != ANONYMOUS,
                _ if known(name) => *name == user,
                lower => lower == user,
            }
        })
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let [operations, users, verdict] = fields(line)[..] else { return None };
        let words = |text: &'a [u8]| -> Vec<&'a [u8]> {
            text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
        };
        let operations: Vec<_> = words(operations).iter().map(|word| word.to_ascii_lowercase()).collect();
        let users = words(users);
        let allow = match &verdict.to_ascii_lowercase()[..] {
            b"allow" => true,
            b"deny" => false,
            _ => return None,
        };
        (!operations.is_empty() && !users.is_empty()).then_some(Self { operations, users, allow })
    }

    /// "`all` among the operations is every operation": of the six, not of other words.
    fn names(&self, operation: &[u8]) -> bool {
        let is = |word: &Vec<u8>| word == operation || word == b"all" && Operation::parse(operation).is_some();
        self.operations.iter().any(is)
    }
}

fn content(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    user_lines::content(text).into_iter().map(|(_, line)| line)
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect()
}
