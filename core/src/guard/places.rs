//! Places of digests in a request.

use crate::protocol::request::MAX_REQUEST;

/// The shortest header of a digest: its name, a colon, 40 hex digits, a line feed.
const SHORTEST: usize = "Op-Digest".len() + 1 + 40 + 1;
const WORDS: usize = 3;

/// A set of places of digests in a request, one bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Places([u64; WORDS]);

// Each place of a digest has a bit.
const _: () = assert!(MAX_REQUEST / SHORTEST < WORDS * 64 && WORDS * 64 < u8::MAX as usize);

impl Places {
    pub(crate) fn contains(self, place: u8) -> bool {
        let Self(words) = self;
        words.get(usize::from(place / 64)).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(crate) fn insert(&mut self, place: u8) {
        if let Some(word) = self.0.get_mut(usize::from(place / 64)) {
            *word |= 1 << (place % 64);
        }
    }

    pub(crate) fn remove(&mut self, place: u8) {
        if let Some(word) = self.0.get_mut(usize::from(place / 64)) {
            *word &= !(1 << (place % 64));
        }
    }

    /// Returns the number of places.
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 bits")]
    pub(crate) const fn len(self) -> u8 {
        let [a, b, c] = self.0;
        (a.count_ones() + b.count_ones() + c.count_ones()) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_and_go() {
        let mut places = Places::default();
        for place in [0, 63, 64, 160, 63] {
            places.insert(place);
        }
        assert!([0, 63, 64, 160].into_iter().all(|place| places.contains(place)));
        assert!([1, 62, 65, 159, 192, 255].into_iter().all(|place| !places.contains(place)));
        assert_eq!(places.len(), 4);
        places.remove(64);
        places.remove(255);
        assert_eq!((places.contains(64), places.len()), (false, 3));
    }
}
