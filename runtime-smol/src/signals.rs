//! Signals as a stream of commands.

use std::io;

use async_signal::Signal;
use futures_lite::{Stream, StreamExt as _};
use pyzord_runtime::Command;

/// TERM, INT, USR1 and HUP, taken from what they do by default.
#[derive(Debug)]
pub struct Signals(async_signal::Signals);

impl Signals {
    /// Takes the signals over. Call it early: one that comes before [`commands`](Self::commands) waits.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        async_signal::Signals::new([Signal::Term, Signal::Int, Signal::Usr1, Signal::Hup]).map(Self)
    }

    /// The signals as commands: TERM and INT stop, USR1 and HUP reload.
    pub fn commands(self) -> impl Stream<Item = Command> + Unpin {
        self.0.filter_map(|signal| match signal.ok()? {
            signal @ (Signal::Usr1 | Signal::Hup) => Some(tell(signal, Command::Reload)),
            signal => Some(tell(signal, Command::Stop)),
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
