//! Limits of the system that would end the process.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// Has a write beyond the limit of a file's size (`RLIMIT_FSIZE`) fail, as one to a full disk does, rather than end
/// the process. Call it before any thread exists.
///
/// # Errors
/// When the system refuses.
pub fn outlive_file_limits() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    Ok(signals.thread_block()?)
}
