//! The one file of this runtime that reads a clock.
#![expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyzord_core::{Now, Tick, UnixTime};

/// The machine's clocks, as the core wants them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose ticks start now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Civil and monotonic time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { wall: wall(), tick: self.tick() }
    }

    /// Monotonic time.
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick::new(self.started.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}

/// Civil time; a clock set before 1970 reads as negative.
fn wall() -> UnixTime {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    UnixTime::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    })
}
