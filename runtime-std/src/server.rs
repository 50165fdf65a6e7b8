//! The threads: workers, those with a remote store, and the one that waits for commands and keeps the store up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::Store;
use pyzord_runtime::{Command, Duties, News, Parts, Pulse, Server, Sockets, Wait, Worker};

/// An idle worker looks at the stop flag this often, should nothing wake it.
const IDLE: Duration = Duration::from_secs(1);
/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);

/// Serves until it is told to stop, or nobody is left who could. What was received by then is answered, and the store
/// synced. The reload is called, and upkeep done, in the calling thread.
pub fn serve<S: Store>(server: Server<'_, S>, commands: &Receiver<Command>) {
    let parts = &Parts::new(&server);
    let Server { sockets, policy, stores, upkeep, cleanup, reload, supervisor, .. } = server;
    let mut duties = parts.duties(upkeep, cleanup, supervisor);
    for socket in sockets.iter() {
        if let Err(error) = socket.set_read_timeout(Some(IDLE)) {
            log::error!("a stop may take until the next datagram: {error}");
        }
    }
    let (backends, remote) = parts.split(stores);
    thread::scope(|scope| {
        for store in remote {
            scope.spawn(move || parts.serve_remote(store));
        }
        let workers: Vec<_> = backends
            .into_iter()
            .map(|backend| {
                let pulse = parts.pulse();
                scope.spawn(move || run(parts.worker(backend), pulse, parts))
            })
            .collect();
        while let Some(command) = next_command(commands, &mut duties) {
            match command {
                Command::Reload => {
                    duties.tell(News::Reloading);
                    policy.replace(reload());
                    duties.tell(News::Reloaded);
                }
                Command::Stop => break,
            }
        }
        duties.tell(News::Stopping);
        parts.stop.store(true, Ordering::Relaxed);
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            wake(sockets, workers.len());
            thread::sleep(WAKE_PERIOD);
        }
        parts.pool.close();
    });
    duties.finish();
}

/// What a worker's thread does: serve until the stop flag is set, then answer what is left.
fn run<S: Store>(mut worker: Worker<'_, S>, mut pulse: Pulse, parts: &Parts<'_>) {
    while !parts.stop.load(Ordering::Relaxed) {
        pulse.beat();
        worker.serve(Wait::ForOne);
    }
    worker.drain();
}

/// Does what is due until there is a command. `None` when there will never be one again.
fn next_command(commands: &Receiver<Command>, duties: &mut Duties<'_, '_, impl Store>) -> Option<Command> {
    loop {
        match commands.recv_timeout(duties.run()) {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Has the workers look at the stop flag now: they wake for a datagram, and an empty one is no request. Its sender's port
/// decides which socket it comes to, so there are several, each time from other ports. A worker that cannot be woken so
/// looks by itself when its receive times out.
fn wake(sockets: &Sockets, workers: usize) {
    let Ok(mut address) = sockets.address() else { return };
    let (loopback, any): (IpAddr, IpAddr) = if address.is_ipv4() {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into())
    } else {
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into())
    };
    if address.ip().is_unspecified() {
        address.set_ip(loopback);
    }
    for _ in 0..workers {
        let _ = UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(&[], address));
    }
}
