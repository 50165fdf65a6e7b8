//! The threads of a server.
//!
//! - **Workers**, each with a socket of its own on Linux (`SO_REUSEPORT`): the kernel gives each sender's datagrams to one
//!   of them. With several addresses, each worker has a socket for each of them. Spare sockets on the same port send only,
//!   for replies that find a worker's send buffer full. With gdbm the workers share one open file behind one lock, and ask
//!   it themselves.
//! - **A thread for large requests** with gdbm: it executes them a few calls at a time, so that no worker and no small
//!   request waits for more than these. With a remote store, the threads below do it.
//! - **Threads with a remote store**, one for each connection: they take batches from the pool and send the replies. A
//!   lost connection is made again on a thread of its own; until it is there, calls fail at once.
//! - **Writers** with split stores: threads of the pool, too, which count. Each worker reads from a store of its own.
//! - **The stand-in** looks whether each worker and each writer gets on, and serves in the place of one that is stuck.
//! - **Upkeep** has a thread, too: a sync at the start and every 5 seconds, slices of expiry. It may wait for a disk.
//! - **The main thread**: it waits for commands. A reload makes a new policy here while the workers serve.
//!
//! A start that cannot have one of its threads ends, and the service manager is told of it when the last worker runs.
//!
//! A stop sets a flag and wakes the workers. Each answers what is left in its receive buffer and ends; then the pool is
//! closed, its threads end when no batch is left, and the store is synced. After four seconds no request is begun: what
//! is left is counted, and the log says how much it is. Reloads that wait are one, and a stop goes before them. If a
//! thread does not end, because a disk hangs, the supervisor is told to end the process.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::{Store, Tick};

use crate::clock::Clock;
use crate::context::{ServiceParts, WorkerContext};
use crate::datagrams::ReceiveMode;
use crate::maintenance::Maintenance;
use crate::pool::PoolStore;
use crate::service::{Command, Service};
use crate::socket::Sockets;
use crate::upkeep::Upkeep;
use crate::wake::wake;
use crate::worker::Backend;
use crate::worker_sockets::IDLE;

/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);
/// The time of a stop, from the command to the end of the last sync.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The most reloads that are taken as one before it is done.
const MOST_PENDING: usize = 10_000;

/// Serves until a command stops the server, or until no command can come any more. Then it answers all requests that
/// were received and syncs the store.
///
/// Each worker waits for datagrams in the system call that receives them, in a thread of its own: no other way to wait
/// takes fewer calls. Runtimes differ in `next_command`, which waits for a command at most for the given time. It is
/// called in this thread, which also reloads.
///
/// # Errors
/// When the system refuses a thread: then nothing is served, and requests that came meanwhile are answered.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    mut next_command: impl FnMut(Duration) -> Result<Command, RecvTimeoutError>,
) -> io::Result<()> {
    let sockets = service.sockets;
    limit_waits(sockets);
    let context = &WorkerContext::new(&service);
    let counters = service.counters;
    let ServiceParts { backends, pool_stores, mut maintenance, upkeep } = context.parts(service);
    let served = thread::scope(|scope| {
        let mut threads = Threads::default();
        let started = threads.start(scope, context, backends, pool_stores, upkeep);
        if started.is_ok() {
            maintenance.started();
            while let Some(Command::Reload) = wait(&mut next_command, &mut maintenance) {
                maintenance.reload();
            }
            maintenance.stopping();
        }
        context.stop();
        threads.end(context, sockets, maintenance);
        started
    });
    let left = counters.counts().left_at_stop;
    if left > 0 {
        log::warn!("{left} requests were received and not executed: the time for the stop was over");
    }
    served
}

/// The threads of a server that were started.
#[derive(Default)]
struct Threads<'scope> {
    pool: Vec<ScopedJoinHandle<'scope, ()>>,
    upkeep: Vec<ScopedJoinHandle<'scope, ()>>,
    stand_in: Option<ScopedJoinHandle<'scope, ()>>,
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Threads<'scope> {
    /// Starts all threads, and waits until every worker runs. After an error, those that were started run.
    fn start<'c: 'scope, S: Store + 'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        context: &'c WorkerContext<'_>,
        backends: Vec<Backend<'c, S>>,
        pool_stores: Vec<PoolStore<S>>,
        upkeep: Upkeep<'c, S>,
    ) -> io::Result<()> {
        let thread = thread::Builder::new;
        for store in pool_stores {
            self.pool.push(thread().spawn_scoped(scope, move || context.serve_pool(store))?);
        }
        self.upkeep.push(thread().spawn_scoped(scope, move || upkeep.run())?);
        self.stand_in = Some(thread().spawn_scoped(scope, move || context.stand_in::<S>().run())?);
        let (running, all) = mpsc::channel();
        for backend in backends {
            let running = running.clone();
            self.workers.push(thread().spawn_scoped(scope, move || run(context, backend, running))?);
        }
        drop(running);
        if all.iter().take(self.workers.len()).count() < self.workers.len() {
            return Err(io::Error::other("a worker has ended with an internal error"));
        }
        Ok(())
    }

    /// Lets them end, in the order in which they need each other.
    fn end(self, context: &WorkerContext<'_>, sockets: &Sockets, maintenance: Maintenance<'_, '_>) {
        let mut stop = StopWatch::begin(context.clock(), maintenance);
        stop.wait_for(&self.workers, "a worker has not ended", || wake(sockets, self.workers.len()));
        context.end_watch();
        self.stand_in.iter().for_each(|stand_in| stand_in.thread().unpark());
        context.close_pool();
        stop.wait_for(&self.pool, "requests wait for the database", || ());
        context.end_pool_watch();
        self.stand_in.iter().for_each(|stand_in| stand_in.thread().unpark());
        context.end_upkeep();
        self.upkeep.iter().for_each(|upkeep| upkeep.thread().unpark());
        stop.wait_for(&self.upkeep, "the database is being synced or cleaned up", || ());
    }
}

/// A stop that is under way.
struct StopWatch<'c, 'a> {
    clock: Clock,
    began: Tick,
    maintenance: Maintenance<'c, 'a>,
    overdue: bool,
}

impl<'c, 'a> StopWatch<'c, 'a> {
    fn begin(clock: Clock, maintenance: Maintenance<'c, 'a>) -> Self {
        Self { clock, began: clock.tick(), maintenance, overdue: false }
    }

    /// Waits until threads have ended, and calls `wake` meanwhile. After the time of the stop is over, the supervisor
    /// hears of it.
    fn wait_for<T>(&mut self, threads: &[ScopedJoinHandle<'_, T>], doing: &str, mut wake: impl FnMut()) {
        while !threads.iter().all(ScopedJoinHandle::is_finished) {
            wake();
            thread::sleep(WAKE_PERIOD);
            if !self.overdue && self.clock.tick().since(self.began) >= STOP_TIMEOUT {
                self.overdue = true;
                log::error!(
                    "the stop has not ended in {} seconds: {doing}. What was received and not answered is lost, and so is \
                     what is not yet on the disk if the machine goes down",
                    STOP_TIMEOUT.as_secs()
                );
                self.maintenance.stop_overdue();
            }
        }
    }
}

/// Makes each receive return in time to show that the worker gets on.
fn limit_waits(sockets: &Sockets) {
    for socket in sockets.iter() {
        if let Err(error) = socket.set_read_timeout(Some(IDLE)) {
            log::error!("a receive has no time limit, so a stop may take until the next datagram: {error}");
        }
    }
}

/// Runs a worker: it serves until the stop, then answers the datagrams that are left.
fn run<'c, S: Store>(context: &'c WorkerContext<'_>, backend: Backend<'c, S>, running: Sender<()>) {
    let mut worker = context.worker(backend);
    // If the start has failed meanwhile, the main thread does not wait for this.
    let _ = running.send(());
    drop(running);
    while !context.is_stopping() {
        worker.serve(ReceiveMode::WaitForFirst);
    }
    worker.drain();
}

/// Does the maintenance that is due until a command comes. Returns `None` if no command can come any more.
fn wait(
    next_command: &mut impl FnMut(Duration) -> Result<Command, RecvTimeoutError>,
    maintenance: &mut Maintenance<'_, '_>,
) -> Option<Command> {
    loop {
        match next_command(maintenance.run()) {
            Ok(Command::Stop) => return Some(Command::Stop),
            Ok(Command::Reload) => return merge(next_command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Takes the reloads that wait together with the one that was taken. Returns the stop among them, if there is one.
fn merge(next_command: &mut impl FnMut(Duration) -> Result<Command, RecvTimeoutError>) -> Option<Command> {
    for _ in 0..MOST_PENDING {
        match next_command(Duration::ZERO) {
            Ok(Command::Stop) => return Some(Command::Stop),
            Ok(Command::Reload) => (),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some(Command::Reload)
}
