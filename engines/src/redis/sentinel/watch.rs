//! Looks once a second for another master.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::super::connection::Connection;
use super::query::{self, Sentinel};
use super::{GREETING, Sentinels};
use crate::hosts::Host;

/// How long the thread sleeps between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a sentinel has for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the thread, once for all connections to the service. It ends soon after the last engine of the DSN.
pub(super) fn start(sentinels: &Arc<Sentinels>) {
    if sentinels.watched.swap(true, Ordering::Relaxed) {
        return;
    }
    let watched = Arc::downgrade(sentinels);
    let started = thread::Builder::new().name("redis-sentinels".into()).spawn(move || watch(&watched));
    if let Err(error) = started {
        sentinels.watched.store(false, Ordering::Relaxed);
        log::debug!("{}: no thread to look for another master: {error}", sentinels.name());
    }
}

fn watch(watched: &Weak<Sentinels>) {
    let mut connections = Vec::new();
    loop {
        thread::sleep(PERIOD);
        let Some(sentinels) = watched.upgrade() else { return };
        connections.resize_with(sentinels.sentinels.len(), || None);
        look(&sentinels, &mut connections);
    }
}

/// Asks all sentinels, and ends the validity of all connections if most of those that answer name another master. One
/// sentinel that lags, or lies, changes nothing.
fn look(sentinels: &Sentinels, connections: &mut [Option<Connection>]) {
    let named: Vec<Option<Host>> = sentinels
        .sentinels
        .iter()
        .zip(connections)
        .map(|(sentinel, connection)| ask(sentinel, connection, &sentinels.service))
        .collect();
    let Some((index, master)) = majority(&named) else { return };
    if sentinels.known_master().as_ref() == Some(master) {
        return;
    }
    // Before it is promoted, the connections that there are serve as well as none.
    if let Err(cause) = sentinels.connect(master, GREETING, sentinels.epoch.validity()) {
        return log::debug!("{}: most sentinels name another master: {cause}", sentinels.name());
    }
    sentinels.first.store(index, Ordering::Relaxed);
    sentinels.found(master, index);
    sentinels.epoch.end();
}

/// Asks one sentinel on a connection that is kept, and on a new one if that fails.
fn ask(sentinel: &Sentinel, kept: &mut Option<Connection>, service: &str) -> Option<Host> {
    if let Some(mut connection) = kept.take()
        && connection.is_idle()
        && let Ok(master) = query::master(&mut connection, service, PATIENCE)
    {
        *kept = Some(connection);
        return Some(master);
    }
    let mut connection = sentinel.connect(PATIENCE).ok()?;
    let master = query::master(&mut connection, service, PATIENCE).ok()?;
    *kept = Some(connection);
    Some(master)
}

/// Returns the server that most sentinels name, of those that name one, and the first of them.
fn majority(named: &[Option<Host>]) -> Option<(usize, &Host)> {
    let answered = named.iter().flatten().count();
    let votes = |host: &Host| named.iter().flatten().filter(|other| *other == host).count();
    let mut candidates = named.iter().enumerate().filter_map(|(index, host)| Some((index, host.as_ref()?)));
    candidates.find(|(_, host)| votes(host) * 2 > answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_those_that_answer_decide() {
        let table: &[(&[u16], Option<usize>)] = &[
            (&[], None),
            (&[0, 0], None),
            (&[1], Some(0)),
            (&[0, 1, 0], Some(1)),
            (&[1, 2], None),
            (&[1, 2, 2], Some(1)),
            (&[1, 2, 3], None),
            (&[2, 0, 1, 2], Some(0)),
            (&[1, 1, 2, 2], None),
        ];
        for (ports, expected) in table {
            let host = |port: &u16| (*port != 0).then(|| Host { name: "h".into(), port: *port });
            let named: Vec<_> = ports.iter().map(host).collect();
            assert_eq!(majority(&named).map(|(index, _)| index), *expected, "{ports:?}");
        }
    }
}
