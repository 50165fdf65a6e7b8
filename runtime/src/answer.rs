//! The end of a batch's way: its replies are sent and its requests logged.

use std::fmt;
use std::net::UdpSocket;

use pyzord_core::{Batch, Now, Store, StoreAnswer, StoreCall};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::datagrams::{Outbox, Path};
use crate::metrics::Shard;
use crate::shield::Shield;

/// What every thread that answers requests has.
#[derive(Clone, Copy)]
pub(crate) struct Answerer<'a> {
    pub(crate) socket: &'a UdpSocket,
    pub(crate) counters: &'a Counters,
    pub(crate) shield: &'a Shield,
    pub(crate) usage: &'a (dyn Fn(&Batch) + Sync),
    pub(crate) clock: Clock,
    /// Where details are kept, if they are.
    pub(crate) shard: Option<&'a Shard>,
}

impl Answerer<'_> {
    /// Asks the store, and takes the time if somebody wants to know.
    pub(crate) fn ask(
        &self,
        store: &mut impl Store,
        now: Now,
        calls: &[StoreCall],
        answers: &mut Vec<StoreAnswer>,
    ) {
        let Some(shard) = self.shard else { return store.execute(now, calls, answers) };
        let began = self.clock.tick();
        store.execute(now, calls, answers);
        shard.asked(self.clock.tick().since(began), answers);
    }

    /// Makes the replies from the store's answers, sends them, and logs the requests.
    pub(crate) fn answer(&self, batch: &mut Batch, answers: &[StoreAnswer], outbox: &mut Outbox) {
        batch.resolve(answers);
        batch.settle(&mut &*self.shield);
        let replies = batch.replies().map(|(peer, reply)| (Path { peer, local: None }, reply));
        self.counters.sent(outbox.send(self.socket, replies));
        if let Some(shard) = self.shard {
            shard.answered(batch, self.clock.tick());
        }
        (self.usage)(batch);
    }
}

impl fmt::Debug for Answerer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").field("socket", self.socket).finish_non_exhaustive()
    }
}
