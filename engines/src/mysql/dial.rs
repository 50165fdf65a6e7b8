//! Finds a host that can be used.
//!
//! Several hosts are tried in their order until one is writable, each for a bounded time. If none is, one that can be read
//! serves meanwhile.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::client::Client;
use super::connect::{ConnectError, addresses_of, connect, limits};
use super::dsn::Host;
use super::servers::Servers;
use super::session::Session;
use super::sql::Sql;
use super::standing::Shortcoming;
use super::table;
use super::timeouts::Timeouts;
use crate::wire::{Deadline, Limits};

/// How long the first attempt at one of several hosts may take. A slow one has a second attempt, after all others.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// How a connection is set up.
#[derive(Clone, Debug)]
pub(super) struct DialOptions {
    pub(super) timeouts: Timeouts,
    /// The zone that the server has most likely.
    pub(super) zone: TimeZone,
    /// Whether a statement that finds a row locked fails at once.
    pub(super) no_wait: bool,
    /// The one host that is tried; `None` for all.
    pub(super) only: Option<usize>,
}

/// What one host gave.
type Found = (Session, Option<Shortcoming>);

/// Connects to the first host that is writable, and makes it the preferred one. If none is, connects to one that can be
/// read.
pub(super) fn dial(servers: &Servers, options: &DialOptions) -> Result<Session, ConnectError> {
    let deadline = Deadline::after(options.timeouts.handshake);
    let mut left: Vec<(usize, &Host)> = servers.in_order();
    left.retain(|(number, _)| options.only.is_none_or(|only| only == *number));
    let (mut causes, mut second_best, mut attempt) = (String::new(), None, FIRST_ATTEMPT);
    while !left.is_empty() {
        let mut late = Vec::new();
        for (number, host) in left {
            let Some(time) = deadline.left() else { break };
            let time = if servers.are_several() { time.min(attempt) } else { time };
            match open(servers, (number, host), options, time) {
                Ok((session, None)) => {
                    if options.only.is_none() {
                        servers.prefer(number, &causes);
                    }
                    return Ok(session);
                }
                Ok((mut session, Some(shortcoming))) => {
                    note(&mut causes, host, &shortcoming);
                    session.shortcoming = Some(shortcoming.to_string());
                    // A donor takes reports, though late.
                    let better = matches!(shortcoming, Shortcoming::Donor) || second_best.is_none();
                    second_best = Some(session).filter(|_| better).or(second_best);
                }
                Err(error) if !servers.are_several() => return Err(error),
                Err(error) => {
                    note(&mut causes, host, &error);
                    if error.is_timeout() {
                        late.push((number, host));
                    }
                }
            }
        }
        let slow = u32::try_from(late.len()).unwrap_or(u32::MAX).max(1);
        let rest = deadline.left().unwrap_or_default() / slow;
        // What one second is too short for is tried once more, unless a host serves meanwhile.
        left = if rest > attempt && second_best.is_none() { late } else { Vec::new() };
        attempt = rest;
    }
    second_best.ok_or_else(|| none(&causes))
}

/// Tells each host's state, and whether it can be used.
pub(super) fn states(
    servers: &Servers,
    options: &DialOptions,
) -> Vec<(String, Result<Option<Shortcoming>, ConnectError>)> {
    let state = |host: (usize, &Host)| {
        let (_, name) = host;
        let found = open(servers, host, options, share(servers, options.timeouts));
        (name.to_string(), found.map(|(_, shortcoming)| shortcoming))
    };
    servers.dsn.hosts.iter().enumerate().map(state).collect()
}

/// Creates the tables on the first host that can be written.
pub(super) fn create_tables(servers: &Servers, timeouts: Timeouts) -> Result<(), ConnectError> {
    let sql = Sql::of(&servers.dsn);
    let mut causes = String::new();
    for (number, host) in servers.in_order() {
        let create = |mut client: Client, _: Limits, _: bool| {
            client.begin(limits(Deadline::after(timeouts.answer), timeouts));
            Ok(table::create(&mut client, &sql)?)
        };
        match at_addresses(servers, (number, host), timeouts, share(servers, timeouts), create, |()| true) {
            Err(error) if servers.are_several() => note(&mut causes, host, &error),
            created => return created,
        }
    }
    Err(none(&causes))
}

/// Returns an equal share of the time of an attempt to connect.
fn share(servers: &Servers, timeouts: Timeouts) -> Duration {
    timeouts.handshake / u32::try_from(servers.dsn.hosts.len()).unwrap_or(u32::MAX).max(1)
}

/// Opens a session on a host within a time.
fn open(
    servers: &Servers,
    (number, host): (usize, &Host),
    options: &DialOptions,
    time: Duration,
) -> Result<Found, ConnectError> {
    let work = |client: Client, limits: Limits, several_addresses: bool| {
        let mut session = Session::new(client, &servers.dsn, options, number, limits)?;
        // A single server is used as it is.
        if !servers.are_several() && !several_addresses {
            return Ok((session, None));
        }
        session.finish_by(Some(limits.deadline));
        let shortcoming = session.shortcoming()?;
        session.finish_by(None);
        Ok((session, shortcoming))
    };
    at_addresses(servers, (number, host), options.timeouts, time, work, |(_, shortcoming)| {
        shortcoming.is_none()
    })
}

/// Does something at each address of a host, one after the other, until the result is `good`; returns the best result.
/// `work` is told whether there are several addresses. Each has an equal share of the time.
fn at_addresses<T>(
    servers: &Servers,
    (number, host): (usize, &Host),
    timeouts: Timeouts,
    time: Duration,
    work: impl Fn(Client, Limits, bool) -> Result<T, ConnectError>,
    good: impl Fn(&T) -> bool,
) -> Result<T, ConnectError> {
    let addresses = addresses_of(servers, number, host, Deadline::after(time))?;
    let share = time / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    // `localhost` is one server, whichever way leads to it.
    let several = addresses.len() > 1 && *host != Host::Local;
    let mut best: Option<Result<T, ConnectError>> = None;
    for address in &addresses {
        // A busy server is slow to greet.
        let limits = limits(Deadline::after(share), timeouts.for_handshake());
        match connect(servers, address, limits).and_then(|client| work(client, limits, several)) {
            Ok(done) if good(&done) => return Ok(done),
            Err(error) if error.is_no_access() => return Err(error),
            result => match best {
                Some(Ok(_)) => (),
                _ => best = Some(result),
            },
        }
    }
    best.unwrap_or_else(|| Err(ConnectError::Socket(std::io::ErrorKind::NotFound.into())))
}

/// Adds what is wrong with a host to a list.
fn note(causes: &mut String, host: &Host, cause: &dyn std::fmt::Display) {
    // Writing to a text does not fail.
    let _ = write!(causes, "; {host}: {cause}");
}

fn none(causes: &str) -> ConnectError {
    ConnectError::Hosts(causes.trim_start_matches("; ").to_owned())
}
