//! A server on a gdbm file that is synced after each batch with a count: what a promise as that of `strict` costs there.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::channel;

use anyhow::Context as _;
use pyzord_core::{
    AccessOrder, Limits, Now, Policy, Progress, Server, Store, StoreAnswer, StoreCall, StoreError,
    StoreFailure, StoreOp, Task,
};
use pyzord_engines::Gdbm;
use pyzord_runtime::{Counters, Service, Sockets, Stores, shared_guard};

/// The database of the server.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SyncedOptions {
    /// The gdbm file
    file: PathBuf,
}

/// Syncs after each batch with a count.
#[derive(Clone)]
struct Synced(Gdbm);

impl Store for Synced {
    fn execute(&mut self, now: Now, calls: &[StoreCall], answers: &mut Vec<StoreAnswer>) {
        let start = answers.len();
        self.0.execute(now, calls, answers);
        let counts = calls.iter().any(|call| call.op != StoreOp::Read);
        if counts && self.0.upkeep(now, Task::Sync).is_err() {
            answers.iter_mut().skip(start).for_each(|answer| *answer = Err(StoreError::Unknown));
        }
    }

    fn upkeep(&mut self, now: Now, task: Task) -> Result<Progress, StoreFailure> {
        self.0.upkeep(now, task)
    }
}

/// Prints its address, and answers until it is killed.
pub(crate) fn run(options: &SyncedOptions) -> anyhow::Result<()> {
    let store = Synced(Gdbm::open(&options.file)?);
    let sockets = Sockets::bind_all(&["127.0.0.1"], 0, 1)?;
    writeln!(io::stdout(), "{}", sockets.address()?)?;
    let (_commands, receiver) = channel();
    let counters = Counters::default();
    let (policy, _) = Policy::parse(None, Some(b"all : anonymous : allow"), AccessOrder::FirstMatch);
    let guard = shared_guard(Limits::default()).context("the system has no random numbers")?;
    let service = Service {
        sockets: &sockets,
        server: Server::new(policy, guard),
        counters: &counters,
        stores: Stores::Local { workers: vec![store.clone()], large: store.clone() },
        upkeep: store,
        cleanup: None,
        reload: &mut || None,
        on_answered: &|_| (),
        supervisor: None,
    };
    pyzord_runtime_std::serve(service, &receiver).context("the server failed")
}
