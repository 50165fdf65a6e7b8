//! Turns signals into commands without handlers: all threads block the signals, and one thread waits for them.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use pyzord_runtime::Command;

/// TERM, INT, USR1 and HUP, blocked, so that they do not end the process.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks the signals in this thread and in those that it starts later. Call it before the first thread is started. A
    /// signal that comes before [`forward`](Self::forward) waits.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn block() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        Ok(Self(signals))
    }

    /// Starts the thread that turns signals into commands: TERM and INT stop, USR1 and HUP reload. It ends when the
    /// receiver is dropped and the next signal comes, or with the process.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn forward(self, commands: Sender<Command>) -> io::Result<()> {
        let forward = move || {
            while let Ok(signal) = self.0.wait() {
                let command = match signal {
                    Signal::SIGUSR1 | Signal::SIGHUP => Command::Reload,
                    _ => Command::Stop,
                };
                log::info!("{signal} received. {command}");
                if commands.send(command).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(forward).map(drop)
    }
}
