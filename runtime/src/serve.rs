//! The threads of a server.
//!
//! - **Workers**, each with a socket of its own on Linux (`SO_REUSEPORT`): the kernel gives each sender's datagrams to one
//!   of them. Spare sockets on the same port send only, for replies that find a worker's send buffer full. With gdbm they share one open file behind one lock, and ask it themselves.
//! - **Threads with a remote store**, one for each connection: they take batches from the pool and send the replies. A
//!   lost connection is made again on a thread of its own; until it is there, calls fail at once.
//! - **The main thread**: it waits for commands, and does the store's upkeep between them: a sync at the start and every
//!   60 seconds, slices of expiry. A reload makes a new policy here while the workers serve.
//!
//! A start that cannot have one of its threads ends, and the service manager is told of it when the last worker runs.
//!
//! A stop sets a flag and wakes the workers. Each answers what is left in its receive buffer and ends; then the pool is
//! closed, its threads end when no batch is left, and the store is synced. After four seconds no request is begun: what
//! is left is counted, and the log says how much it is. Reloads that wait are one, and a stop goes before them.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, Scope, ScopedJoinHandle};
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

/// The most reloads that are taken as one before it is done.
const MOST_PENDING: usize = 10_000;

/// Serves until a command stops the server, or until no command can come any more. Then it answers all requests that
/// were received and syncs the store.
///
/// Each worker waits for datagrams in the system call that receives them, in a thread of its own: no other way to wait
/// takes fewer calls. Runtimes differ in `next_command`, which waits for a command at most for the given time. It is
/// called in this thread, which also reloads and does the upkeep.
///
/// # Errors
/// When the system refuses a thread: then nothing is served, and requests that came meanwhile are answered.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    mut next_command: impl FnMut(Duration) -> Result<Command, RecvTimeoutError>,
) -> io::Result<()> {
    let sockets = service.sockets;
    limit_waits(sockets, service.supervisor.as_ref());
    let context = &WorkerContext::new(&service);
    let counters = service.counters;
    let ServiceParts { backends, remote_stores, mut maintenance } = context.parts(service);
    let served = thread::scope(|scope| {
        let mut workers = Vec::new();
        let started = start(scope, context, backends, remote_stores, &mut workers);
        if started.is_ok() {
            maintenance.started();
            while let Some(Command::Reload) = wait(&mut next_command, &mut maintenance) {
                maintenance.reload();
            }
            maintenance.stopping();
        }
        context.stop();
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            wake(sockets, workers.len());
            thread::sleep(WAKE_PERIOD);
        }
        context.close_pool();
        started
    });
    let left = counters.counts().left_at_stop;
    if left > 0 {
        log::warn!("{left} requests were received and not executed: the stop has left no time for them");
    }
    maintenance.finish();
    served
}

/// Starts all threads, and waits until every worker runs. `workers` are those that were started, also after an error.
fn start<'scope, 'c: 'scope, S: Store + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'c WorkerContext<'_>,
    backends: Vec<Backend<'c, S>>,
    remote_stores: Vec<S>,
    workers: &mut Vec<ScopedJoinHandle<'scope, ()>>,
) -> io::Result<()> {
    for store in remote_stores {
        thread::Builder::new().spawn_scoped(scope, move || context.serve_remote(store))?;
    }
    let (running, all) = mpsc::channel();
    for backend in backends {
        let running = running.clone();
        workers.push(thread::Builder::new().spawn_scoped(scope, move || run(context, backend, running))?);
    }
    drop(running);
    let ready = all.iter().take(workers.len()).count();
    if ready < workers.len() {
        return Err(io::Error::other("a worker has ended with an internal error"));
    }
    Ok(())
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
    maintenance: &mut Maintenance<'_, '_, impl Store>,
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
