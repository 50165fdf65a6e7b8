//! What a disk has of changes that were not synced.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::step::Change;

/// How much of one file reaches the disk without a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Survival {
    /// What is written whole: a sector or a page, in bytes.
    pub(crate) unit: u64,
    /// The chance of a unit to be as it was last.
    pub(crate) percent: usize,
    /// Whether the changes reach the disk in their order.
    pub(crate) in_order: bool,
}

impl Survival {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            unit: random.pick(&[512, 4096]),
            percent: random.pick(&[0, 10, 50, 90, 99, 100]),
            in_order: random.percent(25),
        }
    }

    /// Returns what the disk has of a file of which it had `synced` and then these changes were made, and how many units
    /// of them are lost.
    ///
    /// A unit has one of the contents that it had since: a page cache writes whole pages, each whenever it likes. So has the
    /// length. What lies within the length and was never written is zero.
    pub(crate) fn of(self, synced: &[u8], changes: &[&Change], random: &mut Random) -> (Vec<u8>, usize) {
        let lengths: Vec<u64> = changes
            .iter()
            .scan(synced.len() as u64, |length, change| {
                *length = change.length(*length);
                Some(*length)
            })
            .collect();
        let longest = lengths.iter().copied().max().unwrap_or_default().max(synced.len() as u64);
        let mut content = synced.to_vec();
        content.resize(index(longest), 0);
        let kept = if self.in_order {
            self.prefix(changes, longest, random)
        } else {
            self.any(changes, longest, random)
        };
        let (mut seen, mut lost) = (BTreeMap::<u64, u32>::new(), 0);
        for change in changes {
            for unit in self.units(change, longest) {
                let number = seen.entry(unit).or_default();
                if *number < kept.get(&unit).copied().unwrap_or_default() {
                    apply(change, &mut content, unit * self.unit, (unit + 1) * self.unit);
                } else {
                    lost += 1;
                }
                *number += 1;
            }
        }
        let last = lengths.last().copied().unwrap_or(synced.len() as u64);
        let length = if random.percent(self.percent) || lengths.is_empty() {
            last
        } else {
            let earlier = random.index(lengths.len() + 1).checked_sub(1);
            earlier.and_then(|earlier| lengths.get(earlier).copied()).unwrap_or(synced.len() as u64)
        };
        content.resize(index(length), 0);
        (content, lost + usize::from(length != last))
    }

    /// Returns how many of the changes of each unit reach the disk.
    fn any(self, changes: &[&Change], longest: u64, random: &mut Random) -> BTreeMap<u64, u32> {
        let mut kept = BTreeMap::<u64, u32>::new();
        for unit in changes.iter().flat_map(|change| self.units(change, longest)) {
            *kept.entry(unit).or_default() += 1;
        }
        for count in kept.values_mut() {
            if !random.percent(self.percent) {
                *count = u32::try_from(random.index(*count as usize)).unwrap_or_default();
            }
        }
        kept
    }

    /// Returns the same for changes in their order, of which the last one is torn.
    fn prefix(self, changes: &[&Change], longest: u64, random: &mut Random) -> BTreeMap<u64, u32> {
        let mut kept = BTreeMap::<u64, u32>::new();
        let whole = if random.percent(self.percent) { changes.len() } else { random.index(changes.len()) };
        for (number, change) in changes.iter().enumerate().take(whole + 1) {
            for unit in self.units(change, longest) {
                if number < whole || random.percent(50) {
                    *kept.entry(unit).or_default() += 1;
                }
            }
        }
        kept
    }

    /// Returns the units of a file that a change may change.
    fn units(self, change: &Change, longest: u64) -> std::ops::Range<u64> {
        let (from, to) = match change {
            Change::Write(at, bytes) => (*at, at + bytes.len() as u64),
            Change::Resize(length) => (*length, longest),
            Change::Extend(_) => (0, 0),
        };
        if from >= to { 0..0 } else { from / self.unit..to.div_ceil(self.unit) }
    }
}

/// Makes a change of a file, of which the content has the largest length.
fn apply(change: &Change, content: &mut [u8], from: u64, to: u64) {
    match change {
        Change::Write(at, bytes) => {
            let end = at + bytes.len() as u64;
            let (from, to) = (from.max(*at), to.min(end));
            let target = content.get_mut(index(from)..index(to));
            let source = bytes.get(index(from - at)..index(to - at));
            if let Some((target, source)) = target.zip(source) {
                target.copy_from_slice(source);
            }
        }
        Change::Resize(length) => {
            let to = index(to).min(content.len());
            if let Some(target) = content.get_mut(index(from.max(*length))..to) {
                target.fill(0);
            }
        }
        Change::Extend(_) => {}
    }
}

/// Makes a change of a file.
pub(crate) fn apply_whole(change: &Change, content: &mut Vec<u8>) {
    content.resize(index(change.length(content.len() as u64)), 0);
    apply(change, content, 0, u64::MAX);
}

/// Returns a place in a file as one in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: u64, byte: u8, length: usize) -> Change {
        Change::Write(at, vec![byte; length])
    }

    #[test]
    fn changes_are_made() {
        let mut content = b"abc".to_vec();
        for (change, after) in [
            (write(5, b'x', 2), &b"abc\0\0xx"[..]),
            (Change::Resize(2), b"ab"),
            (Change::Extend(4), b"ab\0\0"),
            (Change::Extend(3), b"ab\0\0"),
            (write(0, b'y', 1), b"yb\0\0"),
        ] {
            apply_whole(&change, &mut content);
            assert_eq!(content, after, "{change:?}");
        }
    }

    /// Returns what the disk had, over many seeds.
    fn outcomes(survival: Survival, synced: &[u8], changes: &[Change]) -> Vec<(Vec<u8>, usize)> {
        let changes: Vec<_> = changes.iter().collect();
        (0..200).map(|seed| survival.of(synced, &changes, &mut Random::new(seed))).collect()
    }

    #[test]
    fn all_or_nothing_may_survive() {
        let changes = [write(600, 1, 3000), Change::Resize(2000), write(1800, 2, 900)];
        let mut last = vec![9; 1000];
        changes.iter().for_each(|change| apply_whole(change, &mut last));
        for in_order in [false, true] {
            for unit in [512, 4096] {
                let all = Survival { unit, percent: 100, in_order };
                for (content, lost) in outcomes(all, &[9; 1000], &changes) {
                    assert_eq!((content, lost), (last.clone(), 0));
                }
            }
        }
        let half = Survival { unit: 512, percent: 50, in_order: false };
        let outcomes = outcomes(half, &[9; 1000], &changes);
        // The last sector was never written, the file became longer; the first one of the two writes alone survived; a
        // write survived and the file did not become longer.
        for expected in [
            &|content: &[u8]| content.len() == 2700 && content[2600..].iter().all(|byte| *byte == 0),
            &|content: &[u8]| content.len() > 1900 && content[1900] == 1,
            &|content: &[u8]| content.len() == 1000 && content[700] == 1,
        ] as [&dyn Fn(&[u8]) -> bool; 3]
        {
            assert!(outcomes.iter().any(|(content, lost)| *lost > 0 && expected(content)));
        }
        // A sector is not torn, and the rest of a file is not touched.
        assert!(outcomes.iter().all(|(content, _)| content[..600].iter().all(|byte| *byte == 9)));
    }

    #[test]
    fn a_later_write_of_one_sector_has_the_earlier_ones() {
        let changes = [write(0, 1, 10), write(10, 2, 10)];
        for percent in [0, 50] {
            let any = Survival { unit: 512, percent, in_order: false };
            for (content, _) in outcomes(any, &[0; 20], &changes) {
                assert!(content[0] == 1 || content[10] == 0, "{content:?}");
            }
        }
    }
}
