//! CPU affinity.

use std::thread;

use anyhow::{Context as _, anyhow};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const THIS_THREAD: Pid = Pid::from_raw(0);

/// Returns the CPUs that this process may use, in ascending order.
///
/// # Errors
/// When the system does not return the affinity.
pub fn available() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD).context("cannot read the CPU affinity")?;
    // `is_set` fails only for a number beyond `count`.
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect())
}

/// Pins the calling thread, and all that it starts from now on, to one CPU.
///
/// # Errors
/// When this process may not use that CPU.
pub fn pin_this_thread(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(THIS_THREAD, &set));
    pinned.with_context(|| format!("cannot use CPU {cpu}"))
}

/// Runs `action` on one CPU. Processes that it starts stay on that CPU.
///
/// # Errors
/// When this process may not use that CPU, or when `action` fails.
pub fn on<T: Send>(
    cpu: Option<usize>,
    action: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let Some(cpu) = cpu else { return action() };
    // Affinity is inherited. A separate thread leaves that of the calling thread unchanged.
    let pinned = || pin_this_thread(cpu).and_then(|()| action());
    thread::scope(|scope| scope.spawn(pinned).join())
        .unwrap_or_else(|_| Err(anyhow!("the thread on CPU {cpu} panicked")))
}
