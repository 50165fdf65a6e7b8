//! The one file of this package that reads clocks.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::ClockId;
use nix::unistd::Pid;

/// Monotonic time in nanoseconds since its start. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that reads 0 now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        nanos(self.0.elapsed())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration in nanoseconds; 585 years when it is longer.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Civil time in Unix seconds.
#[must_use]
pub fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// CPU time of the calling thread so far; zero where the system does not tell.
#[must_use]
pub fn thread_cpu() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// CPU time of a process so far, user and system, of all its threads and of those that have ended.
///
/// # Errors
/// When there is no such process.
pub fn process_cpu(process: u32) -> Result<Duration, String> {
    let pid = i32::try_from(process).map_err(|error| error.to_string())?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    let time =
        clock.and_then(ClockId::now).map_err(|error| format!("CPU time of process {process}: {error}"))?;
    Ok(time.into())
}
