//! What holds for any order in which batches are handed over, taken and given back.

use proptest::prelude::*;

use super::*;
use crate::under_way::{Execution, Splitter};
use pyzord_core::{Guard, Limits, Now, Peer, Policy, Server, StoreError, StoreOp, Tick, UnixTime};

fn server() -> Server {
    Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]))
}

/// A batch of one request with this many calls.
fn batch(calls: usize) -> Batch<()> {
    let mut batch = Batch::new();
    let digests = "Op-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\n".repeat(calls);
    let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
    batch.accept(&server(), (), format!("Op: report\n{digests}PV: 2.1\n\n").as_bytes(), now).unwrap();
    assert_eq!((batch.len(), batch.calls().len()), (1, calls));
    batch
}

fn take(queue: &mut Queue<()>) -> Option<(Asked<()>, Ticket)> {
    match queue.take(true) {
        Next::Batch(batch, ticket) => Some((batch, ticket)),
        _ => None,
    }
}

#[test]
fn a_full_queue_refuses_until_a_batch_comes_back() {
    let mut queue = Queue::new(1);
    for _ in 0..BATCHES_PER_STORE {
        let mut batch = batch(MOST_CALLS);
        assert!(queue.submit(&mut batch) && batch.is_empty());
    }
    let mut refused = batch(1);
    assert!(!queue.submit(&mut refused) && refused.len() == 1);
    let (done, ticket) = take(&mut queue).unwrap();
    assert!(!queue.submit(&mut refused), "it is still in flight");
    queue.give_back(done.fail(&server(), StoreError::Unavailable).clear(), ticket);
    assert!(queue.submit(&mut refused) && refused.is_empty());
}

#[test]
fn batches_that_wait_are_joined_and_one_that_is_in_flight_is_left_alone() {
    let mut queue = Queue::new(1);
    assert!(queue.submit(&mut batch(1)));
    let (in_flight, _ticket) = take(&mut queue).unwrap();
    for calls in [1, MOST_CALLS - 1, 1] {
        assert!(queue.submit(&mut batch(calls)));
    }
    assert_eq!(in_flight.calls().len(), 1);
    for (requests, calls) in [(2, MOST_CALLS), (1, 1)] {
        let (batch, _ticket) = take(&mut queue).unwrap();
        assert_eq!((batch.len(), batch.calls().len()), (requests, calls));
    }
    assert!(matches!(queue.take(true), Next::Empty));
}

#[test]
fn a_closed_queue_ends_when_nothing_is_left() {
    let mut queue = Queue::new(1);
    assert!(matches!(queue.take(true), Next::Empty));
    assert!(queue.submit(&mut batch(1)));
    queue.close();
    assert!(matches!(queue.take(true), Next::Batch(batch, _) if batch.len() == 1));
    assert!(matches!(queue.take(true), Next::Closed));
}

/// A request, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Id(usize);

impl Peer for Id {
    fn network(&self) -> Option<std::net::IpAddr> {
        None
    }
}

/// What a worker or a thread of the pool does.
#[derive(Clone, Debug)]
enum Step {
    /// Hands over a batch of requests: whether each counts, and its digests.
    Submit(Vec<(bool, Vec<u8>)>),
    /// Judges a large request.
    Admit(bool, Vec<u8>),
    Take,
    /// Gives back the batch with this number, of those that were taken.
    GiveBack(usize),
    /// Refuses what waits for others, or all that waits.
    Refuse(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let digests = |most| prop::collection::vec(0..5_u8, 1..most);
    let small = prop::collection::vec((any::<bool>(), digests(8)), 1..20);
    prop_oneof![
        3 => small.prop_map(Step::Submit),
        1 => (any::<bool>(), digests(150)).prop_map(|(counts, digests)| Step::Admit(counts, digests)),
        3 => Just(Step::Take),
        3 => (0..9_usize).prop_map(Step::GiveBack),
        1 => any::<bool>().prop_map(Step::Refuse),
    ]
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Waits,
    AtStore,
    Done,
}

/// A queue, and what its batches must be.
struct Model {
    server: Server,
    queue: Queue<Id>,
    under_way: Arc<CountsUnderWay>,
    requests: Vec<(Vec<StoreCall>, State)>,
    taken: Vec<(Asked<Id>, Ticket)>,
}

impl Model {
    fn new(stores: usize) -> Self {
        let (requests, taken) = (Vec::new(), Vec::new());
        let under_way = Arc::new(CountsUnderWay::with_secret([7; 16]));
        let queue = Queue::beside_readers(stores, Arc::clone(&under_way));
        Self { server: server(), queue, under_way, requests, taken }
    }

    fn accept(&mut self, batch: &mut Batch<Id>, counts: bool, digests: &[u8]) {
        let op = if counts { "report" } else { "check" };
        let lines: String = digests.iter().map(|digest| format!("Op-Digest: {digest:040x}\n")).collect();
        let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
        let before = batch.calls().len();
        let id = Id(self.requests.len());
        batch.accept(&self.server, id, format!("Op: {op}\n{lines}PV: 2.1\n\n").as_bytes(), now).unwrap();
        self.requests.push((batch.calls()[before..].to_vec(), State::Waits));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(requests) => {
                let mut batch = Batch::new();
                let first = self.requests.len();
                requests.iter().for_each(|(counts, digests)| self.accept(&mut batch, *counts, digests));
                if self.queue.submit(&mut batch) {
                    assert!(batch.is_empty());
                } else {
                    assert_eq!(batch.len(), requests.len(), "a batch that is refused is whole");
                    self.requests[first..].iter_mut().for_each(|(_, state)| *state = State::Done);
                }
            }
            Step::Admit(..) if self.executes_large() => (),
            Step::Admit(counts, digests) => self.admit(counts, &digests),
            Step::Take => drop(self.take()),
            Step::GiveBack(index) if index < self.taken.len() => self.give_back(index),
            Step::GiveBack(_) => (),
            Step::Refuse(all) => self.refuse(all),
        }
        self.check_counts_under_way();
        assert!(self.queue.deferred() <= MOST_DEFERRED);
    }

    /// A large request is judged once all that came before it were taken.
    fn admit(&mut self, counts: bool, digests: &[u8]) {
        while self.queue.waiting() > 0 && self.take() {}
        let mut batch = Batch::new();
        self.accept(&mut batch, counts, digests);
        let mut asked = batch.ask();
        match self.queue.admit(&mut asked) {
            Admission::Begins(ticket) => {
                self.begins(&asked);
                self.taken.push((asked, ticket));
            }
            Admission::Deferred => assert!(asked.is_empty()),
            Admission::Refused => self.requests.last_mut().unwrap().1 = State::Done,
        }
    }

    /// Returns whether there was a batch.
    fn take(&mut self) -> bool {
        let large = !self.executes_large();
        match self.queue.take(large) {
            Next::Batch(asked, ticket) => {
                let has_large = asked.asking().any(|(_, calls)| calls.len() > MOST_SMALL_CALLS);
                assert_eq!(has_large, ticket.is_large);
                assert!(large || !has_large, "a large request is taken where none may be");
                assert!(!asked.is_empty());
                self.begins(&asked);
                self.taken.push((asked, ticket));
                true
            }
            Next::Refused(asked) => {
                assert!(!asked.is_empty());
                for (id, _) in asked.asking() {
                    assert_eq!(std::mem::replace(&mut self.requests[id.0].1, State::Done), State::Waits);
                }
                true
            }
            Next::Empty | Next::Closed => false,
        }
    }

    /// Refuses what waits: after that nothing waits for others, or at all.
    fn refuse(&mut self, all: bool) {
        while let Some(asked) = self.queue.take_unserved(all) {
            assert!(!asked.is_empty());
            for (id, _) in asked.asking() {
                assert_eq!(std::mem::replace(&mut self.requests[id.0].1, State::Done), State::Waits);
            }
        }
        assert!(self.queue.deferred() == 0 && !(all && self.queue.has_work() && self.queue.waiting() > 0));
    }

    /// A count that is neither executed nor refused is known to those that read beside the queue, and no other is.
    fn check_counts_under_way(&self) {
        let open = self.requests.iter().filter(|(_, state)| *state != State::Done);
        let counted: Vec<_> =
            open.flat_map(|(calls, _)| calls).filter(|call| call.op != StoreOp::Read).collect();
        assert_eq!(self.under_way.is_empty(), counted.is_empty());
        for digest in 0..5 {
            let check = format!("Op: check\nOp-Digest: {digest:040x}\nPV: 2.1\n\n");
            let now = Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() };
            let mut batch = Batch::new();
            batch.accept(&self.server, (), check.as_bytes(), now).unwrap();
            let is_under_way = counted.iter().any(|call| call.digest == batch.calls()[0].digest);
            let expected = if is_under_way { Execution::Elsewhere } else { Execution::Here };
            let mut splitter = Splitter::new(Arc::clone(&self.under_way));
            assert_eq!(splitter.split(&mut batch, &mut Batch::new()), expected);
        }
    }

    /// Whether a large request is executed: one at a time is.
    fn executes_large(&self) -> bool {
        self.taken.iter().any(|(_, ticket)| ticket.is_large)
    }

    /// Checks that the requests of a batch pass none that they have to wait for.
    fn begins(&mut self, asked: &Asked<Id>) {
        for (id, calls) in asked.asking() {
            let (own, state) = &self.requests[id.0];
            assert_eq!(
                (own.as_slice(), *state),
                (calls, State::Waits),
                "each request is executed once, as it came"
            );
            let conflicts = |other: &[StoreCall]| {
                let reads = |call: &StoreCall| call.op == StoreOp::Read;
                other
                    .iter()
                    .any(|one| own.iter().any(|two| one.digest == two.digest && reads(one) != reads(two)))
            };
            for (other, (calls, state)) in self.requests[..id.0].iter().enumerate() {
                // Those of its own batch are done before it.
                let before = *state == State::Done || !conflicts(calls);
                assert!(before, "request {} passes request {other}, which {state:?}", id.0);
            }
            self.requests[id.0].1 = State::Done;
        }
        asked.asking().for_each(|(id, _)| self.requests[id.0].1 = State::AtStore);
    }

    fn give_back(&mut self, index: usize) {
        let (asked, ticket) = self.taken.swap_remove(index);
        asked.asking().for_each(|(id, _)| self.requests[id.0].1 = State::Done);
        let batch = asked.fail(&self.server, StoreError::Unavailable).clear();
        if ticket.is_large {
            self.queue.take_large_again();
        }
        self.queue.give_back(batch, ticket);
    }

    /// Takes all that is left, as the threads do after a stop.
    fn finish(mut self) {
        self.queue.close();
        loop {
            while self.take() {}
            if self.taken.is_empty() {
                break;
            }
            self.give_back(0);
        }
        assert!(matches!(self.queue.take(true), Next::Closed));
        let left = self.requests.iter().position(|(_, state)| *state != State::Done);
        assert_eq!((left, self.queue.deferred(), self.queue.in_flight()), (None, 0, 0));
        assert!(self.queue.order.is_idle() && self.under_way.is_empty());
    }
}

proptest! {
    #[test]
    fn each_digest_keeps_its_order_and_nothing_is_lost(
        stores in 1..4_usize,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut model = Model::new(stores);
        steps.into_iter().for_each(|step| model.step(step));
        model.finish();
    }
}

fn requests(counts: bool, digests: &[u8]) -> Step {
    Step::Submit(digests.iter().map(|digest| (counts, vec![*digest])).collect())
}

/// Returns the numbers of the requests that the next batch has.
fn next(model: &mut Model) -> Vec<usize> {
    assert!(model.take());
    model.taken.last().map(|(asked, _)| asked.asking().map(|(id, _)| id.0).collect()).unwrap_or_default()
}

/// A check was answered by an idle connection while the report that came before it was at another one.
#[test]
fn a_check_waits_for_the_report_before_it_and_other_digests_pass() {
    let mut model = Model::new(3);
    model.step(requests(true, &[1]));
    assert_eq!(next(&mut model), [0]);
    model.step(requests(false, &[1, 2, 1]));
    assert_eq!(next(&mut model), [2]);
    // A report passes reports, and no check that waits.
    model.step(requests(true, &[1, 3]));
    assert_eq!(next(&mut model), [5]);
    assert!(!model.take());
    model.give_back(2);
    assert!(!model.take(), "nothing has waited for this");
    model.give_back(0);
    assert_eq!(next(&mut model), [1, 3, 4]);
    model.finish();
}

/// Batches of which some requests wait for others asked the database for more trips than before.
#[test]
fn what_is_left_of_batches_shares_a_trip() {
    let mut model = Model::new(3);
    model.step(requests(true, &[1]));
    assert_eq!(next(&mut model), [0]);
    for digest in [2, 3, 4] {
        model.step(requests(false, &[&[1; 60][..], &[digest; 60]].concat()));
    }
    assert_eq!(next(&mut model), [61..121, 181..241].into_iter().flatten().collect::<Vec<_>>());
    assert_eq!(model.queue.waiting(), 1);
    model.give_back(0);
    assert_eq!(next(&mut model), [1..61, 121..181].into_iter().flatten().collect::<Vec<_>>());
    model.finish();
}

/// Clients that report one digest share the trips as before, and their batches pass each other.
#[test]
fn reports_of_one_digest_need_not_wait_for_each_other() {
    let mut model = Model::new(2);
    for first in [0, 2] {
        model.step(requests(true, &[1, 1]));
        assert_eq!(next(&mut model), [first, first + 1]);
    }
    model.finish();
}

/// A connection that hangs holds its digests up: these fill their list, and are refused, and no other is.
#[test]
fn requests_that_find_no_room_to_wait_are_refused_and_others_are_served() {
    let mut model = Model::new(2);
    model.step(requests(true, &[1]));
    assert_eq!(next(&mut model), [0]);
    for _ in 0..MOST_DEFERRED / 64 {
        model.step(requests(false, &[1; 64]));
        assert!(!model.take(), "all of them wait");
    }
    assert_eq!(model.queue.deferred(), MOST_DEFERRED);
    model.step(requests(false, &[1, 2, 1, 3]));
    let first = MOST_DEFERRED + 1;
    assert_eq!(next(&mut model), [first + 1, first + 3]);
    assert!(model.take(), "the others are refused");
    assert_eq!([first, first + 2].map(|index| model.requests[index].1), [State::Done; 2]);
    model.give_back(0);
    for batch in 0..MOST_DEFERRED / MOST_CALLS {
        assert_eq!(next(&mut model).first(), Some(&(1 + batch * MOST_CALLS)));
    }
    model.finish();
}

#[test]
fn requests_that_wait_for_others_cost_no_allocation() {
    let (server, now) =
        (server(), Now { wall: UnixTime::from_seconds(1_700_000_000), tick: Tick::default() });
    let request = |op| format!("Op: {op}\nOp-Digest: {:040x}\nThread: 5\nPV: 2.1\n\n", 1).into_bytes();
    let requests = ["report", "check"].map(request);
    let (mut queue, mut batch) = (Queue::new(2), Batch::new());
    let submit = |queue: &mut Queue<()>, batch: &mut Batch<()>, request: &[u8]| {
        (0..20).for_each(|_| batch.accept(&server, (), request, now).unwrap());
        assert!(queue.submit(batch));
    };
    let answer = |queue: &mut Queue<()>, (asked, ticket): (Asked<()>, Ticket)| {
        queue.give_back(asked.fail(&server, StoreError::Unavailable).clear(), ticket);
    };
    let mut round = || {
        submit(&mut queue, &mut batch, &requests[0]);
        let reports = take(&mut queue).unwrap();
        submit(&mut queue, &mut batch, &requests[1]);
        assert!(take(&mut queue).is_none() && queue.deferred() == 20);
        answer(&mut queue, reports);
        let checks = take(&mut queue).unwrap();
        assert_eq!(checks.0.len(), 20);
        answer(&mut queue, checks);
    };
    // Each of the batches makes room in its buffers.
    (0..20).for_each(|_| round());
    assert_eq!(allocation_counter::measure(round).count_total, 0);
}
