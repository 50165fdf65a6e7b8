//! On which CPU a thread runs.

use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs that this process may use, in their order.
///
/// # Errors
/// When the system does not tell.
pub fn available() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(THIS_THREAD).map_err(|error| format!("affinity: {error}"))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from now on, on one CPU.
///
/// # Errors
/// When this process may not use that CPU.
pub fn pin_this_thread(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(THIS_THREAD, &set));
    pinned.map_err(|error| format!("CPU {cpu}: {error}"))
}

/// Does something on one CPU: processes that it starts stay there.
///
/// # Errors
/// When this process may not use that CPU, or from the action.
pub fn on<T: Send>(
    cpu: Option<usize>,
    action: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    let Some(cpu) = cpu else { return action() };
    // A thread's affinity is inherited. A thread of its own leaves that of the caller alone.
    let pinned = || pin_this_thread(cpu).and_then(|()| action());
    thread::scope(|scope| scope.spawn(pinned).join()).unwrap_or_else(|_| Err("a thread panicked".to_owned()))
}
