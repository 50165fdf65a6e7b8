//! The hosts of a DSN, and which of them is used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::dsn::{Dsn, Host};
use crate::wire::{Deadline, addresses};

/// How many look-ups of one name may be under way.
const MOST_LOOK_UPS: usize = 64;

/// The hosts of a DSN. Engines that share it connect to the same one, as long as they can: writes to several nodes of a
/// Galera cluster are in each other's way.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) dsn: Dsn,
    /// The number of the host that is tried first.
    preferred: AtomicUsize,
    /// The look-ups of each host's name that are under way.
    look_ups: Vec<Arc<AtomicUsize>>,
}

impl Servers {
    /// Returns the hosts of a DSN, the first of which is preferred.
    pub(super) fn new(dsn: &Dsn) -> Self {
        let look_ups = dsn.hosts.iter().map(|_| Arc::default()).collect();
        Self { dsn: dsn.clone(), preferred: AtomicUsize::new(0), look_ups }
    }

    /// Returns whether there are several hosts.
    pub(super) fn are_several(&self) -> bool {
        self.dsn.hosts.len() > 1
    }

    /// Returns the number of the host that is tried first.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Returns the hosts with their numbers: the preferred one, and then the others in the order of the DSN.
    pub(super) fn in_order(&self) -> Vec<(usize, &Host)> {
        let preferred = self.preferred();
        let hosts: Vec<(usize, &Host)> = self.dsn.hosts.iter().enumerate().collect();
        let (mut first, others): (Vec<_>, Vec<_>) =
            hosts.into_iter().partition(|(number, _)| *number == preferred);
        first.extend(others);
        first
    }

    /// Makes all engines use this host. Logs a change.
    pub(super) fn prefer(&self, number: usize, causes: &str) {
        let before = self.preferred.swap(number, Ordering::Relaxed);
        if before != number
            && let Some(host) = self.dsn.hosts.get(number)
        {
            log::warn!("database {}: host {host} is used now{causes}", self.dsn.name());
        }
    }

    /// Tries this host last, if it is the preferred one.
    pub(super) fn leave(&self, number: usize, cause: &dyn std::fmt::Display) {
        let next = (number + 1) % self.dsn.hosts.len().max(1);
        let left = self.preferred.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
        if left.is_ok()
            && let (Some(host), Some(next)) = (self.dsn.hosts.get(number), self.dsn.hosts.get(next))
        {
            log::warn!("database {}: host {host} is given up: {cause}; trying {next}", self.dsn.name());
        }
    }

    /// Looks up the addresses of a host's name. Among several hosts, one whose look-up hangs does not hold up the others:
    /// a look-up cannot be ended, so it has a thread of its own.
    pub(super) fn look_up(
        &self,
        number: usize,
        name: &str,
        port: u16,
        deadline: Deadline,
    ) -> io::Result<Vec<SocketAddr>> {
        let Some(under_way) = self.look_ups.get(number).filter(|_| self.are_several()) else {
            return addresses(name, port);
        };
        if name.parse::<IpAddr>().is_ok() {
            return addresses(name, port);
        }
        if under_way.fetch_add(1, Ordering::Relaxed) >= MOST_LOOK_UPS {
            under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(io::Error::other("its name cannot be looked up: earlier look-ups hang"));
        }
        let (sender, found) = mpsc::sync_channel(1);
        let (name, under_way) = (name.to_owned(), Arc::clone(under_way));
        thread::Builder::new().name("mysql-look-up".to_owned()).spawn(move || {
            let found = addresses(&name, port);
            under_way.fetch_sub(1, Ordering::Relaxed);
            // The caller may have given up.
            drop(sender.send(found));
        })?;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "its name is not looked up in time");
        found.recv_timeout(deadline.left().unwrap_or_default()).map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(servers: &Servers) -> Vec<usize> {
        servers.in_order().into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn a_host_is_kept_until_it_is_left_and_the_order_is_that_of_the_dsn() {
        let servers = Servers::new(&Dsn::parse("mysql://user@a,b,c/pyzor").unwrap());
        assert_eq!(order(&servers), [0, 1, 2]);
        servers.prefer(2, "");
        assert_eq!(order(&servers), [2, 0, 1]);
        // Another engine has left it before.
        servers.leave(1, &"read-only");
        assert_eq!(order(&servers), [2, 0, 1]);
        servers.leave(2, &"read-only");
        assert_eq!(order(&servers), [0, 1, 2]);
    }
}
