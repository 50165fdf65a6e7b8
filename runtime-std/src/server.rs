//! Serving with blocking threads.

use std::io;
use std::sync::mpsc::Receiver;

use pyzord_core::Store;
use pyzord_runtime::{Command, Service};

/// Serves until a command says stop, or until all senders of commands are gone. All requests that were received by then
/// are answered, and the store is synced. The reload is called in the calling thread.
///
/// # Errors
/// When the system refuses a thread.
pub fn serve<S: Store>(service: Service<'_, S>, commands: &Receiver<Command>) -> io::Result<()> {
    pyzord_runtime::serve(service, |timeout| commands.recv_timeout(timeout))
}
