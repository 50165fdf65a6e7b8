//! A policy without files.

use alloc::collections::BTreeMap;

use crate::policy::op_set::{OpSet, Words};
use crate::policy::{Account, Policy};
use crate::protocol::operation::Operation;
use crate::protocol::request::ANONYMOUS;
use crate::protocol::signature::HashedKey;

/// Builds a [`Policy`] from values, for a server whose accounts are not in files.
///
/// ```
/// use pyzord_core::{ANONYMOUS, Operation, Policy};
///
/// let policy = Policy::builder()
///     .anonymous([Operation::Ping, Operation::Check])
///     .account(b"bob", b"da39a3ee5e6b4b0d3255bfef95601890afd80709", Operation::ALL)
///     .build();
/// assert!(policy.allows(b"bob", Operation::Whitelist));
/// assert!(!policy.allows(ANONYMOUS, Operation::Report));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PolicyBuilder(Policy);

impl Policy {
    /// Returns a builder of a policy without files, which grants nothing yet.
    pub fn builder() -> PolicyBuilder {
        let words = Words::default();
        PolicyBuilder(Self { accounts: BTreeMap::new(), anonymous: OpSet::NONE, words })
    }
}

impl PolicyBuilder {
    /// Sets what the anonymous user may ask for, in place of nothing.
    pub fn anonymous(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.0.anonymous = set(operations);
        self
    }

    /// Adds an account, or replaces it: its user, its key as an accounts file has it, and what it may ask for.
    ///
    /// Requests of the user `anonymous`, and those without a user, are never signed: such an account has no effect.
    pub fn account(
        mut self,
        user: &[u8],
        key: &[u8],
        operations: impl IntoIterator<Item = Operation>,
    ) -> Self {
        if user != ANONYMOUS && !user.is_empty() {
            let account = Account { key: HashedKey::new(user, key), allowed: set(operations) };
            self.0.accounts.insert(user.into(), account);
        }
        self
    }

    /// Returns the policy.
    #[must_use]
    pub fn build(self) -> Policy {
        self.0
    }
}

fn set(operations: impl IntoIterator<Item = Operation>) -> OpSet {
    operations.into_iter().fold(OpSet::NONE, |set, operation| set.with(OpSet::of(operation)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::AccessOrder;

    #[test]
    fn a_built_policy_is_the_parsed_one() {
        let (parsed, _) = Policy::parse(
            Some(b"bob : 12\neve : 34"),
            Some(b"all : bob : allow\ncheck : eve anonymous : allow"),
            AccessOrder::FirstMatch,
        );
        let built = Policy::builder()
            .account(b"bob", b"12", Operation::ALL)
            .account(b"eve", b"34", [Operation::Check])
            .account(ANONYMOUS, b"56", Operation::ALL)
            .anonymous([Operation::Check])
            .build();
        assert_eq!((built.accounts(), built.key(b"eve")), (2, parsed.key(b"eve")));
        for user in [&b"bob"[..], b"eve", b"anonymous", b"mallory"] {
            for operation in Operation::ALL {
                assert_eq!(built.allows(user, operation), parsed.allows(user, operation), "{operation}");
            }
        }
    }
}
