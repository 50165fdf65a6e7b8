//! The addresses of a server.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::client::remote::Remote;
use crate::time::Tick;

/// The time after which a name is looked up again: servers move.
const PERIOD: Duration = Duration::from_secs(600);
/// The same, if the server does not answer or the lookup failed.
const RETRY: Duration = Duration::from_secs(10);
/// The number of addresses of a name that are tried.
const MOST: usize = 8;

/// The addresses of one server; one of them is in use.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    known: Vec<SocketAddr>,
    used: usize,
    /// When the last lookup was requested.
    asked: Option<Tick>,
    /// Whether that lookup has not ended.
    pending: bool,
    /// When the next lookup is due; never for a host that is an address.
    lookup_at: Option<Tick>,
}

impl Addresses {
    pub(super) fn new(remote: &Remote, now: Tick) -> Self {
        let known: Vec<SocketAddr> =
            remote.ip().map(|ip| SocketAddr::new(ip, remote.port)).into_iter().collect();
        let lookup_at = known.is_empty().then_some(now);
        Self { known, used: 0, asked: None, pending: false, lookup_at }
    }

    pub(super) fn current(&self) -> Option<SocketAddr> {
        self.known.get(self.used).copied()
    }

    pub(super) fn contain(&self, peer: IpAddr) -> bool {
        self.known.iter().any(|address| address.ip() == peer)
    }

    pub(super) const fn lookup_at(&self) -> Option<Tick> {
        self.lookup_at
    }

    /// Returns when the lookup was requested that has not ended, if no address is known.
    pub(super) fn unresolved_since(&self) -> Option<Tick> {
        self.asked.filter(|_| self.pending && self.known.is_empty())
    }

    /// Records that a lookup was requested. Without a result it is requested again after [`PERIOD`].
    pub(super) fn asked(&mut self, now: Tick) {
        self.asked = Some(now);
        self.pending = true;
        self.lookup_at = Some(now.after(PERIOD));
    }

    /// Takes the result of a lookup. A failed one leaves the known addresses.
    pub(super) fn found(&mut self, found: &[SocketAddr], now: Tick) {
        self.pending = false;
        if found.is_empty() {
            self.lookup_at = Some(now.after(RETRY));
            return;
        }
        let current = self.current();
        self.known.clear();
        self.known.extend(found.iter().take(MOST));
        self.used = self.known.iter().position(|address| Some(*address) == current).unwrap_or(0);
    }

    /// Records that the address in use does not answer: the next one is used, and a lookup is due soon.
    pub(super) fn failed(&mut self) {
        self.used = (self.used + 1).checked_rem(self.known.len()).unwrap_or(0);
        if let (Some(at), Some(asked)) = (&mut self.lookup_at, self.asked) {
            *at = asked.after(RETRY).min(*at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::new(Duration::from_secs(seconds))
    }

    #[test]
    fn an_address_is_never_looked_up() {
        let mut addresses = Addresses::new(&Remote::new("::1", 5), at(0));
        assert_eq!((addresses.current(), addresses.lookup_at()), (Some("[::1]:5".parse().unwrap()), None));
        addresses.failed();
        assert_eq!((addresses.current(), addresses.lookup_at()), (Some("[::1]:5".parse().unwrap()), None));
    }

    #[test]
    fn a_name_is_looked_up_at_once_from_time_to_time_and_after_failures() {
        let [one, two] = ["192.0.2.1:5", "192.0.2.2:5"].map(|text| text.parse::<SocketAddr>().unwrap());
        let mut addresses = Addresses::new(&Remote::new("a.example", 5), at(3));
        assert_eq!((addresses.current(), addresses.lookup_at()), (None, Some(at(3))));
        addresses.asked(at(3));
        addresses.found(&[], at(4));
        assert_eq!((addresses.current(), addresses.lookup_at()), (None, Some(at(14))));
        addresses.asked(at(14));
        addresses.found(&[one, two], at(15));
        assert_eq!((addresses.current(), addresses.lookup_at()), (Some(one), Some(at(614))));
        addresses.failed();
        assert_eq!((addresses.current(), addresses.lookup_at()), (Some(two), Some(at(24))));
        addresses.asked(at(24));
        addresses.found(&[one, two], at(25));
        assert_eq!(addresses.current(), Some(two), "the one that is in use stays");
        addresses.failed();
        assert_eq!(addresses.current(), Some(one));
    }
}
