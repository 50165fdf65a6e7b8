//! Large requests that wait, so that no small one waits for them. Pure: the `Pool` adds the lock.
//!
//! A check is one call for the store; a datagram of 8 KB may ask for 156 counts. Workers hand large datagrams over
//! unjudged, and a thread of the pool takes them one by one. Their number is fixed. Senders share it and take turns, by
//! the bytes that they sent: if there is no room, the sender that waits for most loses its latest.
//!
//! A small request that shares a digest with one of its sender's here waits behind it, and so comes here, too.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use pyzord_core::{IpNet, MAX_REQUEST, Now};

use crate::mentions::{Mentions, Senders};

/// A longer datagram is large, in bytes: a shorter one has at most seven digests, and most clients send one.
const MOST_SMALL: usize = 384;
/// The most large datagrams that wait: 1 MB. If each has 156 new digests for gdbm, the last waits half a second.
const MOST_WAITING: usize = 128;

/// Whether a datagram of this length has to wait in the backlog.
pub(crate) const fn is_large(length: usize) -> bool {
    length > MOST_SMALL
}

/// Large datagrams of all senders.
#[derive(Debug)]
pub(crate) struct Backlog<P> {
    waiting: Vec<Large<P>>,
    /// Buffers that are used again.
    spare: Vec<(Vec<u8>, Mentions)>,
    /// What the requests mention that wait, or were taken and not yet [removed](Self::remove); how many of them do.
    mentioned: HashMap<u64, u32>,
    senders: Arc<Senders>,
    /// The turn of the datagram that was taken last.
    turn: u64,
    /// The number of datagrams that came in.
    count: u64,
}

/// A large datagram.
#[derive(Debug)]
pub(crate) struct Large<P> {
    pub(crate) peer: P,
    pub(crate) received: Now,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mentions: Mentions,
    /// The number of batches that were handed over before it.
    pub(crate) batches: u64,
    sender: IpNet,
    /// The lowest is next. A sender's next one is as much later as this one is long.
    turn: u64,
    /// Its place among all, for those with equal turns.
    number: u64,
}

/// A large datagram that a worker hands over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a, P> {
    pub(crate) sender: IpNet,
    pub(crate) peer: P,
    pub(crate) received: Now,
    pub(crate) datagram: &'a [u8],
    pub(crate) mentions: &'a Mentions,
}

/// What becomes of a datagram that is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pushed {
    Fits,
    /// A sender that waits for more has lost its latest.
    InPlaceOfAnother,
    /// It has no room.
    Full,
}

impl<P> Backlog<P> {
    pub(crate) fn new(senders: Arc<Senders>) -> Self {
        let (waiting, spare, mentioned) = (Vec::new(), Vec::new(), HashMap::new());
        Self { waiting, spare, mentioned, senders, turn: 0, count: 0 }
    }

    /// Copies a datagram, which comes after so many batches.
    pub(crate) fn push(&mut self, arrived: Arrived<'_, P>, batches: u64) -> Pushed {
        let Arrived { sender, peer, received, datagram, mentions: new } = arrived;
        let own = self.waiting.iter().filter(|large| large.sender == sender);
        let turn = own.map(Large::next_turn).max().unwrap_or_default().max(self.turn);
        let fits = self.waiting.len() < MOST_WAITING;
        if !fits {
            let last = self.waiting.iter().enumerate().max_by_key(|(_, large)| large.order());
            match last {
                Some((index, large)) if large.turn > turn => {
                    let dropped = self.waiting.swap_remove(index);
                    self.remove(&dropped.mentions);
                    self.give_back(dropped);
                }
                _ => return Pushed::Full,
            }
        }
        let (mut bytes, mut mentions) = self.spare.pop().unwrap_or_default();
        bytes.clear();
        // A longer datagram is refused; it is known by one byte more than the largest request has.
        bytes.extend_from_slice(datagram.get(..=MAX_REQUEST).unwrap_or(datagram));
        mentions.sender = new.sender;
        mentions.digests.clone_from(&new.digests);
        self.add(&mentions);
        self.count += 1;
        let number = self.count;
        self.waiting.push(Large { peer, received, bytes, mentions, batches, sender, turn, number });
        if fits { Pushed::Fits } else { Pushed::InPlaceOfAnother }
    }

    /// Whether a request with these mentions has to wait here: its sender has one here that shares a digest with it.
    pub(crate) fn mentions(&self, mentions: &Mentions) -> bool {
        mentions.digests.iter().any(|mention| self.mentioned.contains_key(mention))
    }

    fn add(&mut self, mentions: &Mentions) {
        self.senders.add(mentions.sender);
        for mention in &mentions.digests {
            *self.mentioned.entry(*mention).or_default() += 1;
        }
    }

    /// Takes out what a datagram mentions, after it was taken: others need not wait here behind it any more.
    pub(crate) fn remove(&mut self, mentions: &Mentions) {
        self.senders.remove(mentions.sender);
        for mention in &mentions.digests {
            let Entry::Occupied(mut count) = self.mentioned.entry(*mention) else {
                debug_assert!(false, "a mention is removed that was not added");
                continue;
            };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Returns the number of batches that were handed over before the datagram whose turn it is.
    pub(crate) fn next_batches(&self) -> Option<u64> {
        self.waiting.iter().min_by_key(|large| large.order()).map(|large| large.batches)
    }

    /// Takes the datagram whose turn it is.
    pub(crate) fn take(&mut self) -> Option<Large<P>> {
        let next = self.waiting.iter().enumerate().max_by_key(|(_, large)| Reverse(large.order()));
        let large = self.waiting.swap_remove(next?.0);
        self.turn = large.turn;
        Some(large)
    }

    #[cfg(test)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes back the buffers of a datagram.
    pub(crate) fn give_back(&mut self, large: Large<P>) {
        if self.spare.len() < MOST_WAITING {
            self.spare.push((large.bytes, large.mentions));
        }
    }
}

impl<P> Large<P> {
    const fn order(&self) -> (u64, u64) {
        (self.turn, self.number)
    }

    const fn next_turn(&self) -> u64 {
        // At most 8193.
        self.turn + self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Tick, UnixTime};

    fn push(backlog: &mut Backlog<u32>, host: u8, number: u32, length: usize) -> bool {
        push_new(backlog, host, number, length) == Pushed::Fits
    }

    fn push_new(backlog: &mut Backlog<u32>, host: u8, number: u32, length: usize) -> Pushed {
        let now = Now { wall: UnixTime::from_seconds(0), tick: Tick::default() };
        let sender = IpNet::from(std::net::IpAddr::from([192, 0, 2, host]));
        let mentions = Mentions { sender: host.into(), digests: vec![host.into(), host.into()] };
        let datagram = &vec![host; length];
        backlog.push(Arrived { sender, peer: number, received: now, datagram, mentions: &mentions }, 0)
    }

    fn backlog() -> Backlog<u32> {
        Backlog::new(Arc::new(Senders::new()))
    }

    /// Takes the next one, and is done with it. Returns its number.
    fn take(backlog: &mut Backlog<u32>) -> Option<u32> {
        let large = backlog.take()?;
        let number = large.peer;
        backlog.remove(&large.mentions);
        backlog.give_back(large);
        Some(number)
    }

    /// Takes all; each by its number.
    fn take_all(backlog: &mut Backlog<u32>) -> Vec<u32> {
        std::iter::from_fn(|| take(backlog)).collect()
    }

    #[test]
    fn senders_take_turns_and_each_keeps_its_order() {
        let mut backlog = backlog();
        (0..4).for_each(|number| assert!(push(&mut backlog, 1, number, 8000)));
        (10..12).for_each(|number| assert!(push(&mut backlog, 2, number, 8000)));
        assert!(push(&mut backlog, 3, 20, 8000));
        assert_eq!(take_all(&mut backlog), [0, 10, 20, 1, 11, 2, 3]);
        // One that comes later is served at its first turn.
        (0..4).for_each(|number| assert!(push(&mut backlog, 1, number, 8000)));
        assert_eq!(take(&mut backlog), Some(0));
        assert_eq!(take(&mut backlog), Some(1));
        assert!(push(&mut backlog, 2, 10, 8000));
        assert_eq!(take_all(&mut backlog), [10, 2, 3]);
    }

    #[test]
    fn turns_are_by_bytes() {
        let mut backlog = backlog();
        (0..4).for_each(|number| assert!(push(&mut backlog, 1, number, 8000)));
        (10..18).for_each(|number| assert!(push(&mut backlog, 2, number, 1000)));
        let order = take_all(&mut backlog);
        assert_eq!(order[..10], [0, 10, 11, 12, 13, 14, 15, 16, 17, 1]);
    }

    /// One sender's large requests filled the receive buffer, and all others waited or were lost.
    #[test]
    fn a_flood_of_one_sender_costs_no_other_one() {
        let mut backlog = backlog();
        let (mut dropped, mut served) = (0, 0);
        for round in 0..1000 {
            dropped += (0..10).filter(|_| !push(&mut backlog, 1, 0, 8000)).count();
            let full = backlog.waiting.len() == MOST_WAITING;
            let expected = if full { Pushed::InPlaceOfAnother } else { Pushed::Fits };
            assert_eq!(push_new(&mut backlog, 2, 1, 8000), expected);
            assert!(backlog.waiting.iter().any(|large| large.peer == 1), "the flood makes room");
            served += (0..2).filter(|_| take(&mut backlog) == Some(1)).count();
            assert_eq!(served, round + 1, "it is served among the next two");
        }
        assert!(dropped > 7000, "{dropped}");
        assert!(backlog.waiting.len() + backlog.spare.len() <= 2 * MOST_WAITING);
        take_all(&mut backlog);
        assert!(backlog.senders.is_empty() && backlog.mentioned.is_empty(), "also of what was dropped");
    }

    #[test]
    fn buffers_are_used_again_and_no_datagram_takes_more_than_the_largest_request() {
        let mut backlog = backlog();
        assert!(push(&mut backlog, 1, 0, 60_000));
        let large = backlog.take().unwrap();
        assert_eq!(large.bytes.len(), MAX_REQUEST + 1);
        let place = large.bytes.as_ptr();
        backlog.remove(&large.mentions);
        backlog.give_back(large);
        assert!(push(&mut backlog, 1, 0, 500));
        assert_eq!(backlog.take().map(|large| (large.bytes.as_ptr(), large.bytes.len())), Some((place, 500)));
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_mentioned_is_known_until_the_last_that_mentions_it_is_removed() {
        let mut backlog = backlog();
        let of = |host: u64| Mentions { sender: host, digests: vec![99, host] };
        (0..2).for_each(|number| assert!(push(&mut backlog, 1, number, 8000)));
        assert!(backlog.mentions(&of(1)) && !backlog.mentions(&of(2)));
        assert_eq!(take(&mut backlog), Some(0));
        let last = backlog.take().unwrap();
        assert!(backlog.is_empty() && backlog.mentions(&of(1)), "it is not yet done");
        backlog.remove(&last.mentions);
        assert!(!backlog.mentions(&of(1)) && backlog.senders.is_empty() && backlog.mentioned.is_empty());
    }
}
