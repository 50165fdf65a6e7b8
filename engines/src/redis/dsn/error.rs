//! Why a text is not a DSN.

use crate::hosts::HostsError;

/// Why a text is not a [`Dsn`](super::Dsn). Its message is one line that repeats nothing of the text, as any part of it
/// may be a misplaced password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsnError {
    /// It has more than four fields.
    #[error(
        "it has more fields than host,port,password,db \
         (a password with a comma can be given as redis://:password@host:port/db)"
    )]
    Fields,
    /// It is the name of a file.
    #[error("it names a file, as for the engine gdbm (the default): give host,port,password,db")]
    File,
    /// The host is not one, or other characters than commas separate the fields.
    #[error(
        "it does not begin with a host, host:port, or the path of a socket, as host,port,password,db and \
         redis://user:password@host:port/db do"
    )]
    Host,
    /// The second field is not a port, or the first one has a port, too.
    #[error("its second field is not a port from 1 to 65535, or its first field has a port, too")]
    Port,
    /// The database is not a number.
    #[error("its database is not a number from 0 to 2147483647")]
    Database,
    /// It is a URL of another kind.
    #[error(
        "its URL is not one of redis:, rediss:, redis+sentinel:, redis+cluster:, rediss+cluster:, redis+unix: and unix:"
    )]
    Scheme,
    /// It is a URL that cannot be parsed.
    #[error(
        "its URL is not of the form redis://user:password@host:port/db or \
         redis+unix:///path?db=N&pass=PASSWORD, with % and two hex digits for other characters"
    )]
    Url,
    /// An option of the URL is not known, or gives again what the URL has already.
    #[error(
        "the options of its URL are db, user, pass and wait-replicas, each only for what the URL does not give elsewhere"
    )]
    Option,
    /// It is a URL with a user and without a password.
    #[error(
        "its URL has a user without a password (a password alone has a colon before it: redis://:password@host)"
    )]
    NoPassword,
    /// The nodes of a cluster are not a list of hosts.
    #[error("{0} (a cluster is redis+cluster://user:password@host:port,host:port/)")]
    Hosts(HostsError),
    /// A cluster is to have another database than 0.
    #[error("a cluster has database 0 alone")]
    ClusterDatabase,
    /// The number of replicas is none.
    #[error("its wait-replicas is not a number from 1 to 255")]
    Replicas,
    /// It is a URL that asks not to check the server's certificate.
    #[error("a certificate that is not checked (#insecure) is not supported")]
    Insecure,
    /// Its sentinels are not a list of hosts.
    #[error("its list of sentinels (host:port,host:port) is not understood: {0}")]
    Sentinels(HostsError),
    /// It names no service.
    #[error(
        "it names no service, as sentinels call what they monitor: redis+sentinel://user:password@host:26379,host/service/db"
    )]
    NoService,
    /// The service has characters that no name of one has.
    #[error("the name of its service has other characters than letters, digits, `.`, `-` and `_`")]
    Service,
    /// An option of the URL is not known, or has another value than it can have.
    #[error(
        "the options of a redis+sentinel: URL are db, user and pass (each only for what the URL does not give elsewhere), \
         sentinel-user, sentinel-pass, tls=yes, sentinel-tls=yes and tls-name=NAME"
    )]
    SentinelOption,
}
