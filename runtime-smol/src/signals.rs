//! Turns signals into a stream of commands.

use std::io;

use async_signal::Signal;
use futures_lite::{Stream, StreamExt as _};
use pyzord_runtime::Command;

/// TERM, INT, USR1 and HUP, with handlers in place of their default effects.
#[derive(Debug)]
pub struct Signals(async_signal::Signals);

impl Signals {
    /// Installs the handlers. A signal that comes before [`commands`](Self::commands) waits.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn install() -> io::Result<Self> {
        async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Usr1, Signal::Hup]).map(Self)
    }

    /// Returns the signals as commands: TERM and INT stop, USR1 and HUP reload.
    pub fn commands(self) -> impl Stream<Item = Command> + Unpin {
        self.0.filter_map(|signal| match signal {
            Ok(signal @ (Signal::Usr1 | Signal::Hup)) => Some(tell(signal, Command::Reload)),
            Ok(signal) => Some(tell(signal, Command::Stop)),
            Err(error) => {
                log::error!("a signal could not be read, and has no effect: {error}");
                None
            }
        })
    }
}

fn tell(signal: Signal, command: Command) -> Command {
    let name = match signal {
        Signal::Usr1 => "SIGUSR1",
        Signal::Hup => "SIGHUP",
        Signal::Int => "SIGINT",
        _ => "SIGTERM",
    };
    log::info!("{name} received. {command}");
    command
}
