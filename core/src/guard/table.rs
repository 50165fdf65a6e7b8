//! A hash table of a fixed size, which forgets rather than grows.

use alloc::vec::Vec;

/// The slots in which an entry may be. If all are full, the entry of the least worth makes room.
const WAYS: usize = 8;

type Slot<K, V> = Option<(K, V)>;

/// Keeps about `capacity` entries. Its memory is allocated for the first entry and never grows.
///
/// A sender who chooses many keys can drive out the entries of others. So callers are safe when an entry is forgotten,
/// and hash keys that a peer chooses with a secret.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    slots: Vec<[Slot<K, V>; WAYS]>,
    sets: usize,
}

impl<K: Copy + Eq, V: Copy> Table<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), sets: capacity.div_ceil(WAYS).max(1) }
    }

    pub(super) fn get(&mut self, hash: u64, key: K) -> Option<&mut V> {
        let set = self.index(hash);
        let slots = self.slots.get_mut(set)?.iter_mut().flatten();
        slots.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Inserts an entry whose key is not in the table.
    pub(super) fn insert<W: Ord>(&mut self, hash: u64, key: K, value: V, worth: impl Fn(&V) -> W) {
        if self.slots.is_empty() {
            self.slots.resize(self.sets, [const { None }; WAYS]);
        }
        let set = self.index(hash);
        let slots = self.slots.get_mut(set).into_iter().flatten();
        // An empty slot is worth less than any entry.
        if let Some(slot) = slots.min_by_key(|slot| slot.as_ref().map(|(_, value)| worth(value))) {
            *slot = Some((key, value));
        }
    }

    pub(super) fn remove(&mut self, hash: u64, key: K) {
        let set = self.index(hash);
        for slot in self.slots.get_mut(set).into_iter().flatten() {
            if slot.is_some_and(|(known, _)| known == key) {
                *slot = None;
            }
        }
    }

    fn index(&self, hash: u64) -> usize {
        usize::try_from(hash % self.sets as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_found_until_more_valuable_entries_need_the_room() {
        let mut table = Table::new(WAYS);
        for key in 0..8_u64 {
            table.insert(key, key, key * 10, |value| *value);
        }
        assert_eq!(table.get(3, 3), Some(&mut 30));
        table.insert(8, 8, 80, |value| *value);
        assert_eq!(table.get(0, 0), None, "it was worth least");
        assert_eq!(table.get(8, 8), Some(&mut 80));
        table.remove(3, 3);
        assert_eq!(table.get(3, 3), None);
        table.insert(9, 9, 5, |value| *value);
        assert_eq!(table.get(9, 9), Some(&mut 5));
        assert_eq!(table.get(1, 1), Some(&mut 10), "there was room");
    }

    #[test]
    fn it_never_grows() {
        let mut table = Table::new(1000);
        assert_eq!(table.slots.capacity(), 0);
        for key in 0..100_000_u64 {
            table.insert(key, key, key, |value| *value);
        }
        assert_eq!(table.slots.len(), 125);
        let kept = (0..100_000).filter(|key| table.get(*key, *key).is_some()).count();
        assert_eq!(kept, 1000);
    }
}
