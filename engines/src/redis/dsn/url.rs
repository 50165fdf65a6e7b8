//! The URL form of a DSN.

use ::redis::ConnectionAddr;

use super::{Account, Dsn, DsnError, PORT, parse_database};
use crate::address::{host_and_port, is_plain_path};
use crate::percent;

/// Parses what follows `scheme://`.
pub(super) fn parse(scheme: &str, rest: &str) -> Result<Dsn, DsnError> {
    if !["redis", "rediss", "redis+unix", "unix"].contains(&scheme) {
        return Err(DsnError::Scheme);
    }
    if rest.ends_with("#insecure") {
        return Err(DsnError::Insecure);
    }
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut options = UrlOptions::parse(options)?;
    let address = match scheme {
        "redis" | "rediss" => server(scheme, place, &mut options)?,
        _ => socket(place)?,
    };
    let database = parse_database(options.database.as_deref().unwrap_or_default())?;
    Dsn::new(address, options.account()?, database)
}

/// Parses `[[user]:password@]host[:port][/db]`. Adds what it gives to the options, which must not give it again.
fn server(scheme: &str, place: &str, options: &mut UrlOptions) -> Result<ConnectionAddr, DsnError> {
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    // The last `@`, so that a password may have one that is not written as %40.
    let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    set(&mut options.database, Some(database.trim_matches('/')).filter(|database| !database.is_empty()))?;
    set(&mut options.user, Some(user).filter(|user| !user.is_empty()))?;
    set(&mut options.password, password.filter(|password| !(user.is_empty() && password.is_empty())))?;
    let (host, port) = host_and_port(host).ok_or(DsnError::Host)?;
    let (host, port) = (host.to_owned(), port.unwrap_or(PORT));
    Ok(if scheme == "rediss" {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    })
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
struct UrlOptions {
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

impl UrlOptions {
    fn parse(text: &str) -> Result<Self, DsnError> {
        let mut options = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(DsnError::Option)?;
            let option = match name {
                "db" => &mut options.database,
                "user" => &mut options.user,
                "pass" => &mut options.password,
                _ => return Err(DsnError::Option),
            };
            set(option, Some(value))?;
        }
        Ok(options)
    }

    fn account(self) -> Result<Account, DsnError> {
        if self.user.is_some() && self.password.is_none() {
            return Err(DsnError::NoPassword);
        }
        Ok(Account { user: self.user, password: self.password })
    }
}

/// Sets what is given, once.
fn set(option: &mut Option<String>, value: Option<&str>) -> Result<(), DsnError> {
    let Some(value) = value else { return Ok(()) };
    if option.replace(decoded(value)?).is_some() { Err(DsnError::Option) } else { Ok(()) }
}

fn decoded(text: &str) -> Result<String, DsnError> {
    percent::decoded(text).ok_or(DsnError::Url)
}
