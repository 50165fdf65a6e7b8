//! Why a text is not a DSN.

use crate::hosts::HostsError;

/// Why a text is not a [`Dsn`](super::Dsn). Its message is one line that repeats nothing of the text, as any
/// part of it may be a misplaced password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsnError {
    /// It has so many parts between commas, not five.
    #[error(
        "it has {0} parts, not the 5 of `host,user,password,database,table` (a password with a comma is given as \
         mysql://user:password@host/database, the comma as %2C)"
    )]
    Parts(usize),
    /// It is the name of a file.
    #[error("it names a file, as for the engine gdbm (the default): give host,user,password,database,table")]
    File,
    /// It is a URL of another kind.
    #[error("its URL is not of the kind mysql:")]
    Scheme,
    /// It is a URL without `@`, without `/` after it, or with a `%` that two hex digits do not follow.
    #[error("it is not of the form mysql://user:password@host:port/database?table=digests")]
    Url,
    /// The host is not a name, address or path, or the port is not from 1 to 65535.
    #[error("the host is no name, address or path of a socket, or the port is not from 1 to 65535")]
    Host,
    /// It has several hosts, and one of them is none, or is there twice.
    #[error("{0}")]
    Hosts(#[from] HostsError),
    /// The user is missing, or its name has a separator: the password may follow it, and the server repeats the name.
    #[error("the user is missing, or has a blank, a colon or a semicolon")]
    User,
    /// The database is missing, or its name has characters that names do not have.
    #[error("the database is missing, or has other characters than letters, digits, `_`, `$` and `-`")]
    Database,
    /// The table is missing, or its name has characters that names do not have.
    #[error("the table is missing, or has other characters than letters, digits, `_`, `$` and `-`")]
    Table,
    /// An option does not exist or is given twice.
    #[error("the options of a mysql:// URL are table, socket, ssl-mode and ssl-ca, each once")]
    Option,
    /// `ssl-mode` has none of its values.
    #[error("ssl-mode is none of disabled, required, verify-ca and verify-identity")]
    TlsMode,
    /// TLS was asked for through a unix socket.
    #[error("ssl-mode and ssl-ca need a host, not a unix socket")]
    TlsOnSocket,
}
