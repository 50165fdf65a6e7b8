//! Signed counts that were seen before: a captured one must not count again, and a failed one may be repeated.

use alloc::vec;
use alloc::vec::Vec;

use super::lists::{Entry, List, Lists, Order};
use super::signed_count::{Seen, SignedCount, is_counted};
use crate::protocol::digest::Digest;
use crate::store::{Mark, StoreAnswer};
use crate::time::Tick;

/// Room beside the settled ones for those that wait for the store.
const IN_FLIGHT: usize = 4096;

/// Accounts share the memory by these groups, to which a keyed hash assigns them.
const GROUPS: usize = 1024;

/// Expired entries that are removed for each new one: more than one, so that none of them takes the room of another.
const REMOVALS: usize = 2;

/// The keyed hashes of a signed count, so that no client can choose which others it meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) signature: u64,
    pub(super) account: u64,
}

/// Remembers valid signatures. A signature stands for its whole request: it covers each header, and only the owner of
/// a key can make one.
///
/// All counts in flight are known, and the latest `most` settled ones: those that were counted, or may have been, at
/// least in part. If there are more, the account with most of them loses its oldest: no account can push those of another
/// out. The memory is reserved at once and never grows.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    most: usize,
    settled: usize,
    /// The first entry of each hash's chain.
    chains: Vec<u32>,
    lists: Lists,
    /// All entries, the oldest first.
    by_age: List,
    /// The settled ones of each group of accounts, in the order of their answers.
    groups: Vec<List>,
}

impl Copies {
    /// Remembers `most` settled signatures; with 0 no memory is reserved.
    pub(super) fn new(most: usize) -> Self {
        let (room, groups) = if most == 0 { (0, 0) } else { (most.saturating_add(IN_FLIGHT), GROUPS) };
        Self {
            most,
            settled: 0,
            chains: vec![0; most],
            lists: Lists::with_room(room),
            by_age: List::default(),
            groups: vec![List::default(); groups],
        }
    }

    /// Returns what is known of a signature whose request has so many digests, and remembers it if it is new.
    pub(super) fn look(&mut self, signature: Digest, hashes: Hashes, digests: u8, now: Tick) -> Seen {
        let chain = place(hashes.signature, self.chains.len());
        let known = self.find(signature, chain);
        if let Some(entry) = self.lists.entry(known) {
            if entry.forget_at > now {
                let seen = entry.count.seen(now);
                if matches!(seen, Seen::Failed(_)) {
                    self.ask_again(known, now);
                }
                return seen;
            }
            self.remove(known);
        }
        for _ in 0..REMOVALS {
            let oldest = self.by_age.first();
            if self.lists.entry(oldest).is_some_and(|entry| entry.forget_at <= now) {
                self.remove(oldest);
            }
        }
        if self.lists.is_full() {
            self.forget_one();
        }
        let entry = Entry {
            signature,
            next_in_chain: self.chains.get(chain as usize).copied().unwrap_or_default(),
            chain,
            group: u16::try_from(place(hashes.account, self.groups.len())).unwrap_or(0),
            settled: false,
            forget_at: now.after(Mark::LIFE),
            count: SignedCount::new(digests, now),
        };
        let Some(new) = self.lists.insert(entry) else { return Seen::NoRoom };
        if let Some(head) = self.chains.get_mut(chain as usize) {
            *head = new;
        }
        self.lists.push(&mut self.by_age, Order::Age, new);
        Seen::Never
    }

    /// Takes an entry in flight again.
    fn ask_again(&mut self, which: u32, now: Tick) {
        self.take_from_account(which);
        if let Some(entry) = self.lists.entry_mut(which) {
            entry.count.ask(now);
        }
    }

    /// Records the store's answers to the counts of a request, each with the place of its digest. Returns whether it is
    /// certain that all of its digests are counted. A request of which nothing is counted is forgotten.
    pub(super) fn settle(
        &mut self,
        signature: Digest,
        hash: u64,
        mut answers: impl Iterator<Item = (u8, StoreAnswer)>,
    ) -> bool {
        let known = self.find(signature, place(hash, self.chains.len()));
        let Some(entry) = self.lists.entry_mut(known) else {
            return answers.all(|(_, answer)| is_counted(answer));
        };
        entry.count.settle(answers);
        let (all, none) = (entry.count.is_counted(), entry.count.is_uncounted());
        if none {
            self.remove(known);
        } else {
            self.add_to_account(known);
        }
        all
    }

    /// Records what became of a count that was [`Unknown`](crate::StoreError::Unknown).
    pub(super) fn settle_late(&mut self, mark: Mark, hash: u64, answer: StoreAnswer) {
        let known = self.find(mark.signature, place(hash, self.chains.len()));
        let Some(entry) = self.lists.entry_mut(known) else { return };
        entry.count.settle_late(mark.place, answer);
        if entry.count.is_uncounted() {
            self.remove(known);
        }
    }

    fn add_to_account(&mut self, which: u32) {
        let Some(entry) = self.lists.entry_mut(which).filter(|entry| !entry.settled) else { return };
        entry.settled = true;
        if let Some(group) = self.groups.get_mut(usize::from(entry.group)) {
            self.lists.push(group, Order::Account, which);
            self.settled += 1;
        }
        if self.settled > self.most {
            self.forget_one();
        }
    }

    fn take_from_account(&mut self, which: u32) {
        let Some(entry) = self.lists.entry_mut(which).filter(|entry| entry.settled) else { return };
        entry.settled = false;
        if let Some(group) = self.groups.get_mut(usize::from(entry.group)) {
            self.lists.unlink(group, Order::Account, which);
            self.settled -= 1;
        }
    }

    /// Forgets the oldest settled entry of the group that has most of them. Entries in flight stay.
    fn forget_one(&mut self) {
        let largest = self.groups.iter().max_by_key(|group| group.len());
        self.remove(largest.map_or(0, List::first));
    }

    fn find(&self, signature: Digest, chain: u32) -> u32 {
        let mut at = self.chains.get(chain as usize).copied().unwrap_or_default();
        while let Some(entry) = self.lists.entry(at).filter(|entry| entry.signature != signature) {
            at = entry.next_in_chain;
        }
        at
    }

    fn remove(&mut self, which: u32) {
        self.take_from_account(which);
        let Some(&Entry { chain, next_in_chain, .. }) = self.lists.entry(which) else { return };
        self.lists.unlink(&mut self.by_age, Order::Age, which);
        let Some(head) = self.chains.get_mut(chain as usize) else { return };
        if *head == which {
            *head = next_in_chain;
        } else {
            let mut at = *head;
            while let Some(entry) = self.lists.entry_mut(at) {
                at = entry.next_in_chain;
                if at == which {
                    entry.next_in_chain = next_in_chain;
                    break;
                }
            }
        }
        self.lists.free(which);
    }
}

/// Returns the place of a hash among `places`, of which there are fewer than 2^32.
fn place(hash: u64, places: usize) -> u32 {
    u32::try_from(hash % (places as u64).max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::places::Places;
    use super::super::signed_count::LOST_AFTER;
    use super::*;
    use crate::record::Record;
    use crate::store::StoreError;
    use core::time::Duration;

    const OK: StoreAnswer = Ok(Record::EMPTY);
    const AWAY: StoreAnswer = Err(StoreError::Unavailable);
    const UNKNOWN: StoreAnswer = Err(StoreError::Unknown);
    const UNSETTLED: StoreAnswer = Err(StoreError::Unsettled);

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    fn signature(number: u32) -> Digest {
        let mut bytes = [0; 20];
        bytes[16..].copy_from_slice(&number.to_be_bytes());
        Digest::new(bytes)
    }

    /// Few values, so that chains have several entries.
    fn hashes(number: u32, account: u64) -> Hashes {
        Hashes { signature: u64::from(number.wrapping_mul(0x9e37_79b9) >> 20), account }
    }

    fn places(of: &[u8]) -> Places {
        let mut places = Places::default();
        of.iter().for_each(|place| places.insert(*place));
        places
    }

    /// Looks for a request of one digest.
    fn look(copies: &mut Copies, number: u32, account: u64, now: Tick) -> Seen {
        look_at(copies, number, account, 1, now)
    }

    fn look_at(copies: &mut Copies, number: u32, account: u64, digests: u8, now: Tick) -> Seen {
        copies.look(signature(number), hashes(number, account), digests, now)
    }

    /// Settles the only digest of a request.
    fn settle(copies: &mut Copies, number: u32, counted: bool) {
        let settled = settle_all(copies, number, &[if counted { OK } else { AWAY }]);
        assert_eq!(settled, counted);
    }

    /// Settles the places from 0 on.
    fn settle_all(copies: &mut Copies, number: u32, answers: &[StoreAnswer]) -> bool {
        settle_some(copies, number, (0..).zip(answers.iter().copied()))
    }

    fn settle_some(
        copies: &mut Copies,
        number: u32,
        answers: impl Iterator<Item = (u8, StoreAnswer)>,
    ) -> bool {
        copies.settle(signature(number), hashes(number, 0).signature, answers)
    }

    fn settle_late(copies: &mut Copies, number: u32, place: u8, answer: StoreAnswer) {
        let mark = Mark { signature: signature(number), place };
        copies.settle_late(mark, hashes(number, 0).signature, answer);
    }

    fn count(copies: &mut Copies, number: u32, account: u64, now: Tick) {
        assert_eq!(look(copies, number, account, now), Seen::Never, "{number}");
        settle(copies, number, true);
    }

    fn is_known(copies: &mut Copies, number: u32) -> bool {
        let chain = place(hashes(number, 0).signature, copies.chains.len());
        copies.find(signature(number), chain) != 0
    }

    #[test]
    fn a_copy_is_known_until_its_time_is_over_and_counted_anew_when_it_failed() {
        let mut copies = Copies::new(100);
        assert_eq!(look(&mut copies, 1, 0, at(0)), Seen::Never);
        assert_eq!(look(&mut copies, 1, 0, at(1)), Seen::InFlight);
        assert_eq!(look(&mut copies, 2, 0, at(1)), Seen::Never);
        settle(&mut copies, 1, true);
        settle(&mut copies, 2, false);
        assert_eq!(look(&mut copies, 1, 0, at(2)), Seen::Counted);
        assert_eq!(look(&mut copies, 2, 0, at(2)), Seen::Never, "the first copy failed");
        assert_eq!(look(&mut copies, 1, 0, at(600)), Seen::Counted);
        assert_eq!(look(&mut copies, 1, 0, at(601)), Seen::Never, "the signature has expired");
    }

    /// The table forgot 4 % at half of its setting, and half at its setting.
    #[test]
    fn as_many_are_known_as_the_setting_says_and_the_oldest_is_forgotten_first() {
        for most in [1, 2, 100, 5000] {
            let mut copies = Copies::new(most as usize);
            (0..most).for_each(|number| count(&mut copies, number, 0, at(0)));
            assert!((0..most).all(|number| is_known(&mut copies, number)), "of {most}");
            for number in most..3 * most {
                count(&mut copies, number, 0, at(1));
                assert!(!is_known(&mut copies, number - most));
                assert!(is_known(&mut copies, number - most + 1));
            }
            assert_eq!(copies.settled, most as usize);
        }
    }

    /// A failed count was forgotten as a whole, so its repeat counted again what was counted.
    #[test]
    fn what_was_counted_and_what_may_have_been_is_not_counted_again() {
        let mut copies = Copies::new(100);
        assert_eq!(look_at(&mut copies, 1, 0, 4, at(0)), Seen::Never);
        assert!(!settle_all(&mut copies, 1, &[OK, AWAY, UNSETTLED, UNKNOWN]));
        assert_eq!(look_at(&mut copies, 1, 0, 4, at(1)), Seen::Failed(places(&[0, 3])));
        let rest = [(1, OK), (2, Err(StoreError::AlreadyCounted))];
        assert!(!settle_some(&mut copies, 1, rest.into_iter()));
        assert_eq!(look_at(&mut copies, 1, 0, 4, at(2)), Seen::Unknown);
        settle_late(&mut copies, 1, 3, OK);
        assert_eq!(look_at(&mut copies, 1, 0, 4, at(3)), Seen::Counted);
    }

    /// What the store answers to the next copy depends on whether it may have counted this one.
    #[test]
    fn what_the_store_may_have_counted_is_known_as_a_repeat() {
        let mut copies = Copies::new(100);
        for answer in [UNSETTLED, AWAY] {
            assert!(matches!(look(&mut copies, 1, 0, at(0)), Seen::Never | Seen::Failed(_)));
            assert!(!settle_all(&mut copies, 1, &[answer]));
            assert_eq!(look(&mut copies, 1, 0, at(1)), Seen::Failed(Places::default()), "{answer:?}");
            assert_eq!(look(&mut copies, 1, 0, at(1)), Seen::InFlight);
            assert!(!settle_all(&mut copies, 1, &[AWAY]));
        }
    }

    #[test]
    fn a_late_answer_settles_what_was_unknown() {
        for (answer, expected) in [
            (OK, Seen::Counted),
            (AWAY, Seen::Never),
            (UNSETTLED, Seen::Failed(Places::default())),
            (UNKNOWN, Seen::Unknown),
        ] {
            let mut copies = Copies::new(100);
            assert_eq!(look(&mut copies, 1, 0, at(0)), Seen::Never);
            assert!(!settle_all(&mut copies, 1, &[UNKNOWN]));
            assert_eq!(look(&mut copies, 1, 0, at(1)), Seen::Unknown);
            settle_late(&mut copies, 1, 0, answer);
            assert_eq!(look(&mut copies, 1, 0, at(2)), expected, "{answer:?}");
        }
        settle_late(&mut Copies::new(100), 1, 0, OK);
    }

    /// A batch that panicked kept its signatures in flight for as long as they were valid: without any answer.
    #[test]
    fn what_is_in_flight_for_too_long_may_have_been_counted() {
        let mut copies = Copies::new(100);
        assert_eq!(look(&mut copies, 1, 0, at(5)), Seen::Never);
        assert_eq!(look(&mut copies, 1, 0, at(34)), Seen::InFlight);
        assert_eq!(look(&mut copies, 1, 0, at(35)), Seen::Unknown);
        assert!(settle_all(&mut copies, 1, &[OK]), "the answer came late");
        assert_eq!(look(&mut copies, 1, 0, at(36)), Seen::Counted);
    }

    #[test]
    fn a_repeat_in_flight_is_not_forgotten_and_what_is_unknown_is_forgotten_as_what_is_counted() {
        let mut copies = Copies::new(2);
        assert_eq!(look_at(&mut copies, 0, 0, 2, at(0)), Seen::Never);
        assert!(!settle_all(&mut copies, 0, &[OK, AWAY]));
        assert_eq!(look_at(&mut copies, 0, 0, 2, at(0)), Seen::Failed(places(&[0])));
        for number in 1..10 {
            assert_eq!(look(&mut copies, number, 0, at(0)), Seen::Never);
            assert!(!settle_all(&mut copies, number, &[UNKNOWN]));
        }
        assert_eq!(look_at(&mut copies, 0, 0, 2, at(0)), Seen::InFlight);
        assert_eq!((is_known(&mut copies, 7), is_known(&mut copies, 8)), (false, true));
        assert!(settle_some(&mut copies, 0, [(1, OK)].into_iter()));
        assert_eq!((is_known(&mut copies, 0), is_known(&mut copies, 8)), (true, false));
        assert_eq!(copies.settled, 2);
    }

    #[test]
    fn an_account_pushes_out_its_own_and_not_those_of_others() {
        let mut copies = Copies::new(100);
        (0..10).for_each(|number| count(&mut copies, number, 1, at(0)));
        (100..5000).for_each(|number| count(&mut copies, number, 2, at(1)));
        assert!((0..10).all(|number| is_known(&mut copies, number)));
        assert!((4910..5000).all(|number| is_known(&mut copies, number)));
        // Ten thousand accounts get as much as there is.
        (5000..15_000).for_each(|number| count(&mut copies, number, number.into(), at(2)));
        assert_eq!(copies.settled, 100);
    }

    #[test]
    fn what_is_in_flight_is_never_forgotten() {
        let mut copies = Copies::new(10);
        let room = 10 + u32::try_from(IN_FLIGHT).unwrap();
        count(&mut copies, 0, 0, at(0));
        for number in 1..room {
            assert_eq!(look(&mut copies, number, 0, at(0)), Seen::Never);
        }
        assert!(is_known(&mut copies, 0));
        assert_eq!(look(&mut copies, room, 0, at(0)), Seen::Never, "in place of a counted one");
        assert!(!is_known(&mut copies, 0));
        assert_eq!(look(&mut copies, room + 1, 0, at(0)), Seen::NoRoom);
        assert!((1..=room).all(|number| look(&mut copies, number, 0, at(0)) == Seen::InFlight));
        settle(&mut copies, 7, false);
        assert_eq!(look(&mut copies, room + 1, 0, at(0)), Seen::Never);
        let lost = LOST_AFTER.as_secs();
        assert_eq!(look(&mut copies, 1, 0, at(lost)), Seen::Unknown);
        // A batch that was lost keeps its room until its signatures have expired.
        assert_eq!(look(&mut copies, room + 2, 0, at(600)), Seen::NoRoom);
        assert_eq!(look(&mut copies, room + 2, 0, at(601)), Seen::Never);
    }

    #[test]
    fn what_has_expired_makes_room_first() {
        let mut copies = Copies::new(10);
        (0..8).for_each(|number| count(&mut copies, number, 1, at(0)));
        (8..10).for_each(|number| count(&mut copies, number, 2, at(500)));
        (10..14).for_each(|number| count(&mut copies, number, 2, at(700)));
        assert!((8..14).all(|number| is_known(&mut copies, number)));
        assert_eq!((0..8).filter(|number| is_known(&mut copies, *number)).count(), 0);
    }

    /// Memory that is first taken under the lock keeps all workers waiting.
    #[test]
    fn the_memory_is_reserved_at_the_start() {
        let mut copies = Copies::new(1000);
        let reserved = copies.lists.reserved();
        for number in 0..20_000 {
            let _ = look(&mut copies, number, 0, at(number.into()));
            settle(&mut copies, number, number % 3 > 0);
        }
        assert_eq!(copies.lists.reserved(), reserved);
        assert!(reserved >= 1000);
    }

    #[test]
    fn nothing_is_remembered_with_no_room() {
        let mut copies = Copies::new(0);
        assert_eq!(look(&mut copies, 1, 0, at(0)), Seen::NoRoom);
        settle(&mut copies, 1, true);
    }
}
