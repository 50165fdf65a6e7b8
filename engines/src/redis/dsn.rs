//! The address of a redis database.

use std::fmt;

use ::redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisResult,
};

/// The port of redis.
const PORT: u16 = 6379;
/// The schemes of URLs.
const SCHEMES: [&str; 4] = ["redis", "rediss", "redis+unix", "unix"];

/// The address of a redis database, with the user and the password. `Debug` and [`name`](Self::name) show no
/// password.
#[derive(Clone)]
pub struct Dsn {
    pub(super) info: ConnectionInfo,
}

impl Dsn {
    /// Parses `host,port,password,db`. Each may be empty, or missing at the end: then it is `localhost`,
    /// 6379, none and 0. A host with a `/` is the path of a local socket.
    ///
    /// Parses also the URLs `redis://user:password@host:port/db`, `rediss://` for TLS, and
    /// `redis+unix:///path?db=N&user=NAME&pass=PASSWORD` or `unix://`.
    ///
    /// # Errors
    /// If the text is neither of them.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let first = text.split(',').next().unwrap_or_default();
        match first.split_once("://") {
            Some((scheme, _)) => url(scheme, text),
            None => fields(text),
        }
    }

    /// Returns how logs name the database, such as `redis localhost:6379/0`.
    #[must_use]
    pub fn name(&self) -> String {
        let db = self.info.redis_settings().db();
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("redis {host}:{port}/{db}"),
            ConnectionAddr::TcpTls { host, port, .. } => format!("rediss {host}:{port}/{db}"),
            other => format!("redis {other}, database {db}"),
        }
    }

    fn new(address: ConnectionAddr, settings: RedisConnectionInfo) -> RedisResult<Self> {
        // Every server speaks RESP2. Setting the library's name would cost a round trip for each connection.
        let settings = settings.set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let info = address.into_connection_info()?;
        // With Nagle's algorithm the last commands of a batch wait until the server has acknowledged the
        // others.
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(Self { info: info.set_tcp_settings(tcp).set_redis_settings(settings) })
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({})", self.name())
    }
}

/// Why a text is not a [`Dsn`]. Its message is one line and never holds the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsnError {
    /// It has more than four fields.
    #[error(
        "it has more fields than host,port,password,db \
         (a password with a comma can be given as redis://:password@host:port/db)"
    )]
    Fields,
    /// The second field is not a port.
    #[error("its second field is not a port from 1 to 65535")]
    Port,
    /// The database is not a number.
    #[error("its database is not a number from 0 to 2147483647")]
    Database,
    /// It is a URL of another kind.
    #[error("its URL is not one of redis:, rediss:, redis+unix: and unix:")]
    Scheme,
    /// It is a URL that cannot be parsed.
    #[error(
        "its URL is not of the form redis://user:password@host:port/db or \
         redis+unix:///path?db=N&pass=PASSWORD"
    )]
    Url,
    /// It is a URL that asks not to check the server's certificate.
    #[error("a certificate that is not checked (#insecure) is not supported")]
    Insecure,
}

/// Parses `host,port,password,db`.
fn fields(text: &str) -> Result<Dsn, DsnError> {
    let mut fields = text.split(',');
    let mut next = || fields.next().unwrap_or_default();
    let (host, port, password, db) = (next(), next().trim(), next(), next().trim());
    if fields.next().is_some() {
        return Err(DsnError::Fields);
    }
    let port = if port.is_empty() { Ok(PORT) } else { port.parse() };
    let port = port.ok().filter(|port| *port != 0).ok_or(DsnError::Port)?;
    let db = if db.is_empty() { Ok(0) } else { db.parse() }.map_err(|_| DsnError::Database)?;
    let mut settings = RedisConnectionInfo::default().set_db(database(db)?);
    if !password.is_empty() {
        settings = settings.set_password(password);
    }
    Dsn::new(address(host.trim(), port), settings).map_err(|_| DsnError::Url)
}

fn address(host: &str, port: u16) -> ConnectionAddr {
    if host.contains('/') {
        return ConnectionAddr::Unix(host.into());
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ConnectionAddr::Tcp(if bare.is_empty() { "localhost" } else { bare }.into(), port)
}

/// Parses a URL.
fn url(scheme: &str, text: &str) -> Result<Dsn, DsnError> {
    if !SCHEMES.contains(&scheme) {
        return Err(DsnError::Scheme);
    }
    let info = text.into_connection_info().map_err(|_| DsnError::Url)?;
    // No host has a comma: this is `host,port,password,db` after a scheme, and the name would show the
    // password.
    if info.addr().to_string().contains(',') {
        return Err(DsnError::Url);
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(DsnError::Insecure);
    }
    if matches!(info.addr(), ConnectionAddr::Tcp(_, 0) | ConnectionAddr::TcpTls { port: 0, .. }) {
        return Err(DsnError::Port);
    }
    let settings = info.redis_settings().clone();
    database(settings.db())?;
    Dsn::new(info.addr().clone(), settings).map_err(|_| DsnError::Url)
}

/// Checks the number of a database.
fn database(number: i64) -> Result<i64, DsnError> {
    i32::try_from(number).ok().filter(|number| *number >= 0).map(i64::from).ok_or(DsnError::Database)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let table = [
            ("", "redis localhost:6379/0", None),
            (",,,", "redis localhost:6379/0", None),
            ("db.example.com", "redis db.example.com:6379/0", None),
            ("10.0.0.1,6380", "redis 10.0.0.1:6380/0", None),
            ("localhost,,secret", "redis localhost:6379/0", Some("secret")),
            ("localhost,6379,,3", "redis localhost:6379/3", None),
            ("localhost,6379, s p ,3", "redis localhost:6379/3", Some(" s p ")),
            ("::1,6379,,", "redis ::1:6379/0", None),
            ("[::1],6379,,", "redis ::1:6379/0", None),
            ("/run/redis.sock,6379,a://b,2", "redis /run/redis.sock, database 2", Some("a://b")),
            ("redis://db.example.com", "redis db.example.com:6379/0", None),
            ("redis://:p%2Cw%40@h:1/2", "redis h:1/2", Some("p,w@")),
            ("redis://:a,b,c,d,e@h", "redis h:6379/0", Some("a,b,c,d,e")),
            ("redis://[::1]:7/", "redis ::1:7/0", None),
            ("rediss://user:pw@h:6380/1", "rediss h:6380/1", Some("pw")),
            ("redis+unix:///run/r.sock?db=5&pass=pw", "redis /run/r.sock, database 5", Some("pw")),
            ("unix:///run/r.sock", "redis /run/r.sock, database 0", None),
        ];
        for (text, name, password) in table {
            let dsn = Dsn::parse(text).map_err(|error| format!("{text}: {error}")).unwrap();
            assert_eq!(
                (dsn.name().as_str(), dsn.info.redis_settings().password()),
                (name, password),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_and_no_password_shown() {
        use DsnError::{Database, Fields, Insecure, Port, Scheme, Url};
        let table = [
            ("h,1,secret,0,", Fields),
            ("h,0,secret,0", Port),
            ("h,secret,6379,0", Port),
            ("h,65536,secret,0", Port),
            ("h,1,secret,x", Database),
            ("h,1,secret,-1", Database),
            ("h,1,0,secret", Database),
            ("h,1,secret,2147483648", Database),
            ("http://:secret@h", Scheme),
            ("redis://", Url),
            ("redis://:secret@h/x", Url),
            ("redis://:secret@h/-1", Database),
            ("redis://:secret@h:0/1", Port),
            ("redis://:secret@h:99999/1", Url),
            ("rediss://:secret@h/#insecure", Insecure),
            ("redis+unix:///p?db=x&pass=secret", Url),
        ];
        for (text, cause) in table {
            let error = Dsn::parse(text).unwrap_err();
            assert_eq!(error, cause, "{text}");
            assert!(!format!("{error}{error:?}").contains("secret"), "{error}");
        }
        assert_eq!(format!("{:?}", Dsn::parse("h,,secret").unwrap()), "Dsn(redis h:6379/0)");
    }

    /// They were parsed as URLs whose host or socket has the password in its name, which logs show.
    #[test]
    fn the_two_forms_mixed_are_refused_since_the_name_would_show_the_password() {
        for text in ["redis://h,6379,secret,0", "rediss://h,6379,secret,", "unix:///run/r.sock,,secret,0"] {
            assert_eq!(Dsn::parse(text).unwrap_err(), DsnError::Url, "{text}");
        }
        assert!(Dsn::parse("redis://:a,b@h/0").is_ok(), "a password may have one");
    }

    proptest! {
        #[test]
        fn no_text_panics(any in any::<String>(), near in "(redis|rediss|redis+unix|unix)(://)?[a-z0-9:/@,?=&#%\\[\\].-]{0,30}") {
            for text in [any, near] {
                if let Ok(dsn) = Dsn::parse(&text) {
                    prop_assert!(!dsn.name().is_empty());
                }
            }
        }
    }
}
