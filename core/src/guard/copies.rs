//! Signed counts that were seen before: a captured one must not count again.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::lists::{Entry, List, Lists, Order};
use crate::protocol::digest::Digest;
use crate::protocol::signature::MAX_CLOCK_DIFFERENCE;
use crate::time::Tick;

/// The validity of a signature: from the earliest to the latest moment that fits its `Time`, both included.
const VALID: Duration = MAX_CLOCK_DIFFERENCE.saturating_mul(2).saturating_add(Duration::from_secs(1));

/// Room beside the counted ones for those that wait for the store.
const IN_FLIGHT: usize = 4096;

/// Accounts share the memory by these groups, to which a keyed hash assigns them.
const GROUPS: usize = 1024;

/// Expired entries that are removed for each new one: more than one, so that none of them takes the room of another.
const REMOVALS: usize = 2;

/// What is known of a signed count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    /// It is new, or failed before: it is remembered from now on.
    Never,
    /// The store has not answered yet. The answer to the first copy answers this one, too.
    InFlight,
    /// It was counted.
    Counted,
    /// It is new, and all room is taken by counts in flight.
    NoRoom,
}

/// The keyed hashes of a signed count, so that no client can choose which others it meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) signature: u64,
    pub(super) account: u64,
}

/// Remembers valid signatures. A signature stands for its whole request: it covers each header, and only the owner of
/// a key can make one.
///
/// All counts in flight are known, and the latest `most` counted ones. If there are more, the account with most of them
/// loses its oldest: no account can push those of another out. The memory is reserved at once and never grows.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    most: usize,
    counted: usize,
    /// The first entry of each hash's chain.
    chains: Vec<u32>,
    lists: Lists,
    /// All entries, the oldest first.
    by_age: List,
    /// The counted ones of each group of accounts, the oldest first.
    groups: Vec<List>,
}

impl Copies {
    /// Remembers `most` counted signatures; with 0 no memory is reserved.
    pub(super) fn new(most: usize) -> Self {
        let (room, groups) = if most == 0 { (0, 0) } else { (most.saturating_add(IN_FLIGHT), GROUPS) };
        Self {
            most,
            counted: 0,
            chains: vec![0; most],
            lists: Lists::with_room(room),
            by_age: List::default(),
            groups: vec![List::default(); groups],
        }
    }

    /// Returns what is known of a signature, and remembers it if it is new.
    pub(super) fn look(&mut self, signature: Digest, hashes: Hashes, now: Tick) -> Seen {
        let chain = place(hashes.signature, self.chains.len());
        let known = self.find(signature, chain);
        match self.lists.entry(known).map(|entry| (entry.forget_at > now, entry.counted)) {
            Some((true, true)) => return Seen::Counted,
            Some((true, false)) => return Seen::InFlight,
            Some((false, _)) => self.remove(known),
            None => (),
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
            counted: false,
            forget_at: now.after(VALID),
        };
        let Some(new) = self.lists.insert(entry) else { return Seen::NoRoom };
        if let Some(head) = self.chains.get_mut(chain as usize) {
            *head = new;
        }
        self.lists.push(&mut self.by_age, Order::Age, new);
        Seen::Never
    }

    /// Records whether a signed count was counted; one that failed is forgotten, so that it may be repeated.
    pub(super) fn settle(&mut self, signature: Digest, hash: u64, counted: bool) {
        let known = self.find(signature, place(hash, self.chains.len()));
        if !counted {
            self.remove(known);
            return;
        }
        let Some(entry) = self.lists.entry_mut(known).filter(|entry| !entry.counted) else { return };
        entry.counted = true;
        if let Some(group) = self.groups.get_mut(usize::from(entry.group)) {
            self.lists.push(group, Order::Account, known);
            self.counted += 1;
        }
        if self.counted > self.most {
            self.forget_one();
        }
    }

    /// Forgets the oldest counted entry of the group that has most of them. Entries in flight stay.
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
        let Some(Entry { chain, group, counted, next_in_chain, .. }) = self.lists.entry(which).copied()
        else {
            return;
        };
        self.lists.unlink(&mut self.by_age, Order::Age, which);
        if let Some(group) = self.groups.get_mut(usize::from(group)).filter(|_| counted) {
            self.lists.unlink(group, Order::Account, which);
            self.counted -= 1;
        }
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
    use super::*;

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

    fn look(copies: &mut Copies, number: u32, account: u64, now: Tick) -> Seen {
        copies.look(signature(number), hashes(number, account), now)
    }

    fn settle(copies: &mut Copies, number: u32, counted: bool) {
        copies.settle(signature(number), hashes(number, 0).signature, counted);
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
            assert_eq!(copies.counted, most as usize);
        }
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
        assert_eq!(copies.counted, 100);
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
