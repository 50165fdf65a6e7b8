//! A bounded queue of batches. Pure: the `Pool` adds the lock and the waiting; a simulation needs
//! neither.
//!
//! Several threads take batches at once, and requests of one digest keep their order all the same: a request that has to
//! wait for one at another thread's store is deferred, and goes with the first batch after that. All others pass it.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use pyzord_core::{Asked, Batch, StoreCall, StoreOp};

use crate::order::{DigestOrder, Ticket};
use crate::under_way::CountsUnderWay;

/// Batches for each store: one that it executes, and some that wait, so that it has work at all times under load.
const BATCHES_PER_STORE: usize = 4;

/// Waiting batches are joined up to this many calls: one statement of MySQL has room for as many.
const MOST_CALLS: usize = 128;

/// The most calls of a small request: its datagram has no room for more.
const MOST_SMALL_CALLS: usize = 7;

/// The most calls that wait for others: four batches, as many as wait for a store. So both wait equally long if a database
/// hangs. Requests that find no room are refused.
const MOST_DEFERRED: usize = 4 * MOST_CALLS;

/// Batches on their way from workers to the threads of remote stores. Their number is fixed.
#[derive(Debug)]
pub struct Queue<P> {
    waiting: VecDeque<Asked<P>>,
    free: Vec<Batch<P>>,
    /// The most batches that wait or are at a store.
    most: usize,
    /// The number of tickets that were not given back.
    at_stores: usize,
    /// The number of batches that were taken since the start.
    taken: u64,
    order: DigestOrder,
    /// Where those look that read beside this queue, if any do.
    under_way: Option<Arc<CountsUnderWay>>,
    /// Requests that wait for others, in their order.
    deferred: Asked<P>,
    /// A deferred request may go.
    may_go: bool,
    /// Requests that found no room to wait for others.
    refused: Asked<P>,
    /// Empty, for their memory.
    tickets: Vec<Ticket>,
    closed: bool,
}

/// Work for a thread that owns a store.
#[derive(Debug)]
#[must_use = "a batch that is dropped here is never answered"]
pub enum Next<P> {
    /// A batch. When it is answered, [give it back](Queue::give_back) with its ticket.
    Batch(Asked<P>, Ticket),
    /// Requests that cannot wait for others: too many do. Refuse them, and do not give them back.
    Refused(Asked<P>),
    /// No work yet.
    Empty,
    /// No work, now and later.
    Closed,
}

/// What becomes of a large request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It goes to the store. When it is answered, [end](Queue::end) it.
    Begins(Ticket),
    /// The queue has taken it, as it has to wait for others.
    Deferred,
    /// It has to wait for others, and too many do.
    Refused,
}

impl<P> Queue<P> {
    /// Returns a queue for this number of stores.
    #[must_use]
    pub fn new(stores: usize) -> Self {
        let most = stores * BATCHES_PER_STORE;
        Self {
            waiting: VecDeque::new(),
            free: (0..=most).map(|_| Batch::new()).collect(),
            most,
            at_stores: 0,
            taken: 0,
            order: DigestOrder::default(),
            under_way: None,
            deferred: Batch::new().ask(),
            may_go: false,
            refused: Batch::new().ask(),
            tickets: Vec::new(),
            closed: false,
        }
    }

    /// Returns a queue for this number of stores. It shows its counts in a table, until they are executed or refused: others
    /// read beside these stores, and no read may pass a count.
    #[must_use]
    pub fn beside_readers(stores: usize, under_way: Arc<CountsUnderWay>) -> Self {
        Self { under_way: Some(under_way), ..Self::new(stores) }
    }

    /// Takes the requests of `batch` that wait for the store. `false` if too many batches are in flight: then `batch`
    /// is unchanged.
    ///
    /// Small batches that wait are joined: the busier a database is, the fewer trips it is asked for.
    #[must_use = "requests that were not taken have to be answered"]
    pub fn submit(&mut self, batch: &mut Batch<P>) -> bool {
        if let Some(last) = self.waiting.back_mut()
            && last.calls().len() + batch.calls().len() <= MOST_CALLS
        {
            self.under_way.iter().for_each(|under_way| under_way.begin(batch.calls()));
            last.join(batch);
            return true;
        }
        if self.in_flight() >= self.most {
            return false;
        }
        self.under_way.iter().for_each(|under_way| under_way.begin(batch.calls()));
        let spare = self.free.pop().unwrap_or_default();
        self.waiting.push_back(batch.split(spare));
        true
    }

    /// Returns the number of waiting batches.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of batches that wait or are at a store.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.waiting.len() + self.at_stores
    }

    /// Returns the number of requests that wait for others.
    #[must_use]
    pub fn deferred(&self) -> usize {
        self.deferred.waiting()
    }

    /// Whether there is work now.
    pub(crate) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.has_returned_work()
    }

    /// Whether there is work that came from no worker: requests that waited for others.
    pub(crate) fn has_returned_work(&self) -> bool {
        self.may_go || !self.refused.is_empty()
    }

    /// Returns the number of batches that were handed over since the start.
    pub(crate) fn handed_over(&self) -> u64 {
        self.taken + self.waiting.len() as u64
    }

    /// Whether all batches were taken that were there when so many were handed over.
    pub(crate) const fn has_taken(&self, handed_over: u64) -> bool {
        self.taken >= handed_over
    }

    /// Takes the requests that have waited for others and may go, or the batch that has waited longest. `large` is whether
    /// a large request may be among them.
    pub fn take(&mut self, large: bool) -> Next<P> {
        if !self.refused.is_empty() {
            let refused = mem::replace(&mut self.refused, Batch::new().ask());
            self.end_refused(refused.calls());
            return Next::Refused(refused);
        }
        let mut next = self.take_deferred(large);
        while self.may_add(next.as_ref())
            && let Some(mut batch) = self.waiting.pop_front()
        {
            self.defer(&mut batch);
            self.taken += 1;
            if let Some((next, _)) = &mut next {
                batch.part(next, |_| true);
            }
            if batch.is_empty() {
                self.free.push(batch.into_spare());
            } else {
                next = Some((batch, false));
            }
        }
        if let Some((batch, is_large)) = next {
            return self.begin(batch, is_large);
        }
        if !self.refused.is_empty() {
            return self.take(large);
        }
        // What is deferred waits for another thread, which takes it then.
        if self.closed { Next::Closed } else { Next::Empty }
    }

    /// Takes requests to refuse them, as stores do not answer: those that wait for others, and with `all` the batch that has
    /// waited longest for a store, too. `None` if there are none.
    pub fn take_unserved(&mut self, all: bool) -> Option<Asked<P>> {
        let unserved = if !self.refused.is_empty() {
            mem::replace(&mut self.refused, Batch::new().ask())
        } else if !self.deferred.is_empty() {
            self.order.resume(self.deferred.calls());
            mem::replace(&mut self.deferred, Batch::new().ask())
        } else if all {
            let batch = self.waiting.pop_front()?;
            self.taken += 1;
            batch
        } else {
            return None;
        };
        self.end_refused(unserved.calls());
        Some(unserved)
    }

    /// Takes an empty batch back for each one that came from [`take`](Self::take).
    pub fn give_back(&mut self, batch: Batch<P>, ticket: Ticket) {
        self.reuse(batch);
        self.end(ticket);
    }

    /// Takes an empty batch back. Its ticket goes another way.
    pub(crate) fn reuse(&mut self, batch: Batch<P>) {
        self.free.push(batch);
    }

    /// Takes the ticket of a request that was answered.
    pub(crate) fn end(&mut self, mut ticket: Ticket) {
        if let Some(under_way) = &self.under_way {
            ticket.counted().for_each(|digest| under_way.end(digest));
        }
        self.may_go |= self.order.end(&mut ticket);
        self.at_stores -= 1;
        self.tickets.push(ticket);
    }

    /// Looks for a large request among those that wait for others: now it may be taken.
    pub(crate) fn take_large_again(&mut self) {
        self.may_go |= !self.deferred.is_empty();
    }

    /// Judges whether a large request may go to the store. It goes before all that were not taken yet.
    pub(crate) fn admit(&mut self, large: &mut Asked<P>) -> Admission {
        let calls = large.calls();
        if !self.order.waits(calls) {
            self.under_way.iter().for_each(|under_way| under_way.begin(calls));
            return Admission::Begins(self.ticket(calls, true));
        }
        // The other half is for small requests.
        if self.deferred.calls().len() + calls.len() > MOST_DEFERRED / 2 {
            return Admission::Refused;
        }
        self.under_way.iter().for_each(|under_way| under_way.begin(calls));
        self.order.defer(calls);
        large.part(&mut self.deferred, |_| true);
        Admission::Deferred
    }

    /// Returns whether no more batches come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes the queue: no more batches come.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// These calls are never executed.
    fn end_refused(&self, calls: &[StoreCall]) {
        if let Some(under_way) = &self.under_way {
            let counts = calls.iter().filter(|call| call.op != StoreOp::Read);
            counts.for_each(|call| under_way.end(&call.digest));
        }
    }

    fn begin(&mut self, batch: Asked<P>, is_large: bool) -> Next<P> {
        let ticket = self.ticket(batch.calls(), is_large);
        Next::Batch(batch, ticket)
    }

    fn ticket(&mut self, calls: &[StoreCall], is_large: bool) -> Ticket {
        let mut ticket = self.tickets.pop().unwrap_or_default();
        ticket.is_large = is_large;
        self.order.begin(calls, &mut ticket);
        self.at_stores += 1;
        ticket
    }

    /// Whether the batch that has waited longest may share the trip of this one: what is left of batches does, if some of
    /// their requests wait for others. No small request shares the trip of a large one.
    fn may_add(&self, next: Option<&(Asked<P>, bool)>) -> bool {
        let (Some((next, is_large)), Some(waiting)) = (next, self.waiting.front()) else {
            return next.is_none();
        };
        let room = MOST_CALLS.saturating_sub(next.calls().len());
        if *is_large || room == 0 {
            return false;
        }
        // What is deferred once the batch is taken is not left in the queue: others could pass it.
        let goes = waiting.asking().filter(|(_, calls)| self.deferred.is_empty() || !self.order.waits(calls));
        goes.map(|(_, calls)| calls.len()).sum::<usize>() <= room
    }

    /// Takes those requests out of a batch that have to wait for others.
    fn defer(&mut self, batch: &mut Asked<P>) {
        let Self { order, deferred, refused, .. } = self;
        // As a rule none has to.
        if order.is_idle() || !order.waits(batch.calls()) {
            return;
        }
        let (mut room, mut is_full) = (MOST_DEFERRED.saturating_sub(deferred.calls().len()), false);
        batch.part(deferred, |calls| {
            let waits = order.waits(calls);
            let fits = calls.len() <= room;
            is_full |= waits && !fits;
            if waits && fits {
                room -= calls.len();
                order.defer(calls);
            }
            waits && fits
        });
        if is_full {
            batch.part(refused, |calls| order.waits(calls));
        }
    }

    /// Takes those deferred requests that may go, as many as make a batch, and whether a large one is among them.
    fn take_deferred(&mut self, large: bool) -> Option<(Asked<P>, bool)> {
        if !mem::take(&mut self.may_go) {
            return None;
        }
        let mut batch = self.free.pop().unwrap_or_default().ask();
        let Self { order, deferred, may_go, .. } = self;
        order.resume(deferred.calls());
        let (mut taken, mut has_large) = (0, false);
        deferred.part(&mut batch, |calls| {
            let is_large = calls.len() > MOST_SMALL_CALLS;
            // Not even the largest request waits for ever.
            let fits = taken == 0 || taken + calls.len() <= MOST_CALLS;
            let waits = order.waits(calls);
            let goes = !waits && fits && (large || !is_large);
            if goes {
                taken += calls.len();
                has_large |= is_large;
            } else {
                *may_go |= !waits && !fits;
                order.defer(calls);
            }
            goes
        });
        if batch.is_empty() {
            self.free.push(batch.into_spare());
            return None;
        }
        Some((batch, has_large))
    }
}

#[cfg(test)]
mod tests;
