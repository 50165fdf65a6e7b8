//! The server that a handle refers to.

use alloc::vec::Vec;
use core::mem;

use pyzord_core::{AccessOrder, Batch, Guard, Limits, MemoryStore, Now, Policy, Server, Store as _};

/// A server with its store, and the buffers through which the host and the module exchange bytes.
#[derive(Debug)]
pub struct Instance {
    server: Server,
    store: MemoryStore,
    batch: Batch<()>,
    /// The bytes from the host: a datagram or a file.
    input: Vec<u8>,
    reply: Vec<u8>,
    accounts: Option<Vec<u8>>,
    access: Option<Vec<u8>>,
}

impl Instance {
    /// Returns a server without accounts and records, with the default access rules and limits.
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self {
            server: Server::new(Policy::default(), Guard::new(Limits::default(), secret)),
            store: MemoryStore::new(),
            batch: Batch::new(),
            input: Vec::new(),
            reply: Vec::new(),
            accounts: None,
            access: None,
        }
    }

    /// Returns the input, which is now `length` bytes long.
    pub(crate) fn input(&mut self, length: usize) -> &mut [u8] {
        self.input.resize(length, 0);
        &mut self.input
    }

    /// Takes the input as the accounts file, and returns the number of warnings about both files.
    pub(crate) fn set_accounts(&mut self) -> usize {
        self.accounts = Some(mem::take(&mut self.input));
        self.set_policy()
    }

    /// Takes the input as the access file, and returns the number of warnings about both files.
    pub(crate) fn set_access(&mut self) -> usize {
        self.access = Some(mem::take(&mut self.input));
        self.set_policy()
    }

    fn set_policy(&mut self) -> usize {
        let (policy, warnings) =
            Policy::parse(self.accounts.as_deref(), self.access.as_deref(), AccessOrder::FirstMatch);
        self.server.replace_policy(policy);
        warnings.len()
    }

    /// Takes the input as a datagram, and returns the reply; empty if the datagram is not answered.
    pub(crate) fn accept(&mut self, now: Now) -> &[u8] {
        self.reply.clear();
        let mut batch = mem::take(&mut self.batch);
        // An ignored datagram leaves the batch empty, so there is no reply.
        if batch.accept(&self.server, (), &self.input, now).is_ok() {
            let asked = batch.ask();
            let mut answers = Vec::new();
            self.store.execute(now, asked.calls(), &mut answers);
            let answered = asked.resolve(&self.server, &answers);
            for ((), reply) in answered.replies() {
                self.reply.extend_from_slice(reply);
            }
            batch = answered.clear();
        }
        self.batch = batch;
        &self.reply
    }

    /// Returns the last reply.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply
    }
}
