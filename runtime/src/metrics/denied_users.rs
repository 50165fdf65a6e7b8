//! Finds the users that are refused most often, in a table of a fixed size.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use pyzord_core::Escaped;

const SETS: usize = 4;
const WAYS: usize = 8;
/// The part of a name that is kept, in words of eight bytes: more than [`Escaped`] shows, so that a cut name is marked.
const WORDS: usize = 9;

/// Counts refusals by user and code in 32 entries, as [`TopClients`](super::top_clients::TopClients) does by network. A
/// client can invent any number of names: an entry therefore tells how often a user was refused at least.
///
/// One thread writes and others read.
#[derive(Debug)]
pub(super) struct DeniedUsers {
    /// Hides which names share a set.
    hasher: RandomState,
    sets: [[Entry; WAYS]; SETS],
}

#[derive(Debug)]
struct Entry {
    /// The hash of user and code; 0 while the entry belongs to none.
    key: AtomicU64,
    code: AtomicU64,
    name: [AtomicU64; WORDS],
    count: AtomicU64,
    excess: AtomicU64,
}

impl Entry {
    const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            code: AtomicU64::new(0),
            name: [const { AtomicU64::new(0) }; WORDS],
            count: AtomicU64::new(0),
            excess: AtomicU64::new(0),
        }
    }
}

/// A user whose requests were refused.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DeniedUser {
    /// The name as the usage log has it: escaped, and cut to 64 bytes. Nothing proves that the user sent the requests.
    pub user: String,
    /// 401 or 403.
    pub code: u16,
    /// How often it was refused at least.
    pub count: u64,
}

impl DeniedUsers {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), sets: [const { [const { Entry::new() }; WAYS] }; SETS] }
    }

    /// Counts one refusal.
    pub(super) fn count(&self, user: &[u8], code: u16) {
        let kept = user.get(..8 * WORDS).unwrap_or(user);
        let key = self.hasher.hash_one((kept, code)).max(1);
        let Some(set) = usize::try_from(key % SETS as u64).ok().and_then(|set| self.sets.get(set)) else {
            return;
        };
        if let Some(entry) = set.iter().find(|entry| entry.key.load(Ordering::Relaxed) == key) {
            entry.count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(least) = set.iter().min_by_key(|entry| entry.count.load(Ordering::Relaxed)) else { return };
        let count = least.count.load(Ordering::Relaxed);
        // Belongs to no user while it changes, so that no reader takes it for that of either.
        least.key.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        least.code.store(code.into(), Ordering::Relaxed);
        let mut chunks = kept.chunks(8);
        for word in &least.name {
            word.store(chunks.next().map_or(0, word_of), Ordering::Relaxed);
        }
        least.excess.store(count, Ordering::Relaxed);
        least.count.store(count + 1, Ordering::Relaxed);
        least.key.store(key, Ordering::Release);
    }

    /// Iterates over the users that have an entry.
    pub(super) fn all(&self) -> impl Iterator<Item = DeniedUser> {
        self.sets.iter().flatten().filter_map(|entry| {
            let key = entry.key.load(Ordering::Acquire);
            if key == 0 {
                return None;
            }
            let name: Vec<u8> =
                entry.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
            let code = u16::try_from(entry.code.load(Ordering::Relaxed)).ok()?;
            let (count, excess) = (entry.count.load(Ordering::Relaxed), entry.excess.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            // Another user took the entry over in the meantime.
            if entry.key.load(Ordering::Relaxed) != key {
                return None;
            }
            let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let user = Escaped(name.get(..end).unwrap_or_default()).to_string();
            Some(DeniedUser { user, code, count: count.saturating_sub(excess) })
        })
    }
}

/// Returns up to eight bytes as a word, zeros behind them.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(users: &DeniedUsers) -> Vec<(String, u16, u64)> {
        let mut found: Vec<_> = users.all().map(|user| (user.user, user.code, user.count)).collect();
        found.sort();
        found
    }

    #[test]
    fn users_are_counted_by_code_and_names_are_escaped_and_cut() {
        let users = DeniedUsers::new();
        assert_eq!(found(&users), []);
        let long = "x".repeat(500);
        for (name, code, times) in [
            (&b"bob"[..], 401, 3),
            (b"bob", 403, 1),
            (b"", 401, 2),
            (b"e\nve\xff,<b>\"", 401, 1),
            (long.as_bytes(), 401, 2),
        ] {
            (0..times).for_each(|_| users.count(name, code));
        }
        let expected = [
            (String::new(), 401, 2),
            ("bob".to_owned(), 401, 3),
            ("bob".to_owned(), 403, 1),
            ("e\\nve\\xff\\x2c<b>\\\"".to_owned(), 401, 1),
            (format!("{}...", &long[..64]), 401, 2),
        ];
        assert_eq!(found(&users), expected);
    }

    #[test]
    fn invented_names_hide_no_user_that_is_often_refused_and_no_count_is_too_large() {
        let users = DeniedUsers::new();
        for number in 0..100_000 {
            users.count(format!("invented-{number}").as_bytes(), 401);
            if number % 4 == 0 {
                users.count(b"relay7", 401);
            }
        }
        let all = found(&users);
        assert!(all.len() <= SETS * WAYS);
        let relay = all.iter().find(|(user, ..)| user == "relay7").unwrap();
        assert!((1..=25_000).contains(&relay.2), "{relay:?}");
        assert!(all.iter().filter(|(user, ..)| user != "relay7").all(|(_, _, count)| *count == 1), "{all:?}");
    }
}
