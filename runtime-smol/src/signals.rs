//! Turns signals into a stream of commands.

use std::io;

use async_signal::Signal;
use futures_lite::{Stream, StreamExt as _};
use pyzord_runtime::Command;

/// TERM, INT, USR1 and HUP, with handlers in place of their default effects.
///
/// A handler writes into a socket, which loses a signal if it is full: signals that stop have one of their own, which
/// many reloads cannot fill.
#[derive(Debug)]
pub struct Signals {
    stops: async_signal::Signals,
    reloads: async_signal::Signals,
}

impl Signals {
    /// Installs the handlers. A signal that comes before [`commands`](Self::commands) waits.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            stops: async_signal::Signals::new([Signal::Term, Signal::Int])?,
            reloads: async_signal::Signals::new([Signal::Usr1, Signal::Hup])?,
        })
    }

    /// Returns the signals as commands: TERM and INT stop, USR1 and HUP reload. Stops come first.
    pub fn commands(self) -> impl Stream<Item = Command> + Unpin {
        self.stops.or(self.reloads).filter_map(|signal| match signal {
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
