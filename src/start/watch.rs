//! Ends the process at TERM and INT while it starts.
//!
//! The signals are blocked from the beginning, so that none is lost between the start and the runtime's own way to wait
//! for them. Until then a thread waits for those that stop: what a start waits for, such as the recovery of a large
//! database, can take minutes and does not look at a command. Nothing is served yet, and no pid file is written, so the
//! process can end at any moment, as at a SIGKILL; only the temporary file of a rewrite is removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// Ends the watch. It is blocked for the whole life of the process and has no other meaning.
const START_DONE: Signal = Signal::SIGUSR2;

/// Blocks the signals of the server in this thread and in those that it starts. Call it before the first thread exists.
pub(super) fn block_signals() -> io::Result<()> {
    pyzord_runtime::outlive_file_limits()?;
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGHUP, START_DONE];
    Ok(SigSet::from_iter(signals).thread_block()?)
}

/// A thread that ends the process at TERM and INT.
#[derive(Debug)]
pub(super) struct StartWatch(JoinHandle<()>);

impl StartWatch {
    /// Starts the watch. `database` is the gdbm file that the start may rewrite.
    pub(super) fn begin(database: Option<&Path>) -> io::Result<Self> {
        let before = temporary_files(database);
        let database = database.map(Path::to_path_buf);
        let watch = move || match SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, START_DONE]).wait() {
            Ok(signal @ (Signal::SIGTERM | Signal::SIGINT)) => {
                log::warn!("{signal} received. The start is given up; nothing was served.");
                for file in temporary_files(database.as_deref()) {
                    if !before.contains(&file) {
                        // What stays is named as a leftover by the next start.
                        let _ = fs::remove_file(file);
                    }
                }
                log::logger().flush();
                process::exit(0);
            }
            Ok(_) => (),
            Err(error) => log::error!("TERM and INT have no effect during the start: {error}"),
        };
        thread::Builder::new().name("start".into()).spawn(watch).map(Self)
    }

    /// Ends the watch: a signal that comes from here on waits for the runtime.
    pub(super) fn end(self) -> io::Result<()> {
        kill(Pid::this(), START_DONE)?;
        // A panic of the thread is logged by the panic hook, and leaves nothing to undo.
        drop(self.0.join());
        Ok(())
    }
}

#[cfg(feature = "gdbm")]
fn temporary_files(database: Option<&Path>) -> Vec<PathBuf> {
    database.map(pyzord_engines::gdbm::temporary_files).unwrap_or_default()
}

#[cfg(not(feature = "gdbm"))]
fn temporary_files(_: Option<&Path>) -> Vec<PathBuf> {
    Vec::new()
}
