//! Why a user may do something or not: the access file line by line, for an administrator's questions.

use alloc::vec::Vec;

use crate::access::{OpSet, Rules};
use crate::accounts::{self, Accounts};
use crate::operation::Operation;
use crate::policy::AccessOrder;
use crate::request::ANONYMOUS;

/// The accounts file and the access file as they stand. A [`Policy`](crate::Policy) knows whether a user may do
/// something, at the cost of one look-up; this knows which line says so, by reading them all.
#[derive(Debug)]
pub struct Rulebook {
    accounts: Accounts,
    rules: Rules,
}

/// Whether something is allowed, and what decides that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The deciding line of the access file, from 1; `None` when no line matches, which denies it. In the place of an
    /// absent file is the default, of one line.
    pub line: Option<usize>,
}

impl Rulebook {
    /// Reads both files, `None` for one that is absent, as [`Policy::parse`](crate::Policy::parse) does, which also
    /// has the warnings.
    #[must_use]
    pub fn parse(accounts: Option<&[u8]>, access: Option<&[u8]>) -> Self {
        let mut warnings = Vec::new();
        let accounts = accounts::parse(accounts.unwrap_or_default(), &mut warnings);
        let rules = Rules::parse(access, &accounts, &mut warnings);
        Self { accounts, rules }
    }

    /// The accounts by name, then `anonymous`.
    pub fn users(&self) -> impl Iterator<Item = &[u8]> {
        self.accounts.keys().map(|user| &**user).filter(|user| *user != ANONYMOUS).chain([ANONYMOUS])
    }

    /// Whether there is such a user: an account, or `anonymous`.
    #[must_use]
    pub fn knows(&self, user: &[u8]) -> bool {
        user == ANONYMOUS || self.accounts.contains_key(user)
    }

    /// Whether `user` may ask for `operation`, and by which line. One without an account may do nothing.
    #[must_use]
    pub fn decide(&self, order: AccessOrder, user: &[u8], operation: Operation) -> Decision {
        let known = self.knows(user).then(|| self.rules.deciding(order, user, OpSet::of(operation)));
        let rule = known.flatten();
        Decision { allowed: rule.is_some_and(|rule| rule.allow), line: rule.map(|rule| rule.line) }
    }
}
