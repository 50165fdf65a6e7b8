//! How a database is used.

use crate::access::Access;

/// What a reply to a count promises.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Durability {
    /// A killed process loses nothing that it acknowledged. The count is on the disk, and survives a loss of power, once a
    /// sync has ended that begins within 100 milliseconds.
    #[default]
    Deferred,
    /// The count is on the disk.
    Strict,
}

/// How a database is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What may be done to it.
    pub access: Access,
    /// What a reply to a count promises.
    pub durability: Durability,
    /// The memory for pages of the database, in bytes, which handles and the writer share. A
    /// [sparing](super::Sqlite::sparing) handle has half a MiB of its own.
    pub cache: u64,
    /// The number of handles that share this memory.
    pub handles: usize,
}

/// The memory for pages of the database by default, in bytes.
pub const DEFAULT_CACHE: u64 = 128 << 20;

/// The memory for pages of a connection that needs little, in bytes.
pub(super) const LITTLE_CACHE: u64 = 512 << 10;

impl Options {
    /// Returns the options of a program that works alone, as `pyzorctl` and migrations do.
    #[must_use]
    pub const fn alone(access: Access) -> Self {
        Self { access, durability: Durability::Deferred, cache: DEFAULT_CACHE, handles: 1 }
    }

    /// The writer's memory, in bytes: half of the cache. Each commit of the writer empties the memory of the readers.
    pub(super) const fn writers_share(&self) -> u64 {
        self.cache / 2
    }

    /// The memory of a handle, in bytes.
    pub(super) const fn handles_share(&self) -> u64 {
        self.cache / 2 / if self.handles == 0 { 1 } else { self.handles as u64 }
    }
}
