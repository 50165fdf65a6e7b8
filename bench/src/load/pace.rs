//! The times at which requests are sent.

/// The trigger of the next request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// A closed loop: each reply triggers the next request. Measures the throughput of a server. A server that pauses
    /// pauses the generator too, so few requests show the pause in their latency.
    Closed {
        /// Requests in flight, over all sockets.
        outstanding: u64,
    },
    /// An open loop: requests are sent at a fixed rate, as mail arrives however fast the server is. Latency counts from
    /// the scheduled time, so every request that a pause delays shows it.
    Open {
        /// Requests per second, over all sockets.
        rate: u64,
    },
}

/// The times at which one of several sockets sends at a fixed rate; the times of all sockets interleave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendTimes {
    rate: u64,
    socket: u64,
    sockets: u64,
}

impl SendTimes {
    pub(crate) const fn new(rate: u64, socket: u64, sockets: u64) -> Self {
        Self { rate, socket, sockets }
    }

    /// Returns the time of this socket's request number `index`, in nanoseconds since the start; at most `u64::MAX`.
    /// Computed from the index, so that rounding errors do not add up.
    pub(crate) fn time_of(&self, index: u64) -> u64 {
        let place = u128::from(index) * u128::from(self.sockets) + u128::from(self.socket);
        u64::try_from(place * 1_000_000_000 / u128::from(self.rate.max(1))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_a_rate_evenly() {
        for (rate, sockets) in [(1, 1), (3, 1), (1000, 3), (700_001, 4)] {
            let sockets_times: Vec<_> =
                (0..sockets).map(|socket| SendTimes::new(rate, socket, sockets)).collect();
            let all = sockets_times.iter().flat_map(|times| (0..=rate).map(|index| times.time_of(index)));
            let mut all: Vec<u64> = all.filter(|time| *time < 1_000_000_000).collect();
            all.sort_unstable();
            assert_eq!(all.len() as u64, rate, "{rate} {sockets}");
            assert!(all.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(1_000_000_000 / rate) <= 1));
        }
    }

    /// A century at a rate that does not divide a second.
    #[test]
    fn times_never_drift() {
        let seconds = 100 * 365 * 86_400;
        assert_eq!(SendTimes::new(7, 0, 1).time_of(7 * seconds), seconds * 1_000_000_000);
    }
}
