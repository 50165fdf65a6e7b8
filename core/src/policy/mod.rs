//! Accounts and access rules: which user may ask for which operation.

mod access;
mod accounts;
mod builder;
mod op_set;
mod rights;
mod rule;
mod rulebook;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::protocol::operation::Operation;
use crate::protocol::request::ANONYMOUS;
use crate::protocol::signature::HashedKey;
use crate::user_file::Warning;
pub use access::AccessOrder;
use access::Rules;
pub use builder::PolicyBuilder;
pub(crate) use op_set::OpSet;
use op_set::Words;
pub use rulebook::{Decision, Rulebook};

/// The accounts, and the operations that each account and the anonymous user may ask for.
///
/// A policy never changes. A reload makes a new one, and each request is judged by one policy.
#[derive(Clone, Debug)]
pub struct Policy {
    accounts: BTreeMap<Box<[u8]>, Account>,
    anonymous: OpSet,
    words: Words,
}

/// A user with a key.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) key: HashedKey,
    pub(crate) allowed: OpSet,
}

impl Policy {
    /// Parses the accounts file and the access file, `None` for an absent one.
    ///
    /// Parsing never fails: a line that is not understood is skipped, grants nothing and yields a warning.
    #[must_use]
    pub fn parse(accounts: Option<&[u8]>, access: Option<&[u8]>, order: AccessOrder) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let accounts = accounts::parse(accounts.unwrap_or_default(), &mut warnings);
        let rules = Rules::parse(access, &accounts, &mut warnings);
        rules.warn_of_differences(&accounts, &mut warnings);
        let rights = rules.compile(order);
        let anonymous = rights.allowed(ANONYMOUS);
        let with_rights = |(user, key): (Box<[u8]>, HashedKey)| {
            let allowed = rights.allowed(&user);
            (user, Account { key, allowed })
        };
        let accounts = accounts.into_iter().map(with_rights).collect();
        (Self { accounts, anonymous, words: rules.words }, warnings)
    }

    /// Returns the number of accounts.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Returns the key of an account, which signs requests as that user.
    #[must_use]
    pub fn key(&self, user: &[u8]) -> Option<&HashedKey> {
        self.account(user).map(|account| &account.key)
    }

    /// Whether `user`, the name of an account or `anonymous`, may ask for `operation`.
    #[must_use]
    pub fn allows(&self, user: &[u8], operation: Operation) -> bool {
        let allowed = if user == ANONYMOUS {
            self.anonymous
        } else {
            self.account(user).map_or(OpSet::NONE, |account| account.allowed)
        };
        allowed.contains(OpSet::of(operation))
    }

    pub(crate) fn account(&self, user: &[u8]) -> Option<&Account> {
        self.accounts.get(user)
    }

    pub(crate) const fn anonymous(&self) -> OpSet {
        self.anonymous
    }

    /// Returns the set of the word `op`, empty for a word that no access rule names.
    pub(crate) fn word(&self, op: &[u8]) -> OpSet {
        self.words.find(op)
    }
}

impl Default for Policy {
    /// Returns the policy of a server without files: the anonymous user may do everything but whitelist.
    fn default() -> Self {
        Self::parse(None, None, AccessOrder::FirstMatch).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_both_files_together() {
        let key = "0123456789abcdef0123456789abcdef01234567";
        let accounts = alloc::format!("bob : {key}\neve : {key}\n");
        let access = b"all : all : allow\nwhitelist : eve : deny\ncheck : anonymous : allow";
        let (policy, warnings) =
            Policy::parse(Some(accounts.as_bytes()), Some(access), AccessOrder::LastMatch);
        assert_eq!(policy.accounts(), 2);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(policy.allows(b"bob", Operation::Whitelist));
        assert!(!policy.allows(b"eve", Operation::Whitelist));
        assert!(policy.allows(ANONYMOUS, Operation::Check));
        assert!(!policy.allows(ANONYMOUS, Operation::Report));
        assert!(!policy.allows(b"nobody", Operation::Ping));
    }
}
