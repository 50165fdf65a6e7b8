//! Who may ask for what: an immutable snapshot of the accounts file and the access file.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::access::{OpSet, Rules, Words};
use crate::accounts;
use crate::operation::Operation;
use crate::request::ANONYMOUS;
use crate::signature::HashedKey;

/// Which line of an access file decides when several match: the setting `AccessOrder`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum AccessOrder {
    /// "The first match for user/privilege being the value taken": what the user guide says.
    #[default]
    FirstMatch,
    /// What the Python server 1.x does.
    LastMatch,
}

/// The accounts, and what each of them and the anonymous user may ask for.
///
/// A reload makes a new one; each request is judged by one snapshot.
#[derive(Clone, Debug)]
pub struct Policy {
    accounts: BTreeMap<Box<[u8]>, Account>,
    anonymous: OpSet,
    words: Words,
}

/// One user with a key.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) key: HashedKey,
    pub(crate) allowed: OpSet,
}

impl Policy {
    /// Reads both files, `None` for one that is absent. They are users' files: whatever is in them, there is
    /// a policy, and warnings for the lines that were not understood.
    #[must_use]
    pub fn parse(accounts: Option<&[u8]>, access: Option<&[u8]>, order: AccessOrder) -> (Self, Vec<Warning>) {
        let mut warnings = Vec::new();
        let accounts = accounts::parse(accounts.unwrap_or_default(), &mut warnings);
        let rules = Rules::parse(access, &accounts, &mut warnings);
        rules.warn_of_differences(&accounts, &mut warnings);
        let table = rules.compile(order);
        let anonymous = table.allowed(ANONYMOUS);
        let with_rights = |(user, key): (Box<[u8]>, HashedKey)| {
            let allowed = table.allowed(&user);
            (user, Account { key, allowed })
        };
        let accounts = accounts.into_iter().map(with_rights).collect();
        (Self { accounts, anonymous, words: rules.words }, warnings)
    }

    /// How many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// The key of an account, with which to sign as that user.
    #[must_use]
    pub fn key(&self, user: &[u8]) -> Option<&HashedKey> {
        self.account(user).map(|account| &account.key)
    }

    /// Whether `user`, an account's name or `anonymous`, may ask for `operation`.
    #[must_use]
    pub fn allows(&self, user: &[u8], operation: Operation) -> bool {
        let allowed = if user == ANONYMOUS {
            self.anonymous
        } else {
            self.account(user).map(|account| account.allowed).unwrap_or_default()
        };
        allowed.contains(OpSet::of(operation))
    }

    pub(crate) fn account(&self, user: &[u8]) -> Option<&Account> {
        self.accounts.get(user)
    }

    pub(crate) const fn anonymous(&self) -> OpSet {
        self.anonymous
    }

    pub(crate) const fn words(&self) -> &Words {
        &self.words
    }
}

impl Default for Policy {
    /// The policy of a server that has neither file.
    fn default() -> Self {
        Self::parse(None, None, AccessOrder::FirstMatch).0
    }
}

/// A file that users write: the two that make a policy, and the two of a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum File {
    /// The setting `PasswdFile`.
    Accounts,
    /// The setting `AccessFile`.
    Access,
    /// The client's setting `ServersFile`.
    Servers,
    /// The client's setting `AccountsFile`.
    ClientAccounts,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accounts => "accounts file",
            Self::Access => "access file",
            Self::Servers => "servers file",
            Self::ClientAccounts => "client's accounts file",
        })
    }
}

/// Something in a user's file that was not taken as it stands, or that he should know. It fits on one line and
/// never shows a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Warning {
    /// In which file.
    pub file: File,
    /// The line's number, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong with it and what was done.
    pub text: Cow<'static, str>,
}

impl Warning {
    pub(crate) fn new(file: File, line: usize, text: impl Into<Cow<'static, str>>) -> Self {
        Self { file, line, text: text.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}, line {line}: {}", self.file, self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_both_files_together() {
        let accounts = b"bob : 1234\neve : 5678\n";
        let access = b"all : all : allow\nwhitelist : eve : deny\ncheck : anonymous : allow";
        let (policy, warnings) = Policy::parse(Some(accounts), Some(access), AccessOrder::LastMatch);
        assert_eq!(policy.accounts(), 2);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(policy.allows(b"bob", Operation::Whitelist));
        assert!(!policy.allows(b"eve", Operation::Whitelist));
        assert!(policy.allows(ANONYMOUS, Operation::Check));
        assert!(!policy.allows(ANONYMOUS, Operation::Report));
        assert!(!policy.allows(b"nobody", Operation::Ping));
    }
}
