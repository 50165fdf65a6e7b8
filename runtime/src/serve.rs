//! The threads of a server.
//!
//! - **Workers**, each with a socket of its own on Linux (`SO_REUSEPORT`): the kernel gives each sender's datagrams to one
//!   of them. With gdbm they share one open file behind one lock, and ask it themselves.
//! - **A thread for large requests** with gdbm: it executes them a few calls at a time, so that no worker and no small
//!   request waits for more than these. With a remote store, the threads below do it.
//! - **Threads with a remote store**, one for each connection: they take batches from the pool and send the replies. A
//!   lost connection is made again on a thread of its own; until it is there, calls fail at once.
//! - **The main thread**: it waits for commands, and does the store's upkeep between them: a sync at the start and every
//!   60 seconds, slices of expiry. A reload makes a new policy here while the workers serve.
//!
//! A stop sets a flag and wakes the workers. Each answers what is left in its receive buffer and ends; then the pool is
//! closed, its threads end when no batch is left, and the store is synced.

use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::Store;

use crate::context::{ServiceParts, WorkerContext};
use crate::datagrams::ReceiveMode;
use crate::maintenance::Maintenance;
use crate::service::{Command, Service};
use crate::socket::Sockets;
use crate::supervisor::Supervisor;
use crate::wake::wake;
use crate::worker::Backend;

/// The longest wait of an idle worker. Its heartbeat then beats, and it looks at the stop flag in case nothing could
/// wake it.
const IDLE: Duration = Duration::from_secs(1);
/// The shortest wait, however often the service manager expects a heartbeat.
const SHORTEST_IDLE: Duration = Duration::from_millis(10);
/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);

/// Serves until a command stops the server, or until no command can come any more. Then it answers all requests that
/// were received and syncs the store.
///
/// Each worker waits for datagrams in the system call that receives them, in a thread of its own: no other way to wait
/// takes fewer calls. Runtimes differ in `next_command`, which waits for a command at most for the given time. It is
/// called in this thread, which also reloads and does the upkeep.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    mut next_command: impl FnMut(Duration) -> Result<Command, RecvTimeoutError>,
) {
    let sockets = service.sockets;
    limit_waits(sockets, service.supervisor.as_ref());
    let context = &WorkerContext::new(&service);
    let ServiceParts { backends, pool_stores, mut maintenance } = context.parts(service);
    thread::scope(|scope| {
        for store in pool_stores {
            scope.spawn(move || context.serve_pool(store));
        }
        let workers: Vec<_> =
            backends.into_iter().map(|backend| scope.spawn(move || run(context, backend))).collect();
        while let Some(Command::Reload) = wait(&mut next_command, &mut maintenance) {
            maintenance.reload();
        }
        maintenance.stopping();
        context.stop();
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            wake(sockets, workers.len());
            thread::sleep(WAKE_PERIOD);
        }
        context.close_pool();
    });
    maintenance.finish();
}

/// Makes each receive return in time for the heartbeat that the service manager expects.
fn limit_waits(sockets: &Sockets, supervisor: Option<&Supervisor<'_>>) {
    let period = supervisor.and_then(|supervisor| supervisor.period);
    let idle = period.map_or(IDLE, |period| (period / 2).clamp(SHORTEST_IDLE, IDLE));
    for socket in sockets.iter() {
        if let Err(error) = socket.set_read_timeout(Some(idle)) {
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
    maintenance: &mut Maintenance<'_, '_, impl Store>,
) -> Option<Command> {
    loop {
        match next_command(maintenance.run()) {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
