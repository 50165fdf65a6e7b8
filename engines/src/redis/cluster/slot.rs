//! The slot of a key: which of the 16384 parts of a cluster has it.

use std::fmt::Write as _;

/// How many slots a cluster has.
pub(super) const SLOTS: usize = 16_384;

/// A slot, below [`SLOTS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot(u16);

impl Slot {
    /// Returns the slot of this number; `None` if there is none.
    pub(super) fn new(number: usize) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| usize::from(*number) < SLOTS).map(Self)
    }

    /// Returns the slot of a key.
    ///
    /// If the key has a tag in braces that is not empty, the tag decides. The key of a record has none; the key of a
    /// mark has the key of its record as its tag, so that one script can have both.
    pub(super) fn of(key: &[u8]) -> Self {
        let tag = key.iter().position(|byte| *byte == b'{').and_then(|start| {
            let rest = key.get(start + 1..)?;
            let end = rest.iter().position(|byte| *byte == b'}')?;
            rest.get(..end).filter(|tag| !tag.is_empty())
        });
        Self(crc16(tag.unwrap_or(key)) & 0x3fff)
    }

    pub(super) fn number(self) -> usize {
        self.0.into()
    }
}

/// Returns for each slot a text that has it, to be a key's tag.
pub(super) fn tags() -> Vec<u32> {
    let mut tags = vec![None; SLOTS];
    let (mut left, mut text) = (SLOTS, String::new());
    for number in 0_u32.. {
        if left == 0 {
            break;
        }
        text.clear();
        // Writing to a string does not fail.
        let _ = write!(text, "{number}");
        if let Some(tag @ None) = tags.get_mut(Slot::of(text.as_bytes()).number()) {
            *tag = Some(number);
            left -= 1;
        }
    }
    tags.into_iter().flatten().collect()
}

/// CRC-16/XMODEM, by which redis divides keys.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = usize::from((crc >> 8) ^ u16::from(*byte));
        (crc << 8) ^ TABLE.get(index).copied().unwrap_or_default()
    })
}

const TABLE: [u16; 256] = table();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated by the compiler")]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [
            (&b""[..], 0),
            (b"foo", 12182),
            (b"{foo}bar", 12182),
            (b"x{foo}{bar}", 12182),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", 4015),
            (b"pyzord.digest_v1.da39a3ee5e6b4b0d3255bfef95601890afd80709", 6921),
        ] {
            assert_eq!(Slot::of(key), Slot(slot), "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn every_slot_has_a_tag() {
        let tags = tags();
        assert_eq!(tags.len(), SLOTS);
        for (number, tag) in tags.iter().enumerate() {
            assert_eq!(Slot::of(format!("pyzord.{{{tag}}}").as_bytes()).number(), number);
        }
    }

    #[test]
    fn a_slot_has_a_number_below_the_count() {
        assert_eq!(Slot::new(SLOTS - 1), Some(Slot(16383)));
        assert_eq!([Slot::new(SLOTS), Slot::new(65536), Slot::new(usize::MAX)], [None; 3]);
    }
}
