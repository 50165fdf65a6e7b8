//! When requests are sent.

/// What decides when the next request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// The replies: so many requests are always unanswered. Finds out how much a server can do. A server that pauses
    /// makes the generator pause, too, so latencies are those of few requests.
    Closed {
        /// Requests under way at once, over all sockets.
        outstanding: u64,
    },
    /// The clock: mail arrives whether or not the server is quick. Latency counts from the moment at which a request
    /// should have been sent, so a pause is seen by every request that it delays.
    Open {
        /// Requests a second, over all sockets.
        rate: u64,
    },
}

/// The moments at which one of several sockets sends, at a fixed rate: those of all sockets interleave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: u64,
    socket: u64,
    sockets: u64,
}

impl Schedule {
    pub(crate) const fn new(rate: u64, socket: u64, sockets: u64) -> Self {
        Self { rate, socket, sockets }
    }

    /// When this socket's request with this index is to be sent, in nanoseconds from the start. Computed from the index,
    /// so that rounding never adds up.
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
            let schedules: Vec<_> = (0..sockets).map(|socket| Schedule::new(rate, socket, sockets)).collect();
            let all = schedules.iter().flat_map(|schedule| (0..=rate).map(|index| schedule.time_of(index)));
            let mut all: Vec<u64> = all.filter(|time| *time < 1_000_000_000).collect();
            all.sort_unstable();
            assert_eq!(all.len() as u64, rate, "{rate} {sockets}");
            assert!(all.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(1_000_000_000 / rate) <= 1));
        }
    }

    /// A century at a rate that does not divide a second.
    #[test]
    fn a_schedule_never_drifts() {
        let seconds = 100 * 365 * 86_400;
        assert_eq!(Schedule::new(7, 0, 1).time_of(7 * seconds), seconds * 1_000_000_000);
    }
}
