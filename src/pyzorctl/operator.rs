//! The operator, whom the running server's log names with what was changed.

use std::env;

use pyzord_core::Digest;

use super::context::Context;
use crate::output::complain;

/// The most digests that the log of the server names for one command.
const MOST_NAMED: usize = 20;
/// The longest name of an operator that is logged, in characters.
const LONGEST_NAME: usize = 64;

/// What a command has changed, for the log of the running server.
///
/// Only a gdbm file is changed through the server; it logs what `pyzorctl` has changed in other databases since it is
/// told so.
pub(crate) struct Changes {
    named: Vec<String>,
    others: usize,
}

impl Changes {
    pub(crate) const fn new() -> Self {
        Self { named: Vec::new(), others: 0 }
    }

    pub(crate) fn add(&mut self, digest: Digest, what: &str) {
        if self.named.len() < MOST_NAMED {
            self.named.push(format!("{what} {digest}"));
        } else {
            self.others += 1;
        }
    }

    /// Tells the server. One that does not run has no log; what cannot be told for another reason is a warning.
    pub(crate) fn tell(mut self, context: &Context) {
        if self.others > 0 {
            self.named.push(format!("and {} digests more", self.others));
        }
        if self.named.is_empty() {
            return;
        }
        // The server knows the account at the other end of the socket, and not the person behind sudo.
        let caller = env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
        let caller = caller.map_or_else(String::new, |name| format!(", for {} (sudo)", short(&name)));
        let told = context.server().and_then(|mut server| {
            self.named.iter().try_for_each(|change| Ok(server.note(&format!("{change}{caller}"))?))
        });
        match told {
            Err(error) if !error.is_absent() => {
                complain!("pyzorctl: the server's log does not name this change: {error}");
            }
            Ok(()) | Err(_) => (),
        }
    }
}

/// Returns the beginning of a name, without control characters.
fn short(name: &str) -> String {
    name.escape_debug().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_digests_are_counted_and_not_named() {
        let mut changes = Changes::new();
        (0..1000).for_each(|_| changes.add(Digest::new([7; 20]), "deleted"));
        assert_eq!((changes.named.len(), changes.others), (20, 980));
        assert!(changes.named.iter().all(|line| line.len() < 100));
        assert_eq!(short("al\u{1b}ice"), "al\\u{1b}ice");
        assert_eq!(short(&"x".repeat(1000)).len(), 64);
    }
}
