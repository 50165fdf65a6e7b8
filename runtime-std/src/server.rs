//! The threads: workers, those with a remote store, and the one that waits for commands and keeps the store up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use pyzord_core::Store;
use pyzord_runtime::{Backend, Command, Maintenance, Service, ServiceParts, Sockets, Wait, WorkerContext};

/// An idle worker looks at the stop flag this often if nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);
/// How often a stop wakes the workers that still wait.
const WAKE_PERIOD: Duration = Duration::from_millis(5);

/// Serves until a stop, or until no command can come any more. Then it answers what was received and syncs the store.
/// Reloads and upkeep run in the calling thread.
pub fn serve<S: Store>(service: Service<'_, S>, commands: &Receiver<Command>) {
    let sockets = service.sockets;
    for socket in sockets.iter() {
        if let Err(error) = socket.set_read_timeout(Some(IDLE)) {
            log::error!("a stop may take until the next datagram: {error}");
        }
    }
    let context = &WorkerContext::new(&service);
    let ServiceParts { backends, remote_stores, mut maintenance } = context.parts(service);
    thread::scope(|scope| {
        for store in remote_stores {
            scope.spawn(move || context.serve_remote(store));
        }
        let workers: Vec<_> =
            backends.into_iter().map(|backend| scope.spawn(move || run(context, backend))).collect();
        while let Some(Command::Reload) = next_command(commands, &mut maintenance) {
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

/// Runs a worker: it serves until the stop, then answers what is left.
fn run<'c, S: Store>(context: &'c WorkerContext<'_>, backend: Backend<'c, S>) {
    let mut worker = context.worker(backend);
    while !context.is_stopping() {
        worker.serve(Wait::ForOne);
    }
    worker.drain();
}

/// Does what is due until a command comes. Returns `None` if none can come any more.
fn next_command(
    commands: &Receiver<Command>,
    maintenance: &mut Maintenance<'_, '_, impl Store>,
) -> Option<Command> {
    loop {
        match commands.recv_timeout(maintenance.run()) {
            Ok(command) => return Some(command),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Wakes the workers, so that they look at the stop flag: with empty datagrams, which are not requests. The port of the
/// sender decides which socket a datagram comes to, so there are several, each time from other ports. A worker that
/// none of them reaches looks by itself when its receive times out.
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
