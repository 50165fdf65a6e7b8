//! The address of a redis database.

mod error;
mod sentinel;
mod url;

use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use super::promotion::Configured;
use super::target::Target;
use crate::address::{host_and_port, is_file, is_plain_path, parse_port};
use crate::hosts::Host;

pub use error::DsnError;

/// The port of redis.
const PORT: u16 = 6379;

/// The address of a redis database, with the user and the password. `Debug` and [`name`](Self::name) show no
/// password.
#[derive(Clone)]
pub struct Dsn {
    pub(super) target: Target,
    /// The nodes of a cluster, if it is one.
    pub(super) cluster: Option<Vec<Host>>,
    /// How many replicas must have a write before it is acknowledged.
    pub(super) replicas: Option<NonZeroU8>,
    /// One of the engines has found out that the server belongs to a cluster.
    found_cluster: Arc<AtomicBool>,
}

impl Dsn {
    /// Parses `host,port,password,db`. Each may be empty, or missing at the end: then it is `localhost`,
    /// 6379, none and 0. The host may be `host:port`, or the absolute path of a local socket.
    ///
    /// Parses also the URLs `redis://user:password@host:port/db`, `rediss://` for TLS, and
    /// `redis+unix:///path` or `unix://`, and for a cluster `redis+cluster://user:password@host:port,host:port/`,
    /// `rediss+cluster://` for TLS. Each takes the options `?db=N&user=NAME&pass=PASSWORD&wait-replicas=N`. A
    /// character that separates parts of a URL is written as `%` and two hex digits.
    ///
    /// Parses also `redis+sentinel://user:password@sentinel1:port,sentinel2:port/service/db`, whose options are also
    /// `sentinel-user`, `sentinel-pass`, `tls`, `sentinel-tls` and `tls-name`.
    ///
    /// # Errors
    /// If the text is neither of them.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let first = text.split(',').next().unwrap_or_default();
        match first.split_once("://") {
            Some(("redis+sentinel", _)) => sentinel::parse(text.split_once("://").unwrap_or_default().1),
            Some((scheme, _)) => url::parse(scheme, text.get(scheme.len() + 3..).unwrap_or_default()),
            None => fields(text),
        }
    }

    /// Returns how logs name the database, such as `redis localhost:6379/0`.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(hosts) = &self.cluster {
            let scheme = if self.is_tls() { url::TLS_CLUSTER } else { url::CLUSTER };
            let hosts: Vec<_> = hosts.iter().map(Host::to_string).collect();
            return format!("{scheme} {}", hosts.join(","));
        }
        self.target.name()
    }

    fn new(address: ConnectionAddr, account: Account, database: i64) -> Result<Self, DsnError> {
        let info = address.into_connection_info().map_err(|_| DsnError::Url)?;
        let info = info.set_redis_settings(account.settings(database));
        Ok(Self::of(Target::Server(Arc::new(Configured::new(info)))))
    }

    /// Returns a DSN without options of its own.
    fn of(target: Target) -> Self {
        Self { target, cluster: None, replicas: None, found_cluster: Arc::default() }
    }

    /// Returns the address and the account of the server; `None` of a service that sentinels watch.
    pub(super) fn info(&self) -> Option<&ConnectionInfo> {
        match &self.target {
            Target::Server(server) => Some(&server.info),
            Target::Service(_) => None,
        }
    }

    /// Returns the server's host; `None` if it has a local socket.
    pub(super) fn host(&self) -> Option<Host> {
        match self.info()?.addr() {
            ConnectionAddr::Tcp(name, port) | ConnectionAddr::TcpTls { host: name, port, .. } => {
                Some(Host { name: name.clone(), port: *port })
            }
            _ => None,
        }
    }

    /// Returns how a DSN names the cluster that a server belongs to, without a user and a password.
    pub(super) fn cluster_form(&self, host: &Host) -> String {
        let scheme = if self.is_tls() { url::TLS_CLUSTER } else { url::CLUSTER };
        format!("{scheme}://{host}/")
    }

    /// Notes for all engines of this DSN that there is a cluster. Returns whether this was not known.
    pub(super) fn found_cluster(&self) -> bool {
        !self.found_cluster.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_found_cluster(&self) -> bool {
        self.found_cluster.load(Ordering::Relaxed)
    }

    fn is_tls(&self) -> bool {
        matches!(self.info().map(ConnectionInfo::addr), Some(ConnectionAddr::TcpTls { .. }))
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({})", self.name())
    }
}

/// Who logs in.
#[derive(Default)]
struct Account {
    user: Option<String>,
    password: Option<String>,
}

impl Account {
    /// Returns how a connection begins.
    fn settings(self, database: i64) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(database);
        if let Some(user) = self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = self.password {
            settings = settings.set_password(password);
        }
        settings
    }
}

/// Parses `host,port,password,db`.
fn fields(text: &str) -> Result<Dsn, DsnError> {
    if is_file(text) {
        return Err(DsnError::File);
    }
    let mut fields = text.split(',');
    let mut next = || fields.next().unwrap_or_default();
    let (host, port, password, db) = (next().trim(), next().trim(), next(), next().trim());
    if fields.next().is_some() {
        return Err(DsnError::Fields);
    }
    let port = Some(port).filter(|port| !port.is_empty());
    let port = port.map(|port| parse_port(port).ok_or(DsnError::Port)).transpose()?;
    let password = Some(password).filter(|password| !password.is_empty());
    let account = Account { user: None, password: password.map(str::to_owned) };
    Dsn::new(address(host, port)?, account, parse_database(db)?)
}

fn address(host: &str, port: Option<u16>) -> Result<ConnectionAddr, DsnError> {
    if is_plain_path(host) {
        return Ok(ConnectionAddr::Unix(host.into()));
    }
    let host = if host.is_empty() { "localhost" } else { host };
    match (host_and_port(host).ok_or(DsnError::Host)?, port) {
        ((_, Some(_)), Some(_)) => Err(DsnError::Port),
        ((host, own), port) => Ok(ConnectionAddr::Tcp(host.to_owned(), own.or(port).unwrap_or(PORT))),
    }
}

/// Parses the number of a database; an empty text is 0.
fn parse_database(text: &str) -> Result<i64, DsnError> {
    let number = if text.is_empty() { Ok(0) } else { text.parse::<i32>() };
    number.ok().filter(|number| *number >= 0).map(i64::from).ok_or(DsnError::Database)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hosts::HostsError;

    /// Returns how the servers are logged in to.
    fn settings(dsn: &Dsn) -> &RedisConnectionInfo {
        match &dsn.target {
            Target::Server(server) => server.info.redis_settings(),
            Target::Service(sentinels) => &sentinels.servers().settings,
        }
    }

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
            ("10.0.0.1:6380", "redis 10.0.0.1:6380/0", None),
            ("h:7,,secret,2", "redis h:7/2", Some("secret")),
            ("[::1]:7", "redis ::1:7/0", None),
            ("/run/redis.sock,6379,a://b,2", "redis /run/redis.sock, database 2", Some("a://b")),
            ("redis://db.example.com", "redis db.example.com:6379/0", None),
            ("redis://:p%2Cw%40@h:1/2", "redis h:1/2", Some("p,w@")),
            ("redis://:a,b,c,d,e@h", "redis h:6379/0", Some("a,b,c,d,e")),
            ("redis://[::1]:7/", "redis ::1:7/0", None),
            ("rediss://user:pw@h:6380/1", "rediss h:6380/1", Some("pw")),
            ("redis+unix:///run/r.sock?db=5&pass=pw", "redis /run/r.sock, database 5", Some("pw")),
            ("unix:///run/r.sock", "redis /run/r.sock, database 0", None),
            ("unix:///run/r%20s.sock?pass=a%26b", "redis /run/r s.sock, database 0", Some("a&b")),
            ("redis://h:1?db=3&pass=pw", "redis h:1/3", Some("pw")),
            ("redis://h/?user=u&pass=p%40w", "redis h:6379/0", Some("p@w")),
            ("redis://u:@h/0/", "redis h:6379/0", Some("")),
            ("redis://:@h", "redis h:6379/0", None),
            ("redis://:a@b:c@h", "redis h:6379/0", Some("a@b:c")),
            ("redis+cluster://h", "redis+cluster h:6379", None),
            ("redis+cluster://u:a%2Cb@h:1,[::1]:2/0", "redis+cluster h:1,[::1]:2", Some("a,b")),
            ("redis+cluster://:a,b@h:1,i/?wait-replicas=2", "redis+cluster h:1,i:6379", Some("a,b")),
            ("rediss+cluster://h:1,i:2?user=u&pass=pw", "rediss+cluster h:1,i:2", Some("pw")),
        ];
        for (text, name, password) in table {
            let dsn = Dsn::parse(text).map_err(|error| format!("{text}: {error}")).unwrap();
            assert_eq!((dsn.name().as_str(), settings(&dsn).password()), (name, password), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_no_password_shown() {
        use DsnError::{Database, Fields, File, Host, Insecure, NoPassword, Option, Port, Scheme, Url};
        let table = [
            ("h,1,secret,0,", Fields),
            ("pyzord.db", File),
            ("/var/lib/pyzor/secret.db", File),
            ("h,0,secret,0", Port),
            ("h,secret,6379,0", Port),
            ("h,65536,secret,0", Port),
            ("h:1,2,secret,0", Port),
            ("h,1,secret,x", Database),
            ("h,1,secret,-1", Database),
            ("h,1,0,secret", Database),
            ("h,1,secret,2147483648", Database),
            ("h;1;secret;0", Host),
            ("h:1:secret:0", Host),
            ("h 1 secret 0", Host),
            ("h\t1\tsecret\t0", Host),
            ("h%2C1%2Csecret%2C0", Host),
            ("h:1/0?db=secret", Host),
            (":secret@h:1/0", Host),
            ("user:secret@h", Host),
            ("secret@h/0", Host),
            ("redis:secret@h", Host),
            ("/run/r.sock;0;secret;0", Host),
            ("/run/r.sock:0:secret:0", Host),
            ("/run/r.sock?pass=secret", Host),
            ("run/secret.sock", Host),
            ("http://:secret@h", Scheme),
            ("redis+tls://:secret@h", Scheme),
            ("redis://", Host),
            ("redis://:secret@", Host),
            ("redis://h:1:secret:0", Host),
            ("redis://h;1;secret", Host),
            ("redis://:sec/ret@h", Host),
            ("redis://secret@h", NoPassword),
            ("redis://:secret@h/x", Database),
            ("redis://:secret@h/-1", Database),
            ("redis://h?db=secret", Database),
            ("redis://:secret@h:0/1", Host),
            ("redis://:secret@h:99999/1", Host),
            ("redis://:secret%@h", Url),
            ("redis://:secret%ff@h", Url),
            ("redis://h/0?password=secret", Option),
            ("redis://h/0?secret", Option),
            ("redis://h/1?db=1", Option),
            ("redis://:secret@h?pass=secret", Option),
            ("rediss://:secret@h/#insecure", Insecure),
            ("redis+unix:///p?db=secret", Database),
            ("unix:///run/r.sock;secret", Url),
            ("unix://:secret@/run/r.sock", Url),
            ("unix://run/secret", Url),
        ];
        for (text, cause) in table {
            let error = Dsn::parse(text).map(|dsn| dsn.name()).expect_err(text);
            assert_eq!(error, cause, "{text}");
            assert!(!format!("{error}{error:?}").contains("secret"), "{error}");
        }
        assert_eq!(format!("{:?}", Dsn::parse("h,,secret").unwrap()), "Dsn(redis h:6379/0)");
    }

    #[test]
    fn a_cluster_that_cannot_be_is_refused_and_no_password_shown() {
        use DsnError::{ClusterDatabase, Hosts, Option, Replicas};
        for (text, cause) in [
            ("redis+cluster://:secret@h/1", ClusterDatabase),
            ("redis+cluster://h/?db=1&pass=secret", ClusterDatabase),
            ("redis+cluster://:secret@", Hosts(HostsError::Empty)),
            ("redis+cluster://h,1,secret,0", Hosts(HostsError::Malformed(2))),
            ("redis+cluster://:secret@h,i,h", Hosts(HostsError::Doubled(1, 3))),
            ("redis+cluster://h,,secret,0", Hosts(HostsError::Missing(2))),
            ("redis+cluster://h:1:secret", Hosts(HostsError::Malformed(1))),
            ("redis://:secret@h?wait-replicas=0", Replicas),
            ("redis://:secret@h?wait-replicas=256", Replicas),
            ("redis://h?wait-replicas=secret", Replicas),
            ("redis://:secret@h?wait-replicas=1&wait-replicas=1", Option),
        ] {
            let error = Dsn::parse(text).map(|dsn| dsn.name()).expect_err(text);
            assert_eq!(error, cause, "{text}");
            assert!(!format!("{error}{error:?}").contains("secret"), "{error}");
        }
    }

    /// They were parsed as URLs whose host or socket has the password in its name, which logs show.
    #[test]
    fn the_two_forms_mixed_are_refused_since_the_name_would_show_the_password() {
        for (text, cause) in [
            ("redis://h,6379,secret,0", DsnError::Host),
            ("rediss://h,6379,secret,", DsnError::Host),
            ("unix:///run/r.sock,,secret,0", DsnError::Url),
        ] {
            assert_eq!(Dsn::parse(text).unwrap_err(), cause, "{text}");
        }
        assert!(Dsn::parse("redis://:a,b@h/0").is_ok(), "a password may have one");
    }

    /// `host;port;password;db` was taken for the name of a host, which logs show.
    #[test]
    fn no_separator_but_a_comma_makes_a_name_with_a_password() {
        let separators =
            (0..128).map(char::from).filter(|byte| !(byte.is_alphanumeric() || "-._,".contains(*byte)));
        for separator in separators.chain(['\u{a0}', '\u{3000}', '\u{ff0c}', '\u{b7}']) {
            for parts in
                [&["127.0.0.1", "1", "s3cret", "0"][..], &["127.0.0.1", "s3cret"], &["u", "s3cret", "h"]]
            {
                for start in
                    ["", "redis://", "rediss://", "redis+cluster://", "unix://", "unix:///", "/run/r.sock"]
                {
                    let text = format!("{start}{}", parts.join(&separator.to_string()));
                    if let Ok(dsn) = Dsn::parse(&text) {
                        let is_path = separator == '/' && start.ends_with(['/', 'k']) && start != "redis://";
                        assert!(!dsn.name().contains("s3cret") || is_path, "{text:?}: {}", dsn.name());
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(
            any in any::<String>(),
            near in "(redis|rediss|unix|rediss?[+](unix|cluster|sentinel))(://)?[a-z0-9:/@,?=&#%\\[\\].-]{0,30}",
        ) {
            for text in [any, near] {
                if let Ok(dsn) = Dsn::parse(&text) {
                    prop_assert!(!dsn.name().is_empty());
                }
            }
        }
    }
}
