//! The tasks: workers, and the one that waits for commands and keeps the store up.

use std::io;
use std::net::UdpSocket;
use std::thread;

use async_io::{Async, Timer, block_on};
use futures_lite::{Stream, StreamExt as _, future};
use pyzord_core::Store;
use pyzord_runtime::{Backend, Command, Maintenance, Service, ServiceParts, Wait, WorkerContext};
use smol::channel::{Receiver, bounded};

/// Serves until a stop, or until no command can come any more. Then it answers what was received and syncs the store.
/// Reloads and upkeep run in the calling thread, which no worker waits for.
///
/// # Errors
/// The reactor cannot watch a socket.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    commands: impl Stream<Item = Command> + Unpin,
) -> io::Result<()> {
    let context = &WorkerContext::new(&service);
    let ServiceParts { backends, remote_stores, mut maintenance } = context.parts(service);
    let watched: Vec<_> = backends.into_iter().map(watch).collect::<io::Result<_>>()?;
    let (running, stopped) = bounded::<()>(1);
    thread::scope(|scope| {
        for store in remote_stores {
            scope.spawn(move || context.serve_remote(store));
        }
        let run = |(socket, backend)| {
            let stopped = stopped.clone();
            move || block_on(run(context, backend, socket, stopped))
        };
        let workers: Vec<_> = watched.into_iter().map(|watched| scope.spawn(run(watched))).collect();
        let mut commands = commands;
        while let Some(Command::Reload) = block_on(next_command(&mut commands, &mut maintenance)) {
            maintenance.reload();
        }
        maintenance.stopping();
        context.stop();
        // Closing the channel wakes every worker.
        drop(running);
        workers.into_iter().for_each(|worker| drop(worker.join()));
        context.close_pool();
    });
    maintenance.finish();
    Ok(())
}

/// Adds a worker's socket to the reactor.
fn watch<S: Store>(backend: Backend<'_, S>) -> io::Result<(Async<UdpSocket>, Backend<'_, S>)> {
    Ok((Async::new(backend.socket().try_clone()?)?, backend))
}

/// Runs a worker: it answers what is there, waits for more, and answers what is left after the stop.
async fn run<'c, S: Store>(
    context: &'c WorkerContext<'_>,
    backend: Backend<'c, S>,
    socket: Async<UdpSocket>,
    stopped: Receiver<()>,
) {
    let mut worker = context.worker(backend);
    while !stopped.is_closed() {
        if !worker.serve(Wait::No) {
            worker.rest();
            let readable = async { drop(socket.readable().await) };
            let stop = async { stopped.recv().await.unwrap_or_default() };
            future::or(readable, stop).await;
        }
    }
    worker.drain();
}

/// Does what is due until a command comes. Returns `None` if none can come any more.
async fn next_command(
    commands: &mut (impl Stream<Item = Command> + Unpin),
    maintenance: &mut Maintenance<'_, '_, impl Store>,
) -> Option<Command> {
    loop {
        let timer = Timer::after(maintenance.run());
        let command = async { Some(commands.next().await) };
        let due = async {
            timer.await;
            None
        };
        if let Some(command) = future::or(command, due).await {
            return command;
        }
    }
}
