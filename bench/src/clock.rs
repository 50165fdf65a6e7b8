//! Clocks. No other file of this package reads one.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::time::ClockId;
use nix::unistd::Pid;

/// Monotonic time since the start of the clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts a clock at 0.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start, in nanoseconds.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        nanos(self.0.elapsed())
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Converts a duration to nanoseconds, at most `u64::MAX` (585 years).
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the system time in Unix seconds, between 0 and `i64::MAX`.
#[must_use]
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the CPU time of the calling thread so far; zero if the system has no such clock.
#[must_use]
pub fn thread_cpu() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// Returns the CPU time of a process so far: user and system time of all its threads, ended ones included.
///
/// # Errors
/// When there is no such process.
pub fn process_cpu(process: u32) -> anyhow::Result<Duration> {
    let time =
        || Ok::<_, anyhow::Error>(ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(process)?))?.now()?);
    Ok(time().with_context(|| format!("cannot read the CPU time of process {process}"))?.into())
}
