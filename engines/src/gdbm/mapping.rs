//! Whether libgdbm maps the file into memory.
//!
//! A mapping saves two system calls for each record that is read, and seven for one that is changed. But a file that
//! [grows](super::growth) is mapped anew for each block, which takes milliseconds for a large file.

use rustix::process::{Resource, getrlimit};

use super::ffi::Database;

/// The largest file that is mapped, in bytes.
pub(super) const LARGEST: u64 = 256 << 20;

/// How libgdbm reads and writes the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mapping {
    Mapped,
    Unmapped,
    /// Unmapped for good: the system refused a mapping. If libgdbm is asked to map the file again, it uses
    /// the failed mapping and reads from an invalid address.
    Refused,
}

impl Mapping {
    /// Returns whether a file of this length should be mapped. With a limit on the address space, as set by
    /// `ulimit -v`, a mapping may be refused at any time, which libgdbm does not handle everywhere.
    pub(super) fn suits(length: u64) -> bool {
        length <= LARGEST && getrlimit(Resource::As).current.is_none()
    }

    /// Returns the state of a database for which `self` was asked or set: libgdbm gives a mapping up by
    /// itself if the system refuses a larger one.
    pub(super) fn observed(self, database: &mut Database) -> Self {
        match self {
            _ if database.is_mapped() => Self::Mapped,
            Self::Mapped => Self::Refused,
            unmapped => unmapped,
        }
    }
}
