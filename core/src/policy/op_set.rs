//! Sets of operations, as bits.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::protocol::operation::Operation;

/// A set of operations: one bit for each of the six, and one for each other word that the access file names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OpSet(u64);

impl OpSet {
    pub(super) const NONE: Self = Self(0);
    /// `all`: the six operations, without other words.
    pub(super) const ALL: Self = Self((1 << Operation::ALL.len()) - 1);

    pub(crate) const fn of(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }

    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the operations that are in exactly one of the sets. Other words are left out: the server refuses them.
    pub(super) const fn differences(self, other: Self) -> Self {
        Self((self.0 ^ other.0) & Self::ALL.0)
    }
}

/// Words of an access file that name no operation. A request for a granted one is answered with 501, others with 403.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Vec<Box<[u8]>>);

impl Words {
    /// Returns the set of this one word, which is in lower case; the empty set for a word that the file does not have.
    pub(crate) fn find(&self, word: &[u8]) -> OpSet {
        if let Some(operation) = Operation::parse(word) {
            return OpSet::of(operation);
        }
        let bit = self.0.iter().position(|known| **known == *word).map(|index| index + Operation::ALL.len());
        bit.map_or(OpSet::NONE, |bit| OpSet(1 << bit))
    }

    /// Returns the set of this one word, and adds the word if it is new.
    pub(super) fn intern(&mut self, word: &[u8]) -> OpSet {
        let found = self.find(word);
        // A word without a bit stays forbidden: 403 in place of 501.
        if found != OpSet::NONE || self.0.len() + Operation::ALL.len() == 64 {
            return found;
        }
        self.0.push(word.into());
        self.find(word)
    }
}
