//! The access file line by line, for an administrator's questions.

use alloc::vec::Vec;

use crate::policy::access::{AccessOrder, Rules};
use crate::policy::accounts::{self, Accounts};
use crate::policy::op_set::OpSet;
use crate::protocol::operation::Operation;
use crate::protocol::request::ANONYMOUS;

/// The accounts file and the access file as they stand: answers which line decides.
///
/// A [`Policy`](crate::Policy) answers whether a user may ask for an operation in one look-up; a rulebook reads all
/// lines.
#[derive(Debug)]
pub struct Rulebook {
    accounts: Accounts,
    rules: Rules,
}

/// Whether an operation is allowed, and which line decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The number of the deciding line, from 1; `None` when no line matches, which denies. An absent file is its
    /// default of one line.
    pub line: Option<usize>,
}

impl Rulebook {
    /// Parses both files, `None` for an absent one. [`Policy::parse`](crate::Policy::parse) gives the warnings.
    #[must_use]
    pub fn parse(accounts: Option<&[u8]>, access: Option<&[u8]>) -> Self {
        let mut warnings = Vec::new();
        let accounts = accounts::parse(accounts.unwrap_or_default(), &mut warnings);
        let rules = Rules::parse(access, &accounts, &mut warnings);
        Self { accounts, rules }
    }

    /// Returns the accounts by name, then `anonymous`.
    pub fn users(&self) -> impl Iterator<Item = &[u8]> {
        self.accounts.keys().map(|user| &**user).filter(|user| *user != ANONYMOUS).chain([ANONYMOUS])
    }

    /// Whether `user` is an account or `anonymous`.
    #[must_use]
    pub fn knows(&self, user: &[u8]) -> bool {
        user == ANONYMOUS || self.accounts.contains_key(user)
    }

    /// Returns whether `user` may ask for `operation`, and by which line. A user without an account may do nothing.
    #[must_use]
    pub fn decide(&self, order: AccessOrder, user: &[u8], operation: Operation) -> Decision {
        let rule =
            if self.knows(user) { self.rules.deciding(order, user, OpSet::of(operation)) } else { None };
        Decision { allowed: rule.is_some_and(|rule| rule.allow), line: rule.map(|rule| rule.line) }
    }
}
