//! The parsed DSN.

use std::fmt;

use super::error::DsnError;
use super::host::Host;
use super::table::{TableName, is_name};
use super::tls::Tls;

/// The server, the user, the database and the table. `Debug` and [`name`](Self::name) show neither user nor
/// password.
///
/// ```text
/// dsn   = host "," user "," [ password ] "," database "," table
///       / "mysql://" user [ ":" password ] "@" [ host / hosts ] "/" database [ "?" option *( "&" option ) ]
/// hosts = server 1*( "," server )
/// server = name [ ":" port ] / "[" IPv6 address "]" [ ":" port ]
/// host  = name [ ":" port ] / "[" IPv6 address "]" [ ":" port ] / absolute path of a unix socket
/// table = name [ "." name ]
/// name  = 1*64( ALPHA / DIGIT / "_" / "$" / "-" )
/// ```
///
/// The first form is the Python server's. A password with a comma needs the second form, where any byte can
/// be written as `%` and two hex digits. Its options, each at most once:
///
/// | option | meaning |
/// | --- | --- |
/// | `table=digests` | the table; default `digests` |
/// | `socket=/path` | a unix socket instead of host and port |
/// | `ssl-mode=required` | TLS without a check of the server: no protection from an active attacker |
/// | `ssl-mode=verify-ca` | TLS; a known authority must have signed the server's certificate |
/// | `ssl-mode=verify-identity` | as `verify-ca`, and the certificate must name the host |
/// | `ssl-ca=/path` | a PEM file of more authorities; without `ssl-mode`, the mode is `verify-identity` |
///
/// The host `localhost` without a port means the server's unix socket if there is one, as for MySQL's own
/// clients. Several hosts are servers with the same table, such as the nodes of a Galera cluster: the first that is
/// writable is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// At least one.
    pub(in super::super) hosts: Vec<Host>,
    pub(in super::super) user: String,
    pub(in super::super) password: String,
    pub(in super::super) database: String,
    pub(in super::super) table: TableName,
    pub(in super::super) tls: Option<Tls>,
}

impl Dsn {
    /// Returns how logs name the table: without user and password.
    #[must_use]
    pub fn name(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        format!("mysql://{}/{}?table={}", hosts.join(","), self.database, self.table)
    }

    /// Returns the database that has the table.
    pub(in super::super) fn table_database(&self) -> &str {
        self.table.database.as_ref().unwrap_or(&self.database)
    }

    /// Checks what both forms must fulfil.
    pub(in super::super) fn checked(self) -> Result<Self, DsnError> {
        let separates = |letter: char| letter.is_whitespace() || letter.is_control() || ":;".contains(letter);
        if self.user.is_empty() || self.user.contains(separates) {
            return Err(DsnError::User);
        }
        if !is_name(&self.database) {
            return Err(DsnError::Database);
        }
        if self.tls.is_some() && self.hosts.iter().any(|host| matches!(host, Host::Socket(_))) {
            return Err(DsnError::TlsOnSocket);
        }
        Ok(self)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({})", self.name())
    }
}
