//! Whether a file grows so fast that it should not be mapped.
//!
//! libgdbm lets a mapped file grow by one block at a time, and maps all of it anew each time. Every page that is used
//! after that is a page fault of about 3 us: of a server whose clients report new digests, that is a third of the CPU
//! time, and checks pay for it, too. Without a mapping, each access takes some system calls instead.

use std::mem;

use super::format::HASH_BITS;

/// The usual size of a page, and of a block of the file.
const PAGE: u64 = 4096;
/// How many pages the system maps at the first read of one of them.
const MAPPED_TOGETHER: u64 = 16;
/// What a page fault costs. The unit is what a mapping saves when a record is read: two system calls.
const FAULT: u64 = 4;
/// What a mapping saves when a record is written, in the same unit.
const WRITE: u64 = 4;
/// How many pages are written for a record: its own, and that of its bucket.
const WRITTEN: u64 = 2;
/// Hash values of keys that are closer together lead to few pages, as in a copy of another gdbm file.
const NEAR: u64 = 1 << (HASH_BITS - 8);
/// How many pages a file grows by before that counts as fast, if it is hardly used otherwise. A change of the mapping
/// syncs the file, and costs about as much as one of these pages after it.
const PATIENCE: u64 = 16;
/// How many judgements an answer stands. A server judges every 5 seconds: clients that read and write in turns make it
/// change the mapping once in a minute.
const STANDS: u32 = 12;

/// Compares what a mapping costs while a file grows with what it saves.
#[derive(Debug)]
pub(super) struct Growth {
    fast: bool,
    /// The length at the last judgement.
    length: u64,
    /// Records that were read since then.
    reads: u64,
    /// Records that were written since then.
    writes: u64,
    /// Those of them that are on other pages than the ones before.
    scattered: u64,
    /// The hash value of the last new key.
    last: i64,
    /// By how much the costs exceed the savings, between 0 and a bound.
    loss: u64,
    /// How many judgements leave the answer as it is.
    stands: u32,
}

impl Growth {
    /// Starts with a file of this length that grows fast, as a new one does, or that does not.
    pub(super) fn new(length: u64, fast: bool) -> Self {
        let loss = if fast { bound(length) } else { 0 };
        Self { fast, length, reads: 0, writes: 0, scattered: 0, last: 0, loss, stands: 0 }
    }

    /// Returns whether a mapping costs more than it saves, as of the last judgement.
    pub(super) fn is_fast(&self) -> bool {
        self.fast
    }

    /// Counts a record that was read.
    pub(super) fn count_read(&mut self) {
        self.reads += 1;
    }

    /// Counts a record that is written; `new` is the hash value of a new key.
    pub(super) fn count_write(&mut self, new: Option<i64>) {
        let near = new.is_some_and(|hash| mem::replace(&mut self.last, hash).abs_diff(hash) < NEAR);
        self.writes += 1;
        self.scattered += u64::from(!near);
    }

    /// Judges what happened since the last judgement; the file has this length now. Returns whether the answer changes.
    pub(super) fn judge(&mut self, length: u64) -> bool {
        let costs = FAULT.saturating_mul(self.faults(length));
        let savings = self.reads + WRITE * self.writes;
        self.loss = self.loss.saturating_add(costs).saturating_sub(savings).min(bound(length));
        (self.length, self.reads, self.writes, self.scattered) = (length, 0, 0, 0);
        self.stands = self.stands.saturating_sub(1);
        let outdated = if self.fast { self.loss == 0 } else { self.loss == bound(length) };
        let changes = outdated && self.stands == 0;
        if changes {
            self.fast = !self.fast;
            self.stands = STANDS;
        }
        changes
    }

    /// Returns how many pages of a mapping are faulted in, if it is made anew each time that the file grows by a page:
    /// all, or as many as are used.
    fn faults(&self, length: u64) -> u64 {
        let all = (length.saturating_sub(self.length) / PAGE).saturating_mul(length / PAGE);
        self.reads.min(all / MAPPED_TOGETHER) + all.min(WRITTEN * self.scattered)
    }
}

/// Returns the largest loss that is remembered for a file of this length.
fn bound(length: u64) -> u64 {
    (PATIENCE * FAULT * (length / PAGE) / MAPPED_TOGETHER).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 1600;
    /// What one more page costs if all is read.
    const COSTS: u64 = FAULT * PAGES / MAPPED_TOGETHER;

    /// A file that grows by so many pages while so many records are read and written.
    #[derive(Clone, Copy, Debug)]
    struct Load(u64, u64, u64);

    impl Growth {
        fn judged(&mut self, Load(pages, reads, writes): Load) -> bool {
            (self.reads, self.writes, self.scattered) = (reads, writes, writes);
            let before = self.is_fast();
            let changed = self.judge(self.length + pages * PAGE);
            assert_eq!(changed, self.is_fast() != before);
            self.is_fast()
        }
    }

    fn growth(fast: bool) -> Growth {
        Growth::new(PAGES * PAGE, fast)
    }

    #[test]
    fn it_is_fast_when_a_mapping_costs_more_than_it_saves() {
        // A load, and whether it is fast at once, and when it was ten times as much.
        for (load, at_once, later) in [
            (Load(0, 0, 0), false, false),
            (Load(20, 0, 0), false, false),
            // New digests, 27 for each page.
            (Load(1, 0, 27), false, false),
            (Load(20, 0, 540), false, true),
            (Load(100, 0, 2700), true, true),
            (Load(0, 0, 1000), false, false),
            // Checks: 1000 and 100 for each page.
            (Load(20, 20_000, 540), false, false),
            (Load(20, 2000, 540), true, true),
            (Load(10, 2000, 270), false, true),
            // Reports of known digests: 10,000 and 1000 for each page.
            (Load(10, 100_000, 100_000), false, false),
            (Load(10, 10_000, 10_000), true, true),
        ] {
            let mut growth = growth(false);
            assert_eq!(growth.judged(load), at_once, "{load:?}");
            let last = (0..9).map(|_| growth.judged(load)).last();
            assert_eq!(last, Some(later), "{load:?}, ten times");
        }
    }

    /// A migration from one gdbm file to another was a half slower without a mapping.
    #[test]
    fn keys_in_the_order_of_their_hash_values_lead_to_few_pages() {
        for (step, fast) in [(1, false), (NEAR / 2, false), (NEAR, true), (NEAR * 100, true)] {
            let mut growth = growth(false);
            (0..5000).for_each(|number| {
                growth.count_write(Some((number * step % (1 << HASH_BITS)).cast_signed()));
            });
            assert_eq!(growth.judge(growth.length + 200 * PAGE), fast, "{step}");
        }
        let mut growth = growth(false);
        (0..5000).for_each(|_| growth.count_write(None));
        assert!(growth.judge(growth.length + 200 * PAGE));
    }

    #[test]
    fn a_file_that_nothing_uses_stays_as_it_is() {
        for fast in [false, true] {
            let mut growth = growth(fast);
            (0..10_000).for_each(|_| assert_eq!(growth.judged(Load(0, 0, 0)), fast));
        }
    }

    #[test]
    fn reads_of_a_file_that_stays_as_long_end_it() {
        let mut growth = growth(true);
        assert!(growth.judged(Load(0, PATIENCE * COSTS - 1, 0)));
        assert!(!growth.judged(Load(0, 1, 0)));
    }

    #[test]
    fn a_file_that_became_shorter_has_less_to_lose() {
        let mut growth = growth(true);
        growth.judge(PAGE);
        assert!(growth.is_fast() && growth.loss <= bound(PAGE));
        growth.judge(0);
        assert!(growth.is_fast() && !growth.judged(Load(0, 1, 0)));
    }

    #[test]
    fn no_figures_overflow() {
        let mut growth = Growth::new(0, false);
        growth.reads = 1 << 60;
        assert!(growth.judge(u64::MAX));
    }

    proptest! {
        /// Whatever clients send, the mapping changes once in so many judgements.
        #[test]
        fn it_changes_seldom(loads in prop::collection::vec((0_u64..100, 0_u64..100_000, 0_u64..3000), 1..300)) {
            let mut growth = growth(false);
            let mut last = None;
            for (index, (pages, reads, writes)) in loads.into_iter().enumerate() {
                let before = growth.is_fast();
                if growth.judged(Load(pages, reads, writes)) != before {
                    prop_assert!(last.is_none_or(|last| index - last >= STANDS as usize));
                    last = Some(index);
                }
            }
        }

        /// A load that a mapping is good for, or bad for, ends with the right answer.
        #[test]
        fn it_ends_right(fast: bool, stands in 0..=STANDS, loss in 0..PATIENCE * COSTS, good: bool) {
            let mut growth = Growth { stands, loss, ..growth(fast) };
            let load = if good { Load(1, 3 * COSTS, 27) } else { Load(PATIENCE, COSTS, 27 * PATIENCE) };
            for _ in 0..=STANDS + 8 {
                growth.judged(load);
            }
            prop_assert_eq!(growth.is_fast(), !good);
        }
    }
}
