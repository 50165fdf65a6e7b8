//! The URL form of a DSN.

use std::num::NonZeroU8;

use ::redis::ConnectionAddr;

use super::{Account, Dsn, DsnError, PORT, parse_database};
use crate::address::{host_and_port, is_plain_path};
use crate::hosts::{self, Host};
use crate::percent;

/// The schemes of clusters.
pub(super) const CLUSTER: &str = "redis+cluster";
pub(super) const TLS_CLUSTER: &str = "rediss+cluster";

/// Parses what follows `scheme://`.
pub(super) fn parse(scheme: &str, rest: &str) -> Result<Dsn, DsnError> {
    if !["redis", "rediss", "redis+unix", "unix", CLUSTER, TLS_CLUSTER].contains(&scheme) {
        return Err(DsnError::Scheme);
    }
    if rest.ends_with("#insecure") {
        return Err(DsnError::Insecure);
    }
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut options = UrlOptions::parse(options)?;
    let mut cluster = None;
    let address = match scheme {
        "redis" | "rediss" => server(place, scheme == "rediss", &mut options)?,
        CLUSTER | TLS_CLUSTER => {
            let hosts = hosts::parse(authority(place, &mut options)?, PORT).map_err(DsnError::Hosts)?;
            let first = hosts.first().ok_or(DsnError::Host)?.clone();
            cluster = Some(hosts);
            tcp(first, scheme == TLS_CLUSTER)
        }
        _ => socket(place)?,
    };
    let database = parse_database(options.database.as_deref().unwrap_or_default())?;
    if cluster.is_some() && database != 0 {
        return Err(DsnError::ClusterDatabase);
    }
    let replicas = options.replicas()?;
    Ok(Dsn { cluster, replicas, ..Dsn::new(address, options.account()?, database)? })
}

/// Parses `[[user]:password@]host[:port][/db]`. Adds what it gives to the options, which must not give it again.
fn server(place: &str, tls: bool, options: &mut UrlOptions) -> Result<ConnectionAddr, DsnError> {
    let (name, port) = host_and_port(authority(place, options)?).ok_or(DsnError::Host)?;
    Ok(tcp(Host { name: name.to_owned(), port: port.unwrap_or(PORT) }, tls))
}

/// Returns what stands in the place of the host. Adds what is around it to the options.
fn authority<'a>(place: &'a str, options: &mut UrlOptions) -> Result<&'a str, DsnError> {
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let host = split_credentials(authority, options)?;
    set(&mut options.database, Some(database.trim_matches('/')).filter(|database| !database.is_empty()))?;
    Ok(host)
}

fn tcp(Host { name: host, port }: Host, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// Adds the user and the password before the last `@` to the options, and returns what follows it.
pub(super) fn split_credentials<'a>(
    authority: &'a str,
    options: &mut UrlOptions,
) -> Result<&'a str, DsnError> {
    // The last `@`, so that a password may have one that is not written as %40.
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    set(&mut options.user, Some(user).filter(|user| !user.is_empty()))?;
    set(&mut options.password, password.filter(|password| !(user.is_empty() && password.is_empty())))?;
    Ok(hosts)
}

/// Parses the path of a socket.
fn socket(place: &str) -> Result<ConnectionAddr, DsnError> {
    // Decoded, it may have any character; what is not encoded separates something.
    if !is_plain_path(&place.replace('%', "")) {
        return Err(DsnError::Url);
    }
    Ok(ConnectionAddr::Unix(decoded(place)?.into()))
}

/// What a URL gives beside the address, decoded.
#[derive(Default)]
pub(super) struct UrlOptions {
    pub(super) database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    replicas: Option<String>,
}

impl UrlOptions {
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        let mut options = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(DsnError::Option)?;
            let option = match name {
                "db" => &mut options.database,
                "user" => &mut options.user,
                "pass" => &mut options.password,
                "wait-replicas" => &mut options.replicas,
                _ => return Err(DsnError::Option),
            };
            set(option, Some(value))?;
        }
        Ok(options)
    }

    /// Returns how many replicas must have a write before it is acknowledged.
    pub(super) fn replicas(&self) -> Result<Option<NonZeroU8>, DsnError> {
        self.replicas.as_ref().map(|count| count.parse().map_err(|_| DsnError::Replicas)).transpose()
    }

    pub(super) fn account(self) -> Result<Account, DsnError> {
        if self.user.is_some() && self.password.is_none() {
            return Err(DsnError::NoPassword);
        }
        Ok(Account { user: self.user, password: self.password })
    }
}

/// Sets what is given, once.
pub(super) fn set(option: &mut Option<String>, value: Option<&str>) -> Result<(), DsnError> {
    let Some(value) = value else { return Ok(()) };
    if option.replace(decoded(value)?).is_some() { Err(DsnError::Option) } else { Ok(()) }
}

pub(super) fn decoded(text: &str) -> Result<String, DsnError> {
    percent::decoded(text).ok_or(DsnError::Url)
}
