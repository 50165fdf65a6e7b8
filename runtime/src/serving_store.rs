//! A store, and what the thread that serves with it needs to ask it.

use pyzord_core::{Answered, Asked, Now, Store, StoreAnswer, StoreCall};

use crate::datagrams::Path;
use crate::heartbeat::{Heartbeat, Returned};
use crate::responder::Responder;

/// The store of a thread.
#[derive(Debug)]
pub(crate) struct ServingStore<S> {
    store: S,
    /// The calls of the batch that the store executes: the batch itself may be given up meanwhile.
    calls: Vec<StoreCall>,
    answers: Vec<StoreAnswer>,
}

impl<S> ServingStore<S> {
    pub(crate) const fn new(store: S) -> Self {
        Self { store, calls: Vec::new(), answers: Vec::new() }
    }

    pub(crate) const fn store(&mut self) -> &mut S {
        &mut self.store
    }
}

impl<S: Store> ServingStore<S> {
    /// Has the store execute the calls of a batch, and makes the replies.
    #[inline]
    pub(crate) fn ask(&mut self, responder: &Responder<'_>, now: Now, asked: Asked<Path>) -> Answered<Path> {
        let Self { store, answers, .. } = self;
        let executed = responder.execute(store, now, asked.calls(), answers, || ());
        responder.conclude(asked, executed, answers)
    }

    /// Does so while the heartbeat shows the batch. Returns `None` after a delay in which another thread has sent the
    /// replies. `committed` is that of [`Responder::execute`].
    pub(crate) fn ask_watched(
        &mut self,
        responder: &Responder<'_>,
        heartbeat: &Heartbeat,
        now: Now,
        asked: Asked<Path>,
        committed: impl FnOnce(),
    ) -> Option<Answered<Path>> {
        if asked.calls().is_empty() {
            return Some(asked.resolve(&responder.server, &[]));
        }
        let Self { store, calls, answers } = self;
        calls.clear();
        calls.extend_from_slice(asked.calls());
        heartbeat.hand_in(asked);
        let executed = responder.execute(store, now, calls, answers, committed);
        match heartbeat.take_back() {
            Returned::Asked(asked) => Some(responder.conclude(asked, executed, answers)),
            Returned::GivenUp(answered) => {
                // Copies that come from now on are answered as it turned out.
                answered.settle(&responder.server, answers);
                None
            }
            Returned::Lost => {
                responder.batch_lost();
                None
            }
        }
    }
}
