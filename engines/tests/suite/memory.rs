//! The store in memory: the model that the other engines are compared with.

use pyzord_core::{Digest, MemoryStore, Record};

use crate::subject::Subject;

#[derive(Default)]
pub(crate) struct Memory;

impl Subject for Memory {
    type Store = MemoryStore;
    const TELLS: bool = true;
    /// It is compared with itself.
    const HISTORIES: u32 = 10;

    fn store(&self) -> MemoryStore {
        MemoryStore::new()
    }

    /// Keeps the store open, as its records do not outlive it.
    fn reopen(&self, store: MemoryStore) -> MemoryStore {
        store
    }

    fn put(store: &mut MemoryStore, digest: Digest, record: &Record) {
        store.put(digest, *record);
    }

    fn count(&self, store: &MemoryStore) -> usize {
        store.records().count()
    }
}
