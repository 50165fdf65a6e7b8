//! The requests that are under way, and whose reply an arriving one is.

use std::collections::VecDeque;

use pyzord_core::Operation;

/// `Thread` has 16 bits, and Python's clients begin at 1024; from here on all have five digits.
const FIRST_THREAD: u16 = 10_000;
/// How many requests of one socket can be told apart.
pub(crate) const THREADS: usize = (u16::MAX - FIRST_THREAD) as usize + 1;

/// The requests of one socket. A `Thread` is used again as late as possible, so that a late or repeated reply is known
/// as one: after 55,536 other requests, and never before its own request was answered or given up.
#[derive(Debug)]
pub(crate) struct Flights {
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    /// In the order of sending; those answered meanwhile are skipped.
    order: VecDeque<Departure>,
    waiting: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    /// Which use of this slot it is.
    use_number: u64,
    operation: Operation,
    scheduled: u64,
    counted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unused,
    Waiting,
    Answered,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Departure {
    thread: u16,
    use_number: u64,
    sent: u64,
}

/// What an arriving reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// The answer to a request, this many nanoseconds after it should have been sent.
    Answer { operation: Operation, latency: u64, counted: bool },
    /// Another answer to an answered request.
    Duplicate { counted: bool },
    /// An answer to a request that was given up.
    Late { counted: bool },
    /// No answer to any request.
    Stray,
}

impl Flights {
    pub(crate) fn new() -> Self {
        let slot = Slot {
            state: State::Unused,
            use_number: 0,
            operation: Operation::Ping,
            scheduled: 0,
            counted: false,
        };
        Self {
            slots: vec![slot; THREADS],
            free: (FIRST_THREAD..=u16::MAX).collect(),
            order: VecDeque::new(),
            waiting: 0,
        }
    }

    /// Takes note of a request that is sent `now`, and gives it a `Thread`; `None` when all are under way.
    pub(crate) fn depart(
        &mut self,
        operation: Operation,
        scheduled: u64,
        counted: bool,
        now: u64,
    ) -> Option<u16> {
        let thread = self.free.pop_front()?;
        let slot = self.slots.get_mut(usize::from(thread - FIRST_THREAD))?;
        let use_number = slot.use_number + 1;
        *slot = Slot { state: State::Waiting, use_number, operation, scheduled, counted };
        self.order.push_back(Departure { thread, use_number, sent: now });
        self.waiting += 1;
        Some(thread)
    }

    /// Takes note of a reply that arrived `now`.
    pub(crate) fn arrive(&mut self, thread: Option<u64>, now: u64) -> Arrival {
        let thread = thread.and_then(|thread| u16::try_from(thread).ok());
        let index = thread.and_then(|thread| thread.checked_sub(FIRST_THREAD));
        let slot = index.and_then(|index| self.slots.get_mut(usize::from(index)));
        let (Some(thread), Some(slot)) = (thread, slot) else { return Arrival::Stray };
        let counted = slot.counted;
        match slot.state {
            State::Unused => Arrival::Stray,
            State::Answered => Arrival::Duplicate { counted },
            State::Lost => {
                slot.state = State::Answered;
                Arrival::Late { counted }
            }
            State::Waiting => {
                slot.state = State::Answered;
                self.free.push_back(thread);
                self.waiting -= 1;
                let latency = now.saturating_sub(slot.scheduled);
                Arrival::Answer { operation: slot.operation, latency, counted }
            }
        }
    }

    /// Gives up the requests that were sent before `limit`, and says how many of them count.
    pub(crate) fn expire(&mut self, limit: u64) -> u64 {
        let mut lost = 0;
        while let Some(Departure { thread, use_number, sent }) = self.order.front().copied() {
            let slot = self.slots.get_mut(usize::from(thread - FIRST_THREAD));
            let waiting = slot.filter(|slot| slot.state == State::Waiting && slot.use_number == use_number);
            match waiting {
                Some(_) if sent >= limit => break,
                Some(slot) => {
                    slot.state = State::Lost;
                    lost += u64::from(slot.counted);
                    self.free.push_back(thread);
                    self.waiting -= 1;
                }
                None => (),
            }
            self.order.pop_front();
        }
        lost
    }

    /// When the oldest request that may still be under way was sent.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.order.front().map(|departure| departure.sent)
    }

    /// How many are under way.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depart(flights: &mut Flights, now: u64) -> u64 {
        flights.depart(Operation::Check, now, true, now).unwrap().into()
    }

    #[test]
    fn replies_in_any_order_find_their_requests() {
        let mut flights = Flights::new();
        let threads = [10, 20, 30].map(|now| depart(&mut flights, now));
        for (thread, latency) in [(threads[2], 70), (threads[0], 90), (threads[1], 80)] {
            let answer = Arrival::Answer { operation: Operation::Check, latency, counted: true };
            assert_eq!(flights.arrive(Some(thread), 100), answer);
            assert_eq!(flights.arrive(Some(thread), 100), Arrival::Duplicate { counted: true });
        }
        assert_eq!((flights.waiting(), flights.expire(u64::MAX)), (0, 0));
    }

    #[test]
    fn a_request_is_lost_once_and_its_reply_late_once() {
        let mut flights = Flights::new();
        let [lost, answered, kept] = [10, 20, 30].map(|now| depart(&mut flights, now));
        assert!(matches!(flights.arrive(Some(answered), 25), Arrival::Answer { .. }));
        assert_eq!((flights.expire(30), flights.expire(30), flights.waiting()), (1, 0, 1));
        assert_eq!(flights.oldest(), Some(30));
        assert_eq!(flights.arrive(Some(lost), 40), Arrival::Late { counted: true });
        assert_eq!(flights.arrive(Some(lost), 40), Arrival::Duplicate { counted: true });
        assert!(matches!(flights.arrive(Some(kept), 41), Arrival::Answer { latency: 11, .. }));
    }

    #[test]
    fn what_was_never_asked_is_a_stray() {
        let mut flights = Flights::new();
        for thread in [None, Some(0), Some(9_999), Some(10_000), Some(65_535), Some(65_536), Some(u64::MAX)] {
            assert_eq!(flights.arrive(thread, 1), Arrival::Stray, "{thread:?}");
        }
    }

    #[test]
    fn a_thread_is_used_again_as_late_as_possible() {
        let mut flights = Flights::new();
        let first = depart(&mut flights, 0);
        assert!(matches!(flights.arrive(Some(first), 0), Arrival::Answer { .. }));
        for number in 1..u64::try_from(THREADS).unwrap() {
            assert_ne!(depart(&mut flights, number), first);
        }
        assert_eq!(depart(&mut flights, 70_000), first);
        assert_eq!(flights.depart(Operation::Ping, 0, false, 70_000), None, "all are under way");
        // The entry for its first use must not end its second one.
        assert_eq!(flights.expire(70_000), u64::try_from(THREADS).unwrap() - 1);
        assert_eq!(flights.waiting(), 1);
    }

    #[test]
    fn warming_up_does_not_count() {
        let mut flights = Flights::new();
        let threads = [0; 2].map(|_| flights.depart(Operation::Info, 0, false, 0).map(u64::from));
        assert!(matches!(flights.arrive(threads[0], 1), Arrival::Answer { counted: false, .. }));
        assert_eq!(flights.expire(u64::MAX), 0);
        assert_eq!(flights.arrive(threads[1], 1), Arrival::Late { counted: false });
    }
}
