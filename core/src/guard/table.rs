//! A hash table of a fixed size, which forgets rather than grows.

use alloc::vec;
use alloc::vec::Vec;

/// The slots in which an entry may be. If all are full, the entry of the least worth makes room.
const WAYS: usize = 8;

/// The sets that are allocated together, in some tens of KB: a larger part, allocated behind a lock, keeps others waiting.
const CHUNK: usize = 64;

type Slot<K, V> = Option<(K, V)>;

/// Keeps about `capacity` entries. Its memory is allocated part by part as it is used, up to that size.
///
/// A sender who chooses many keys can drive out the entries of others. So callers are safe when an entry is forgotten,
/// and hash keys with a secret.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    chunks: Vec<Vec<[Slot<K, V>; WAYS]>>,
    sets: usize,
}

impl<K: Copy + Eq, V: Copy> Table<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1);
        Self { chunks: vec![Vec::new(); sets.div_ceil(CHUNK)], sets }
    }

    pub(super) fn get(&mut self, hash: u64, key: K) -> Option<&mut V> {
        let (chunk, set) = self.index(hash);
        let slots = self.chunks.get_mut(chunk)?.get_mut(set)?.iter_mut().flatten();
        slots.into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Inserts an entry whose key is not in the table.
    pub(super) fn insert<W: Ord>(&mut self, hash: u64, key: K, value: V, worth: impl Fn(&V) -> W) {
        let (chunk, set) = self.index(hash);
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if chunk.is_empty() {
            chunk.resize(CHUNK, [const { None }; WAYS]);
        }
        let slots = chunk.get_mut(set).into_iter().flatten();
        // An empty slot is worth less than any entry.
        if let Some(slot) = slots.min_by_key(|slot| slot.as_ref().map(|(_, value)| worth(value))) {
            *slot = Some((key, value));
        }
    }

    /// Returns the chunk of a hash, and its set there.
    fn index(&self, hash: u64) -> (usize, usize) {
        let set = usize::try_from(hash % self.sets as u64).unwrap_or(0);
        (set / CHUNK, set % CHUNK)
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
    }

    #[test]
    fn it_never_grows() {
        let mut table = Table::new(1000);
        let allocated = |table: &Table<u64, u64>| table.chunks.iter().map(Vec::capacity).sum::<usize>();
        assert_eq!(allocated(&table), 0);
        table.insert(0, 0, 0, |value| *value);
        assert_eq!(allocated(&table), CHUNK, "and not all of it at once");
        for key in 1..100_000_u64 {
            table.insert(key, key, key, |value| *value);
        }
        assert_eq!(allocated(&table), 2 * CHUNK);
        let kept = (0..100_000).filter(|key| table.get(*key, *key).is_some()).count();
        assert_eq!(kept, 1000);
    }
}
