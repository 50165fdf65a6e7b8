//! The end of a batch's way: its replies are sent and its requests logged.

use std::fmt;
use std::net::UdpSocket;

use pyzord_core::{Batch, StoreAnswer};

use crate::counters::Counters;
use crate::datagrams::send;
use crate::shield::Shield;

/// What every thread that answers requests has.
#[derive(Clone, Copy)]
pub(crate) struct Answerer<'a> {
    pub(crate) socket: &'a UdpSocket,
    pub(crate) counters: &'a Counters,
    pub(crate) shield: &'a Shield,
    pub(crate) usage: &'a (dyn Fn(&Batch) + Sync),
}

impl Answerer<'_> {
    /// Makes the replies from the store's answers, sends them, and logs the requests.
    pub(crate) fn answer(&self, batch: &mut Batch, answers: &[StoreAnswer]) {
        batch.resolve(answers);
        batch.settle(&mut &*self.shield);
        self.counters.sent(send(self.socket, batch.replies()));
        (self.usage)(batch);
    }
}

impl fmt::Debug for Answerer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").field("socket", self.socket).finish_non_exhaustive()
    }
}
