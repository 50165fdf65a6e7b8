//! Every key and value of a database, one at a time.

use std::sync::Arc;

use pyzord_core::StoreFailure;

use super::ffi::{Bytes, Fault};
use super::shared::Shared;
use super::{Database, Engine};

/// All keys and values of a [`Gdbm`](super::Gdbm), in no order. It ends after the first failure.
#[derive(Debug)]
pub struct Entries {
    shared: Arc<Shared>,
    at: At,
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Where the walk is.
#[derive(Debug)]
enum At {
    Start,
    /// The key to return next, found before the one before it could be removed.
    Key(Bytes),
    End,
}

impl Entries {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, at: At::Start }
    }

    fn step(&mut self) -> Result<Option<Entry>, StoreFailure> {
        let at = std::mem::replace(&mut self.at, At::End);
        let found = self.shared.with(|engine| {
            let found = entry(&mut engine.database, at);
            found.map_err(|fault| Engine::failure(engine, &fault))
        })?;
        Ok(found.map(|(entry, next)| {
            self.at = next;
            entry
        }))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StoreFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn entry(database: &mut Database, at: At) -> Result<Option<(Entry, At)>, Fault> {
    let key = match at {
        At::Start => database.first_key()?,
        At::Key(key) => Some(key),
        At::End => None,
    };
    let Some(key) = key else { return Ok(None) };
    let Some(value) = database.fetch(&key)? else { return Ok(None) };
    let next = database.next_key(&key)?.map_or(At::End, At::Key);
    Ok(Some(((key.to_vec(), value.to_vec()), next)))
}
