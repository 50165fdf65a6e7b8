//! The threads: workers, and the one that waits for commands and keeps the store up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::{Batch, CleanupAge, Policy, Schedule, Store, Task};

use crate::answer::Answerer;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::live::Live;
use crate::pool::Pool;
use crate::worker::{Backend, Worker};

/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);

/// Something that the server is told from outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Read the accounts and access files again.
    Reload,
    /// Answer what was received, sync the store, and return.
    Stop,
}

/// Stores, by how long they may keep a request waiting.
#[derive(Clone, Debug)]
pub enum Stores<S> {
    /// Those that answer at once, from memory or a file: one for each worker, which asks it itself.
    Local(Vec<S>),
    /// Those that wait for a network: each has a thread of its own, so that a database that hangs keeps nobody from
    /// what needs no database.
    Remote {
        /// How many threads receive.
        workers: usize,
        /// One for each connection.
        stores: Vec<S>,
    },
}

/// All that a server is made of.
pub struct Server<'a, S> {
    /// Where requests come in; all workers read it.
    pub socket: &'a UdpSocket,
    /// The access rules; a reload replaces them.
    pub policy: &'a Live<Policy>,
    /// What happened so far.
    pub counters: &'a Counters,
    /// The stores, and with them the number of workers.
    pub stores: Stores<S>,
    /// The store that upkeep is done with, in the calling thread.
    pub upkeep: S,
    /// When records expire.
    pub cleanup: CleanupAge,
    /// Where commands come from. When nobody can send any more, the server stops.
    pub commands: Receiver<Command>,
    /// Gives the policy that replaces the current one. Called in the calling thread; serving goes on meanwhile.
    pub reload: &'a mut dyn FnMut() -> Policy,
    /// Logs the usage of a batch; called by each worker, once for a batch, after its replies were sent.
    pub usage: &'a (dyn Fn(&Batch) + Sync),
}

impl<S> fmt::Debug for Server<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("socket", self.socket).finish_non_exhaustive()
    }
}

/// Serves until it is told to stop. What was received by then is answered, and the store synced.
pub fn serve<S: Store>(server: Server<'_, S>) {
    let Server { socket, policy, counters, stores, mut upkeep, cleanup, commands, reload, usage } = server;
    let (clock, stop, answerer) =
        (Clock::start(), AtomicBool::new(false), Answerer { socket, counters, usage });
    let (local, workers, remote) = match stores {
        Stores::Local(stores) => (stores, 0, Vec::new()),
        Stores::Remote { workers, stores } => (Vec::new(), workers, stores),
    };
    let (pool, stop) = (&Pool::new(remote.len()), &stop);
    thread::scope(|scope| {
        for store in remote {
            scope.spawn(move || pool.run(store, answerer, clock));
        }
        let local = local.into_iter().map(|store| Backend::Local { store, answers: Vec::new() });
        let backends = local.chain((0..workers).map(|_| Backend::Remote { pool, waiting: Batch::new() }));
        let run = |backend| move || Worker::new(answerer, policy.watch(), clock, backend, stop).run();
        let workers: Vec<_> = backends.map(|backend| scope.spawn(run(backend))).collect();

        let mut schedule = Schedule::new(cleanup, clock.tick());
        while let Some(command) = next_command(&commands, &mut schedule, &mut upkeep, clock) {
            match command {
                Command::Reload => policy.replace(reload()),
                Command::Stop => break,
            }
        }
        stop.store(true, Ordering::Relaxed);
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            wake(socket);
            thread::sleep(WAKE_PERIOD);
        }
        pool.close();
    });
    if let Err(failure) = upkeep.upkeep(clock.now(), Task::Sync) {
        log::error!("the last sync failed: {failure}");
    }
}

/// Does the upkeep that is due until there is a command. `None` when there will never be one again.
fn next_command(
    commands: &Receiver<Command>,
    schedule: &mut Schedule,
    store: &mut impl Store,
    clock: Clock,
) -> Option<Command> {
    loop {
        let began = clock.now();
        if let Some(task) = schedule.poll(began) {
            let progress = store.upkeep(began, task);
            if let Err(failure) = &progress {
                log::error!("upkeep failed and will be tried again in a minute: {failure}");
            }
            schedule.done(task, progress.ok(), began.tick, clock.tick());
        }
        match commands.recv_timeout(schedule.next_deadline().since(clock.tick())) {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Has a worker look at the stop flag now: it wakes for a datagram, and an empty one is no request. One that cannot
/// be woken so looks by itself when its receive times out.
fn wake(socket: &UdpSocket) {
    let Ok(mut address) = socket.local_addr() else { return };
    let loopback: IpAddr =
        if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    if address.ip().is_unspecified() {
        address.set_ip(loopback);
    }
    let _ = socket.send_to(&[], address);
}
