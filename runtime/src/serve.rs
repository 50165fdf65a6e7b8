//! The threads of a server.
//!
//! - **Workers**, each with a socket of its own on Linux (`SO_REUSEPORT`): the kernel gives each sender's datagrams to one
//!   of them. With gdbm they share one open file behind one lock, and ask it themselves.
//! - **Threads with a remote store**, one for each connection: they take batches from the pool and send the replies. A
//!   lost connection is made again on a thread of its own; until it is there, calls fail at once.
//! - **The stand-in** looks whether each worker gets on, and serves in the place of one that is stuck.
//! - **Upkeep** has a thread, too: a sync at the start and every 60 seconds, slices of expiry. It may wait for a disk.
//! - **The main thread**: it waits for commands. A reload makes a new policy here while the workers serve.
//!
//! A stop sets a flag and wakes the workers. Each answers what is left in its receive buffer and ends; then the pool is
//! closed, its threads end when no batch is left, and the store is synced. If a thread does not end, because a disk hangs,
//! the supervisor is told to end the process.

use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::{Store, Tick};

use crate::clock::Clock;
use crate::context::{ServiceParts, WorkerContext};
use crate::datagrams::ReceiveMode;
use crate::maintenance::Maintenance;
use crate::service::{Command, Service};
use crate::socket::Sockets;
use crate::wake::wake;
use crate::worker::Backend;

/// The longest wait of an idle worker. It then shows that it gets on, and looks at the stop flag in case nothing could
/// wake it.
const IDLE: Duration = Duration::from_secs(1);
/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);
/// The time of a stop, from the command to the end of the last sync.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until a command stops the server, or until no command can come any more. Then it answers all requests that
/// were received and syncs the store.
///
/// Each worker waits for datagrams in the system call that receives them, in a thread of its own: no other way to wait
/// takes fewer calls. Runtimes differ in `next_command`, which waits for a command at most for the given time. It is
/// called in this thread, which also reloads.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    mut next_command: impl FnMut(Duration) -> Result<Command, RecvTimeoutError>,
) {
    let sockets = service.sockets;
    limit_waits(sockets);
    let context = &WorkerContext::new(&service);
    let ServiceParts { backends, remote_stores, mut maintenance, upkeep } = context.parts(service);
    thread::scope(|scope| {
        let remote: Vec<_> =
            remote_stores.into_iter().map(|store| scope.spawn(move || context.serve_remote(store))).collect();
        let upkeep = scope.spawn(move || upkeep.run());
        let stand_in = scope.spawn(move || context.stand_in::<S>().run());
        let workers: Vec<_> =
            backends.into_iter().map(|backend| scope.spawn(move || run(context, backend))).collect();
        while let Some(Command::Reload) = wait(&mut next_command, &mut maintenance) {
            maintenance.reload();
        }
        maintenance.stopping();
        context.stop();
        let mut stop = Stop::begin(context.clock(), maintenance);
        stop.wait_for(&workers, "a worker has not ended", || wake(sockets, workers.len()));
        context.end_watch();
        stand_in.thread().unpark();
        context.close_pool();
        stop.wait_for(&remote, "requests wait for the database", || ());
        context.end_upkeep();
        upkeep.thread().unpark();
        stop.wait_for(&[upkeep], "the database is being synced or cleaned up", || ());
    });
}

/// A stop that is under way.
struct Stop<'c, 'a> {
    clock: Clock,
    began: Tick,
    maintenance: Maintenance<'c, 'a>,
    overdue: bool,
}

impl<'c, 'a> Stop<'c, 'a> {
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
                    "the stop has not ended in {} seconds: {doing}. What was received and not answered is lost, and \
                     counts of the last minute are if the machine goes down before the system has written them",
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
fn run<'c, S: Store>(context: &'c WorkerContext<'_>, backend: Backend<'c, S>) {
    let mut worker = context.worker(backend);
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
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
