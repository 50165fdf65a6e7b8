//! The tasks: workers, and the one that waits for commands and keeps the store up.

use std::io;
use std::net::UdpSocket;
use std::thread;

use async_io::{Async, Timer, block_on};
use futures_lite::{Stream, StreamExt as _, future};
use pyzord_core::Store;
use pyzord_runtime::{Backend, Command, Duties, News, Parts, Pulse, Server, Wait, Worker};
use smol::channel::{Receiver, bounded};

/// Serves until it is told to stop, or nobody is left who could. What was received by then is answered, and the store
/// synced. The reload is called, and upkeep done, in the calling thread, which no worker waits for.
///
/// # Errors
/// When the socket cannot be watched.
pub fn serve<S: Store>(
    server: Server<'_, S>,
    commands: impl Stream<Item = Command> + Unpin,
) -> io::Result<()> {
    let parts = &Parts::new(&server);
    let Server { policy, stores, upkeep, cleanup, reload, supervisor, .. } = server;
    let mut duties = parts.duties(upkeep, cleanup, supervisor);
    let (backends, remote) = parts.split(stores);
    let watched: Vec<_> = backends.into_iter().map(watch).collect::<io::Result<_>>()?;
    let (running, stopped) = bounded::<()>(1);
    thread::scope(|scope| {
        for store in remote {
            scope.spawn(move || parts.serve_remote(store));
        }
        let run = |(socket, backend)| {
            let (stopped, pulse) = (stopped.clone(), parts.pulse());
            move || block_on(run(parts.worker(backend), pulse, socket, stopped))
        };
        let workers: Vec<_> = watched.into_iter().map(|watched| scope.spawn(run(watched))).collect();
        let mut commands = commands;
        while let Some(command) = block_on(next_command(&mut commands, &mut duties)) {
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
        // Closing the channel wakes every worker.
        drop(running);
        workers.into_iter().for_each(|worker| drop(worker.join()));
        parts.pool.close();
    });
    duties.finish();
    Ok(())
}

/// A worker's socket in the reactor.
fn watch<S: Store>(backend: Backend<'_, S>) -> io::Result<(Async<UdpSocket>, Backend<'_, S>)> {
    Ok((Async::new(backend.socket().try_clone()?)?, backend))
}

/// What a worker's task does: take what is there, wait for more, and after a stop answer what is left.
async fn run<S: Store>(
    mut worker: Worker<'_, S>,
    mut pulse: Pulse,
    socket: Async<UdpSocket>,
    stopped: Receiver<()>,
) {
    while !stopped.is_closed() {
        pulse.beat();
        if !worker.serve(Wait::No) {
            pulse.rest();
            let readable = async { drop(socket.readable().await) };
            let stop = async { stopped.recv().await.unwrap_or_default() };
            future::or(readable, stop).await;
        }
    }
    worker.drain();
}

/// Does what is due until there is a command. `None` when there will never be one again.
async fn next_command(
    commands: &mut (impl Stream<Item = Command> + Unpin),
    duties: &mut Duties<'_, '_, impl Store>,
) -> Option<Command> {
    loop {
        let timer = Timer::after(duties.run());
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
