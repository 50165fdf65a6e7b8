//! The free space of a gdbm file, to detect space that is free and in use at once.
//!
//! libgdbm writes the bucket with a new key first and the table of free space last. A process that is killed
//! in between leaves a file in which the key's space is still free, and a later key is written over it.

use super::format::{Expected, Mismatch, check};

/// Extents of free space: [`add`](Self::add) all of them, then [`settle`](Self::settle), then check used
/// space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FreeSpace(Vec<Extent>);

/// The address of the first byte, and that after the last.
type Extent = (i64, i64);

impl FreeSpace {
    /// Adds an extent, in any order.
    pub(super) fn add(&mut self, address: i64, size: i64) {
        if size > 0 {
            self.0.push((address, address.saturating_add(size)));
        }
    }

    /// Sorts the extents, and checks that they do not overlap.
    pub(super) fn settle(&mut self) -> Result<(), Mismatch> {
        self.0.sort_unstable();
        self.0.windows(2).try_for_each(|pair| match pair {
            [(_, end), (next, _)] => {
                check("the address of free space", *next, Expected::Within(*end, i64::MAX))
            }
            _ => Ok(()),
        })
    }

    /// Sorts the extents, and joins those that overlap, as in a damaged file.
    pub(super) fn join(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let joined = next.0 <= kept.1;
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
    }

    /// Checks that space in use is not free.
    pub(super) fn check_used(&self, field: &'static str, address: i64, size: i64) -> Result<(), Mismatch> {
        let after = self.0.partition_point(|(start, _)| *start < address.saturating_add(size));
        let before = after.checked_sub(1).and_then(|last| self.0.get(last));
        before.map_or(Ok(()), |(_, end)| check(field, address, Expected::Within(*end, i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_free_space_is_refused() {
        let mut free = FreeSpace::default();
        for (address, size) in [(300, 50), (100, 50), (150, 10), (200, 0)] {
            free.add(address, size);
        }
        assert_eq!(free.settle(), Ok(()));
        let table = [
            (0, 100, true),
            (0, 101, false),
            (99, 2, false),
            (120, 5, false),
            (159, 1, false),
            (160, 140, true),
            (160, 141, false),
            (350, 9, true),
            (90, 400, false),
        ];
        for (address, size, fits) in table {
            assert_eq!(free.check_used("it", address, size).is_ok(), fits, "{address} {size}");
        }
    }

    #[test]
    fn extents_that_overlap_are_joined() {
        let mut free = FreeSpace::default();
        for (address, size) in [(100, 50), (110, 5), (150, 10), (300, 1)] {
            free.add(address, size);
        }
        free.join();
        assert_eq!(free, FreeSpace(vec![(100, 160), (300, 301)]));
        assert!(free.check_used("it", 155, 1).is_err());
    }

    #[test]
    fn free_space_must_not_be_free_twice() {
        let mut free = FreeSpace::default();
        free.add(100, 50);
        free.add(149, 5);
        assert!(free.settle().is_err());
    }
}
