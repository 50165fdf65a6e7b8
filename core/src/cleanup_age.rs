//! The age at which records expire.

use core::num::NonZeroU64;
use core::time::Duration;

use crate::time::UnixTime;

/// The age at which a record expires: the setting `CleanupAge`. Where records never expire there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CleanupAge(NonZeroU64);

impl CleanupAge {
    /// Returns the age of `seconds`; `None`, for never, if they are 0, as the setting has it.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Option<Self> {
        match NonZeroU64::new(seconds) {
            Some(seconds) => Some(Self(seconds)),
            None => None,
        }
    }

    /// Returns the age in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0.get()
    }

    /// Returns the limit at `now`: records whose latest activity is before it have expired.
    #[must_use]
    pub fn limit(self, now: UnixTime) -> UnixTime {
        now.before(Duration::from_secs(self.0.get()))
    }
}
