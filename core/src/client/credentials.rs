//! The user and the key that sign a client's requests.

use alloc::boxed::Box;

use crate::protocol::request::ANONYMOUS;
use crate::protocol::signature::HashedKey;

/// A user and its key, which signs requests. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    user: Box<[u8]>,
    key: HashedKey,
}

impl Credentials {
    /// Returns the credentials of `user`, with the key that the server has in its accounts file.
    #[must_use]
    pub fn new(user: &[u8], key: &[u8]) -> Self {
        Self { user: user.into(), key: HashedKey::new(user, key) }
    }

    /// Returns the credentials of the anonymous user: the Python client signs for it with an empty key, and servers
    /// ignore the signature.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, b"")
    }

    /// Returns the name of the user.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Whether the user is the anonymous one, whose signature servers ignore.
    #[must_use]
    pub fn are_anonymous(&self) -> bool {
        *self.user == *ANONYMOUS
    }

    pub(super) const fn key(&self) -> &HashedKey {
        &self.key
    }
}
