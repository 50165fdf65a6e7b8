//! The URL form of a DSN.

use std::path::PathBuf;

use super::error::DsnError;
use super::host::{Host, PORT};
use super::table::TableName;
use super::target::Dsn;
use super::tls::{Tls, Verify};
use crate::{hosts, percent};

/// Parses what follows `mysql://`.
pub(super) fn parse(rest: &str) -> Result<Dsn, DsnError> {
    let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = address.split_once('/').ok_or(DsnError::Url)?;
    // The last `@`, so that a password may have one that is not written as %40.
    let (user, host) = authority.rsplit_once('@').ok_or(DsnError::Url)?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let options = UrlOptions::parse(options)?;
    let hosts = match &options.socket {
        Some(_) if !host.is_empty() => return Err(DsnError::Host),
        Some(path) if !path.starts_with('/') => return Err(DsnError::Host),
        Some(path) => vec![Host::Socket(PathBuf::from(path))],
        None if host.contains(',') => {
            let hosts = hosts::parse(&decoded(host)?, PORT)?;
            hosts.into_iter().map(|host| Host::Tcp(host.name, host.port)).collect()
        }
        None => vec![Host::parse(&decoded(host)?)?],
    };
    Dsn {
        hosts,
        user: decoded(user)?,
        password: decoded(password)?,
        database: decoded(database)?,
        table: TableName::parse(options.table.as_deref().unwrap_or("digests"))?,
        tls: options.tls()?,
    }
    .checked()
}

/// The options of a URL, decoded.
#[derive(Default)]
struct UrlOptions {
    table: Option<String>,
    socket: Option<String>,
    mode: Option<String>,
    authorities: Option<String>,
}

impl UrlOptions {
    fn parse(text: &str) -> Result<Self, DsnError> {
        let mut options = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(DsnError::Option)?;
            let option = match name {
                "table" => &mut options.table,
                "socket" => &mut options.socket,
                "ssl-mode" => &mut options.mode,
                "ssl-ca" => &mut options.authorities,
                _ => return Err(DsnError::Option),
            };
            if option.replace(decoded(value)?).is_some() {
                return Err(DsnError::Option);
            }
        }
        Ok(options)
    }

    fn tls(self) -> Result<Option<Tls>, DsnError> {
        let verify = match (self.mode.as_deref(), &self.authorities) {
            (None | Some("disabled"), None) => return Ok(None),
            (Some("required"), _) => Verify::Nothing,
            (Some("verify-ca"), _) => Verify::Authority,
            (Some("verify-identity"), _) | (None, Some(_)) => Verify::Identity,
            (Some(_), _) => return Err(DsnError::TlsMode),
        };
        Ok(Some(Tls { verify, authorities: self.authorities.map(PathBuf::from) }))
    }
}

fn decoded(text: &str) -> Result<String, DsnError> {
    percent::decoded(text).ok_or(DsnError::Url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostsError;

    fn dsn(rest: &str) -> Dsn {
        parse(rest).unwrap()
    }

    #[test]
    fn every_part_is_read_and_decoded() {
        let table = [
            ("user@/pyzor", "localhost", "", "digests"),
            ("user:pass@localhost/pyzor", "localhost", "pass", "digests"),
            ("user:a%2Cb%25%40@db.example/pyzor?table=public", "db.example:3306", "a,b%@", "public"),
            ("user:a@b:c@db.example:3307/pyzor", "db.example:3307", "a@b:c", "digests"),
            ("user:%C3%A4,,@[::1]:3307/pyzor?table=x.public", "[::1]:3307", "ä,,", "x.public"),
            ("user@/pyzor?socket=/run/my%20sql.sock&table=public", "/run/my sql.sock", "", "public"),
            ("user@%2Frun%2Fmy.sock/pyzor", "/run/my.sock", "", "digests"),
            ("user:a,b@h1:1,h2,[::1]:3/pyzor", "h1:1 h2:3306 [::1]:3", "a,b", "digests"),
            ("user@localhost,h2/pyzor", "localhost:3306 h2:3306", "", "digests"),
        ];
        for (rest, host, password, table) in table {
            let dsn = dsn(rest);
            let hosts: Vec<String> = dsn.hosts.iter().map(Host::to_string).collect();
            let read = (hosts.join(" "), dsn.password, dsn.table.to_string());
            assert_eq!(read, (host.to_owned(), password.to_owned(), table.to_owned()), "{rest}");
            assert_eq!((dsn.user.as_str(), dsn.database.as_str()), ("user", "pyzor"), "{rest}");
        }
    }

    #[test]
    fn tls_is_what_its_options_say() {
        let table = [
            ("", None),
            ("?ssl-mode=disabled", None),
            ("?ssl-mode=required", Some((Verify::Nothing, None))),
            ("?ssl-mode=verify-ca&ssl-ca=/ca.pem", Some((Verify::Authority, Some("/ca.pem")))),
            ("?ssl-mode=verify-identity", Some((Verify::Identity, None))),
            ("?ssl-ca=/ca.pem", Some((Verify::Identity, Some("/ca.pem")))),
        ];
        for (options, expected) in table {
            let expected =
                expected.map(|(verify, path)| Tls { verify, authorities: path.map(PathBuf::from) });
            assert_eq!(dsn(&format!("user@host/pyzor{options}")).tls, expected, "{options}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let table = [
            ("", DsnError::Url),
            ("user:pass@host", DsnError::Url),
            ("host/pyzor", DsnError::Url),
            ("user:pa%ss@host/pyzor", DsnError::Url),
            ("user:pa%2@host/pyzor", DsnError::Url),
            ("user:%+1@host/pyzor", DsnError::Url),
            ("user:%ff@host/pyzor", DsnError::Url),
            ("user@host/", DsnError::Database),
            ("user@host/pyzor/digests", DsnError::Database),
            ("@host/pyzor", DsnError::User),
            ("user@host:x/pyzor", DsnError::Host),
            ("user@host/pyzor?socket=/a", DsnError::Host),
            ("user@/pyzor?socket=a", DsnError::Host),
            ("user@host/pyzor?table=a%60b", DsnError::Table),
            ("user@host/pyzor?tabel=a", DsnError::Option),
            ("user@host/pyzor?table", DsnError::Option),
            ("user@host/pyzor?table=a&table=b", DsnError::Option),
            ("user@host/pyzor?ssl-mode=preferred", DsnError::TlsMode),
            ("user@host/pyzor?ssl-mode=disabled&ssl-ca=/a", DsnError::TlsMode),
            ("user@/pyzor?ssl-mode=required&socket=/a", DsnError::TlsOnSocket),
            ("user@a,/pyzor", DsnError::Hosts(HostsError::Missing(2))),
            ("user@a,a:3306/pyzor", DsnError::Hosts(HostsError::Doubled(1, 2))),
            ("user@a,%2Frun%2Fmy.sock/pyzor", DsnError::Hosts(HostsError::Malformed(2))),
        ];
        for (rest, error) in table {
            assert_eq!(parse(rest), Err(error), "{rest}");
        }
    }
}
