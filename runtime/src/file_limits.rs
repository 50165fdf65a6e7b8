//! Limits of the system whose default effect is to end the process.

use std::io;

use nix::sys::signal::{SigSet, Signal};

/// Makes a write beyond the limit of file sizes (`RLIMIT_FSIZE`) fail like one to a full disk, where by default it ends
/// the process. Call it before the first thread is started: threads inherit the setting.
///
/// # Errors
/// When the signal cannot be blocked.
pub fn outlive_file_limits() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    Ok(signals.thread_block()?)
}
