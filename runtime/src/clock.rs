//! Reads the clocks of the machine; no other file of this crate does.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyzord_core::{Now, Tick, UnixTime};

/// The clocks of the machine, in the units of the core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Creates a clock whose ticks start now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Returns civil and monotonic time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall(), tick: self.tick() }
    }

    /// Returns monotonic time.
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick::new(self.started.elapsed())
    }

    /// Returns monotonic time that also passes while the machine is suspended, from any moment on.
    #[must_use]
    #[cfg(target_os = "linux")]
    pub fn unsuspended(&self) -> Duration {
        // Not rustix, whose clock_gettime crashes under valgrind.
        let since_boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        since_boot.map_or_else(|_| self.started.elapsed(), Duration::from)
    }

    /// Returns monotonic time: this system has no clock that also passes while the machine is suspended.
    #[must_use]
    #[cfg(not(target_os = "linux"))]
    pub fn unsuspended(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

/// Returns civil time: negative while the clock is set before 1970, and the largest number from the year 294,247 on.
fn wall() -> UnixTime {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    UnixTime::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}
