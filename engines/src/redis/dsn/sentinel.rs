//! The URL of a service that sentinels watch.

use std::sync::Arc;

use super::super::role::is_service;
use super::super::sentinel::{Login, Sentinels};
use super::super::target::Target;
use super::url::{UrlOptions, decoded, set, split_credentials};
use super::{Account, Dsn, DsnError, parse_database};
use crate::hosts;

/// The port of sentinels.
const PORT: u16 = 26379;

/// Parses what follows `redis+sentinel://`: `[[user]:password@]host[:port],.../service[/db][?options]`.
pub(super) fn parse(rest: &str) -> Result<Dsn, DsnError> {
    service(rest).map_err(|error| if error == DsnError::Option { DsnError::SentinelOption } else { error })
}

fn service(rest: &str) -> Result<Dsn, DsnError> {
    if rest.ends_with("#insecure") {
        return Err(DsnError::Insecure);
    }
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (own, others) = OwnOptions::parse(options)?;
    let mut options = UrlOptions::parse(&others)?;
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let hosts = split_credentials(authority, &mut options)?;
    let (service, database) = path.trim_end_matches('/').split_once('/').unwrap_or((path, ""));
    set(&mut options.database, Some(database).filter(|database| !database.is_empty()))?;
    let sentinels = hosts::parse(hosts, PORT).map_err(DsnError::Sentinels)?;
    let service = decoded(service.trim_end_matches('/'))?;
    match service.as_str() {
        "" => return Err(DsnError::NoService),
        name if !is_service(name) => return Err(DsnError::Service),
        _ => (),
    }
    let replicas = options.replicas()?;
    let database = parse_database(options.database.as_deref().unwrap_or_default())?;
    let servers =
        Login { settings: options.account()?.settings(database), tls: own.tls, tls_name: own.tls_name };
    if own.account.user.is_some() && own.account.password.is_none() {
        return Err(DsnError::NoPassword);
    }
    let login = Login { settings: own.account.settings(0), tls: own.sentinel_tls, tls_name: None };
    Ok(Dsn {
        replicas,
        ..Dsn::of(Target::Service(Arc::new(Sentinels::new(sentinels, &login, service, servers))))
    })
}

/// The options that only such a URL has.
#[derive(Default)]
struct OwnOptions {
    /// The sentinels' user and password.
    account: Account,
    tls: bool,
    sentinel_tls: bool,
    tls_name: Option<String>,
}

impl OwnOptions {
    /// Returns them, and the text of the others.
    fn parse(text: &str) -> Result<(Self, String), DsnError> {
        let mut account = Account::default();
        let (mut tls, mut sentinel_tls, mut tls_name) = (None, None, None);
        let mut others = Vec::new();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let option = match name {
                "sentinel-user" => &mut account.user,
                "sentinel-pass" => &mut account.password,
                "tls" => &mut tls,
                "sentinel-tls" => &mut sentinel_tls,
                "tls-name" => &mut tls_name,
                _ => {
                    others.push(pair);
                    continue;
                }
            };
            set(option, Some(value)).map_err(|_| DsnError::SentinelOption)?;
        }
        if tls_name.as_deref().is_some_and(|name| !is_certified(name)) {
            return Err(DsnError::SentinelOption);
        }
        let (tls, sentinel_tls) = (is_on(tls.as_deref())?, is_on(sentinel_tls.as_deref())?);
        Ok((Self { account, tls, sentinel_tls, tls_name }, others.join("&")))
    }
}

fn is_on(value: Option<&str>) -> Result<bool, DsnError> {
    match value {
        Some("yes") => Ok(true),
        None | Some("no") => Ok(false),
        Some(_) => Err(DsnError::SentinelOption),
    }
}

/// Returns whether a certificate can have this name.
fn is_certified(name: &str) -> bool {
    rustls::pki_types::ServerName::try_from(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the name, the servers' user, password, TLS and its name, and the sentinels' user, password and TLS.
    fn parts(text: &str) -> [String; 4] {
        let dsn = parse(text).map_err(|error| format!("{text}: {error}")).unwrap();
        let Target::Service(sentinels) = &dsn.target else { panic!("{text}") };
        let told = |login: &Login| {
            let user = login.settings.username().unwrap_or("-");
            let name = login.tls_name.as_deref().unwrap_or("-");
            format!("{user}:{} {} {name}", login.settings.password().unwrap_or("-"), login.tls)
        };
        let [first, .., last] = &sentinels.logins()[..] else { panic!("{text}") };
        [dsn.name(), told(sentinels.servers()), told(first), told(last)]
    }

    #[test]
    fn a_service_has_sentinels_and_a_database() {
        let none = "-:- false -";
        let table = [
            ("s1,s2:7/pz", "redis+sentinel s1:26379,s2:7/pz/0", none, none),
            ("s1,s2/pz/", "redis+sentinel s1:26379,s2:26379/pz/0", none, none),
            ("s1,[::1]:7/my.ser-vice_1/3", "redis+sentinel s1:26379,[::1]:7/my.ser-vice_1/3", none, none),
            ("s1,s2/pz/3/", "redis+sentinel s1:26379,s2:26379/pz/3", none, none),
            ("s1,s2/pz?db=3", "redis+sentinel s1:26379,s2:26379/pz/3", none, none),
            ("u:p%2Fw@s1,s2/pz/0", "redis+sentinel s1:26379,s2:26379/pz/0", "u:p/w false -", none),
            (":a,b@c@s1,s2/pz", "redis+sentinel s1:26379,s2:26379/pz/0", "-:a,b@c false -", none),
            ("s1,s2/pz?user=u&pass=p", "redis+sentinel s1:26379,s2:26379/pz/0", "u:p false -", none),
            (
                "u:p@s1,s2/pz?sentinel-user=su&sentinel-pass=s%26p&tls=yes",
                "redis+sentinel s1:26379,s2:26379/pz/0",
                "u:p true -",
                "su:s&p false -",
            ),
            (
                "s1,s2/pz/2?tls=yes&sentinel-tls=yes&tls-name=redis.example.com&sentinel-pass=sp",
                "redis+sentinel s1:26379,s2:26379/pz/2",
                "-:- true redis.example.com",
                "-:sp true -",
            ),
            ("s1,s2/pz?tls=no&sentinel-tls=no&", "redis+sentinel s1:26379,s2:26379/pz/0", none, none),
        ];
        for (text, name, servers, sentinels) in table {
            assert_eq!(parts(text), [name, servers, sentinels, sentinels], "{text}");
        }
    }

    #[test]
    fn another_url_is_refused_and_no_password_shown() {
        use crate::HostsError::{Empty, Malformed, Missing};
        let table = [
            ("", DsnError::Sentinels(Empty)),
            ("/pz", DsnError::Sentinels(Empty)),
            (":secret@/pz", DsnError::Sentinels(Empty)),
            ("s1,/pz", DsnError::Sentinels(Missing(2))),
            ("s1,secret@s2:x/pz", DsnError::Sentinels(Malformed(1))),
            ("s1:1:secret/pz", DsnError::Sentinels(Malformed(1))),
            (":sec/ret@s1/pz", DsnError::Sentinels(Malformed(1))),
            ("s1", DsnError::NoService),
            ("s1,s2/", DsnError::NoService),
            ("s1,s2//0", DsnError::NoService),
            ("s1/secret,x", DsnError::Service),
            ("s1/a%2Fsecret", DsnError::Service),
            ("s1/a%0asecret", DsnError::Service),
            ("s1/0/secret", DsnError::Database),
            ("s1/pz/0/secret", DsnError::Database),
            ("s1/pz/0?db=0", DsnError::SentinelOption),
            ("s1/pz?tls=secret", DsnError::SentinelOption),
            ("s1/pz?tls", DsnError::SentinelOption),
            ("s1/pz?secret=1", DsnError::SentinelOption),
            ("s1/pz?sentinel_pass=secret", DsnError::SentinelOption),
            ("s1/pz?sentinel-pass=secret&sentinel-pass=secret", DsnError::SentinelOption),
            (":secret@s1/pz?pass=secret", DsnError::SentinelOption),
            ("s1/pz?tls-name=secret secret", DsnError::SentinelOption),
            ("user@s1/pz", DsnError::NoPassword),
            ("s1/pz?sentinel-user=secret", DsnError::NoPassword),
            (":secret%@s1/pz", DsnError::Url),
            ("s1/pz?tls=yes#insecure", DsnError::Insecure),
        ];
        for (text, cause) in table {
            let error = Dsn::parse(&format!("redis+sentinel://{text}")).expect_err(text);
            assert_eq!(error, cause, "{text}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
        let dsn = Dsn::parse("redis+sentinel://u:secret@s/pz?sentinel-pass=secret").unwrap();
        assert_eq!(format!("{dsn:?}"), "Dsn(redis+sentinel s:26379/pz/0)");
    }
}
