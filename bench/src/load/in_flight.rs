//! The requests in flight, and the match of replies to them.

use std::collections::VecDeque;

use pyzord_core::Operation;

/// `Thread` has 16 bits, and Python's clients begin at 1024. From here on all have five digits.
const FIRST_THREAD: u16 = 10_000;
/// The number of `Thread`s of one socket.
pub(crate) const THREADS: usize = (u16::MAX - FIRST_THREAD) as usize + 1;

/// The requests of one socket. A `Thread` is reused as late as possible, so that late and duplicate replies are
/// recognised: after 55,536 other requests, and never before its own request was answered or timed out.
#[derive(Debug)]
pub(crate) struct InFlight {
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    /// In the order of sending, requests answered since then included.
    order: VecDeque<SentRequest>,
    waiting: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    /// How often this slot has been used.
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
struct SentRequest {
    thread: u16,
    use_number: u64,
    sent: u64,
}

/// The relation of a reply to the requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReplyKind {
    /// The first reply to a request, this many nanoseconds after its scheduled time.
    Answer { operation: Operation, latency: u64, counted: bool },
    /// Another reply to an answered request.
    Duplicate { counted: bool },
    /// The first reply to a request that timed out.
    Late { counted: bool },
    /// Answers no request.
    Stray,
}

impl InFlight {
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

    /// Adds a request that is sent `now` and returns its `Thread`; `None` if all are in flight.
    pub(crate) fn add(
        &mut self,
        operation: Operation,
        scheduled: u64,
        counted: bool,
        now: u64,
    ) -> Option<u16> {
        let thread = self.free.pop_front()?;
        let slot = self.slot(thread);
        let use_number = slot.use_number + 1;
        *slot = Slot { state: State::Waiting, use_number, operation, scheduled, counted };
        self.order.push_back(SentRequest { thread, use_number, sent: now });
        self.waiting += 1;
        Some(thread)
    }

    /// Matches a reply that arrived `now` to its request.
    pub(crate) fn match_reply(&mut self, thread: Option<u64>, now: u64) -> ReplyKind {
        let thread = thread.and_then(|thread| u16::try_from(thread).ok());
        let index = thread.and_then(|thread| thread.checked_sub(FIRST_THREAD));
        let slot = index.and_then(|index| self.slots.get_mut(usize::from(index)));
        let (Some(thread), Some(slot)) = (thread, slot) else { return ReplyKind::Stray };
        let counted = slot.counted;
        match slot.state {
            State::Unused => ReplyKind::Stray,
            State::Answered => ReplyKind::Duplicate { counted },
            State::Lost => {
                slot.state = State::Answered;
                ReplyKind::Late { counted }
            }
            State::Waiting => {
                slot.state = State::Answered;
                self.free.push_back(thread);
                self.waiting -= 1;
                let latency = now.saturating_sub(slot.scheduled);
                ReplyKind::Answer { operation: slot.operation, latency, counted }
            }
        }
    }

    /// Gives up the requests that were sent before `limit`; returns how many of them are counted.
    pub(crate) fn expire(&mut self, limit: u64) -> u64 {
        let mut lost = 0;
        while let Some(SentRequest { thread, use_number, sent }) = self.order.front().copied() {
            let slot = self.slot(thread);
            if slot.state == State::Waiting && slot.use_number == use_number {
                if sent >= limit {
                    break;
                }
                slot.state = State::Lost;
                lost += u64::from(slot.counted);
                self.free.push_back(thread);
                self.waiting -= 1;
            }
            self.order.pop_front();
        }
        lost
    }

    /// Returns when the oldest request that may still be in flight was sent.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.order.front().map(|request| request.sent)
    }

    /// Returns the number of requests in flight.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    #[expect(clippy::indexing_slicing, reason = "`free` holds FIRST_THREAD..=u16::MAX, one slot each")]
    fn slot(&mut self, thread: u16) -> &mut Slot {
        &mut self.slots[usize::from(thread - FIRST_THREAD)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(in_flight: &mut InFlight, now: u64) -> u64 {
        in_flight.add(Operation::Check, now, true, now).unwrap().into()
    }

    #[test]
    fn replies_in_any_order_find_their_requests() {
        let mut in_flight = InFlight::new();
        let threads = [10, 20, 30].map(|now| add(&mut in_flight, now));
        for (thread, latency) in [(threads[2], 70), (threads[0], 90), (threads[1], 80)] {
            let answer = ReplyKind::Answer { operation: Operation::Check, latency, counted: true };
            assert_eq!(in_flight.match_reply(Some(thread), 100), answer);
            assert_eq!(in_flight.match_reply(Some(thread), 100), ReplyKind::Duplicate { counted: true });
        }
        assert_eq!((in_flight.waiting(), in_flight.expire(u64::MAX)), (0, 0));
    }

    #[test]
    fn a_request_is_lost_once_and_its_reply_late_once() {
        let mut in_flight = InFlight::new();
        let [lost, answered, kept] = [10, 20, 30].map(|now| add(&mut in_flight, now));
        assert!(matches!(in_flight.match_reply(Some(answered), 25), ReplyKind::Answer { .. }));
        assert_eq!((in_flight.expire(30), in_flight.expire(30), in_flight.waiting()), (1, 0, 1));
        assert_eq!(in_flight.oldest(), Some(30));
        assert_eq!(in_flight.match_reply(Some(lost), 40), ReplyKind::Late { counted: true });
        assert_eq!(in_flight.match_reply(Some(lost), 40), ReplyKind::Duplicate { counted: true });
        assert!(matches!(in_flight.match_reply(Some(kept), 41), ReplyKind::Answer { latency: 11, .. }));
    }

    #[test]
    fn a_reply_to_no_request_is_a_stray() {
        let mut in_flight = InFlight::new();
        for thread in [None, Some(0), Some(9_999), Some(10_000), Some(65_535), Some(65_536), Some(u64::MAX)] {
            assert_eq!(in_flight.match_reply(thread, 1), ReplyKind::Stray, "{thread:?}");
        }
    }

    #[test]
    fn a_thread_is_reused_as_late_as_possible() {
        let mut in_flight = InFlight::new();
        let first = add(&mut in_flight, 0);
        assert!(matches!(in_flight.match_reply(Some(first), 0), ReplyKind::Answer { .. }));
        for number in 1..u64::try_from(THREADS).unwrap() {
            assert_ne!(add(&mut in_flight, number), first);
        }
        assert_eq!(add(&mut in_flight, 70_000), first);
        assert_eq!(in_flight.add(Operation::Ping, 0, false, 70_000), None, "all are in flight");
        // The entry of its first use must not end the second.
        assert_eq!(in_flight.expire(70_000), u64::try_from(THREADS).unwrap() - 1);
        assert_eq!(in_flight.waiting(), 1);
    }

    #[test]
    fn requests_of_the_warm_up_are_not_counted() {
        let mut in_flight = InFlight::new();
        let threads = [0; 2].map(|_| in_flight.add(Operation::Info, 0, false, 0).map(u64::from));
        assert!(matches!(in_flight.match_reply(threads[0], 1), ReplyKind::Answer { counted: false, .. }));
        assert_eq!(in_flight.expire(u64::MAX), 0);
        assert_eq!(in_flight.match_reply(threads[1], 1), ReplyKind::Late { counted: false });
    }
}
