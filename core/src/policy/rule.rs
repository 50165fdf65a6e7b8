//! One line of an access file.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::policy::accounts::Accounts;
use crate::policy::op_set::OpSet;
use crate::protocol::request::ANONYMOUS;

/// One line of an access file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    /// The number of the line, from 1.
    pub(super) line: usize,
    pub(super) operations: OpSet,
    /// "The keyword `all` can be used to refer to all users other than the anonymous user."
    pub(super) everyone: bool,
    pub(super) users: Vec<Box<[u8]>>,
    pub(super) allow: bool,
}

impl Rule {
    /// Whether the line is about `user`.
    pub(super) fn names(&self, user: &[u8]) -> bool {
        self.everyone && user != ANONYMOUS || self.users.iter().any(|name| **name == *user)
    }

    /// Adds a user of the line. Names compare exactly; one that matches an account only in lower case is taken as that
    /// account, because Python's server lower-cases the whole file.
    pub(super) fn add_user(&mut self, name: &[u8], accounts: &Accounts, warn: &mut dyn FnMut(String)) {
        let known = |name: &[u8]| name == ANONYMOUS || accounts.contains_key(name);
        let lower = name.to_ascii_lowercase();
        if lower == b"all" {
            self.everyone = true;
        } else if known(name) {
            if *name != lower {
                let text =
                    "names its account here; Python's pyzord 1.x lower-cases this file and did not find it";
                warn(format!("`{}` {text}", name.escape_ascii()));
            }
            self.users.push(name.into());
        } else if known(&lower) {
            warn(format!("`{}` is taken as `{}`", name.escape_ascii(), lower.escape_ascii()));
            self.users.push(lower.into());
        } else {
            warn(format!("there is no account `{}`", name.escape_ascii()));
        }
    }
}
