//! Serving with commands from an asynchronous stream.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use async_io::{Timer, block_on};
use futures_lite::{Stream, StreamExt as _, future};
use pyzord_core::Store;
use pyzord_runtime::{Command, Service};

/// Serves until a command says stop, or until the stream of commands ends. All requests that were received by then are
/// answered, and the store is synced. The reload is called in the calling thread.
///
/// That thread alone waits in the reactor. Workers wait in the system call that receives: it takes two calls for a
/// request, and a wait in the reactor nine.
///
/// # Errors
/// When the system refuses a thread.
pub fn serve<S: Store>(
    service: Service<'_, S>,
    mut commands: impl Stream<Item = Command> + Unpin,
) -> io::Result<()> {
    pyzord_runtime::serve(service, |timeout| block_on(next_command(&mut commands, timeout)))
}

async fn next_command(
    commands: &mut (impl Stream<Item = Command> + Unpin),
    timeout: Duration,
) -> Result<Command, RecvTimeoutError> {
    let command = async { commands.next().await.ok_or(RecvTimeoutError::Disconnected) };
    let timer = async {
        Timer::after(timeout).await;
        Err(RecvTimeoutError::Timeout)
    };
    future::or(command, timer).await
}
