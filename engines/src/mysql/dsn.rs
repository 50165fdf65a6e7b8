//! Which database and which table: the setting `DigestDB` of this engine.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::url;

/// The port of MariaDB and MySQL.
pub(super) const PORT: u16 = 3306;
/// The longest name of a database or a table.
const LONGEST_NAME: usize = 64;

/// Where the records are, and who may use them.
///
/// ```text
/// dsn   = host "," user "," [ password ] "," database "," table
///       / "mysql://" user [ ":" password ] "@" [ host ] "/" database [ "?" option *( "&" option ) ]
/// host  = name [ ":" port ] / "[" IPv6 address "]" [ ":" port ] / absolute path of a unix socket
/// table = name [ "." name ]
/// name  = 1*64( ALPHA / DIGIT / "_" / "$" / "-" )
/// ```
///
/// The first form is the Python server's. A password with a comma needs the second, in which any byte may be
/// written as `%` and two hex digits. Its options, each at most once:
///
/// | option | meaning |
/// | --- | --- |
/// | `table=digests` | the table; `digests` when it is not given |
/// | `socket=/path` | a unix socket in place of host and port |
/// | `ssl-mode=required` | TLS, whoever the server is: no protection from an active attacker |
/// | `ssl-mode=verify-ca` | TLS with a server whose certificate a known authority signed |
/// | `ssl-mode=verify-identity` | as `verify-ca`, and the certificate names the host |
/// | `ssl-ca=/path` | a PEM file of more authorities; without `ssl-mode`, the mode is `verify-identity` |
///
/// The host `localhost` without a port is the server's unix socket where there is one, as in MySQL's own clients.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    pub(super) host: Host,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
    pub(super) table: TableName,
    pub(super) tls: Option<Tls>,
}

impl Dsn {
    /// Reads either form.
    ///
    /// # Errors
    /// When it is neither. The error repeats nothing of the text, as any part of it may be a misplaced password.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        if let Some(rest) = text.strip_prefix("mysql://") {
            return url::parse(rest);
        }
        let parts: Vec<&str> = text.split(',').collect();
        let [host, user, password, database, table] = parts[..] else {
            return Err(DsnError::Parts(parts.len()));
        };
        Self {
            host: Host::parse(host)?,
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            table: TableName::parse(table)?,
            tls: None,
        }
        .checked()
    }

    /// The database and the table as logs may name them: without user and password.
    #[must_use]
    pub fn name(&self) -> String {
        format!("mysql://{}/{}?table={}", self.host, self.database, self.table)
    }

    /// The database that the table is in.
    pub(super) fn table_database(&self) -> &str {
        self.table.database.as_deref().unwrap_or(&self.database)
    }

    /// What both forms have to hold.
    pub(super) fn checked(self) -> Result<Self, DsnError> {
        if self.user.is_empty() {
            return Err(DsnError::User);
        }
        if !is_name(&self.database) {
            return Err(DsnError::Database);
        }
        if self.tls.is_some() && matches!(self.host, Host::Socket(_)) {
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

/// Why a text is no [`Dsn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DsnError {
    /// So many parts between commas, not five.
    Parts(usize),
    /// A URL without `@`, without `/` after it, or with a `%` that no two hex digits follow.
    Url,
    /// The host is no name, address or path, or the port is not from 1 to 65535.
    Host,
    /// The user is missing.
    User,
    /// The database is missing, or its name has other characters than names have.
    Database,
    /// As `Database`, of the table.
    Table,
    /// An option that does not exist or stands twice.
    Option,
    /// `ssl-mode` has none of its values.
    TlsMode,
    /// TLS through a unix socket.
    TlsOnSocket,
}

impl fmt::Display for DsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parts(count) => {
                return write!(
                    f,
                    "it has {count} parts, not the 5 of `host,user,password,database,table` (a password with a comma \
                     is given as mysql://user:password@host/database, the comma as %2C)"
                );
            }
            Self::Url => "it is not of the form mysql://user:password@host:port/database?table=digests",
            Self::Host => "the host is no name, address or path of a socket, or the port is not from 1 to 65535",
            Self::User => "the user is missing",
            Self::Database => "the database is missing, or has other characters than letters, digits, `_`, `$` and `-`",
            Self::Table => "the table is missing, or has other characters than letters, digits, `_`, `$` and `-`",
            Self::Option => "the options of a mysql:// URL are table, socket, ssl-mode and ssl-ca, each once",
            Self::TlsMode => "ssl-mode is none of disabled, required, verify-ca and verify-identity",
            Self::TlsOnSocket => "ssl-mode and ssl-ca need a host, not a unix socket",
        })
    }
}

impl std::error::Error for DsnError {}

/// Where the server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Host {
    /// The socket where MySQL's clients look for it, or else TCP.
    Local,
    Tcp(String, u16),
    Socket(PathBuf),
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        if text.starts_with('/') {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        if text.is_empty() || text == "localhost" {
            return Ok(Self::Local);
        }
        let (name, port) = split_port(text).ok_or(DsnError::Host)?;
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !(name.parse::<IpAddr>().is_ok() || name.bytes().all(known)) {
            return Err(DsnError::Host);
        }
        Ok(Self::Tcp(name.to_owned(), port))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("localhost"),
            Self::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp(name, port) => write!(f, "{name}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The name and the port of `name`, `name:port`, `[address]`, `[address]:port`, or an IPv6 address alone.
fn split_port(text: &str) -> Option<(&str, u16)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, PORT));
    }
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':')?)),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let number = |digits: &str| {
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok().filter(|port| *port != 0))?
    };
    Some((name, port.map_or(Some(PORT), number)?))
}

/// A table's name, fit to stand in a statement: the `Display` form is for logs, [`quoted`](Self::quoted) for SQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TableName {
    database: Option<String>,
    pub(super) table: String,
}

impl TableName {
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        let (database, table) = match text.split_once('.') {
            Some((database, table)) => (Some(database), table),
            None => (None, text),
        };
        if !is_name(table) || !database.is_none_or(is_name) {
            return Err(DsnError::Table);
        }
        Ok(Self { database: database.map(str::to_owned), table: table.to_owned() })
    }

    /// The name between backticks. None of the characters that a name may have ends them.
    pub(super) fn quoted(&self) -> String {
        let database = self.database.as_ref().map(|database| format!("`{database}`."));
        format!("{}`{}`", database.unwrap_or_default(), self.table)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{database}.")?;
        }
        f.write_str(&self.table)
    }
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_$-".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(known)
}

/// How the server has to prove itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tls {
    pub(super) verify: Verify,
    /// A file of authorities beside the well-known ones.
    pub(super) authorities: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verify {
    Nothing,
    Authority,
    Identity,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(name: &str, port: u16) -> Host {
        Host::Tcp(name.to_owned(), port)
    }

    #[test]
    fn pythons_form_is_read() {
        let table = [
            ("localhost,user,password,pyzor,digests", Host::Local, "password", "`digests`"),
            (",user,,pyzor,public", Host::Local, "", "`public`"),
            ("db.example,user,p:/@%,pyzor,public", tcp("db.example", 3306), "p:/@%", "`public`"),
            ("localhost:3307,user,,pyzor,public", tcp("localhost", 3307), "", "`public`"),
            ("192.0.2.1:3307,user,,pyzor,public", tcp("192.0.2.1", 3307), "", "`public`"),
            ("[2001:db8::1]:3307,user,,pyzor,public", tcp("2001:db8::1", 3307), "", "`public`"),
            ("[::1],user,,pyzor,public", tcp("::1", 3306), "", "`public`"),
            ("::1,user,,pyzor,public", tcp("::1", 3306), "", "`public`"),
            (
                "/run/mysqld/mysqld.sock,user,,pyzor,a$-_9",
                Host::Socket("/run/mysqld/mysqld.sock".into()),
                "",
                "`a$-_9`",
            ),
            ("localhost,user,,pyzor,other.public", Host::Local, "", "`other`.`public`"),
        ];
        for (text, host, password, quoted) in table {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(
                (dsn.user.as_str(), dsn.database.as_str(), dsn.tls),
                ("user", "pyzor", None),
                "{text}"
            );
            assert_eq!((dsn.host, dsn.password.as_str()), (host, password), "{text}");
            assert_eq!(dsn.table.quoted(), quoted, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("localhost,user,,pyzor,{}", "a".repeat(65));
        let table = [
            ("", DsnError::Parts(1)),
            ("localhost,user,pass,word,pyzor,digests", DsnError::Parts(6)),
            ("localhost,user,,pyzor", DsnError::Parts(4)),
            ("localhost,,,pyzor,digests", DsnError::User),
            ("localhost,user,,,digests", DsnError::Database),
            ("localhost,user,,py`zor,digests", DsnError::Database),
            ("localhost,user,,pyzor,", DsnError::Table),
            ("localhost,user,,pyzor,a.b.c", DsnError::Table),
            ("localhost,user,,pyzor,.b", DsnError::Table),
            ("localhost,user,,pyzor,digests`; DROP", DsnError::Table),
            ("localhost,user,,pyzor,digests\n", DsnError::Table),
            ("localhost,user,,pyzor,täble", DsnError::Table),
            (&long, DsnError::Table),
            ("host:0,user,,pyzor,digests", DsnError::Host),
            ("host:65536,user,,pyzor,digests", DsnError::Host),
            ("host:,user,,pyzor,digests", DsnError::Host),
            ("host:+1,user,,pyzor,digests", DsnError::Host),
            (":3306,user,,pyzor,digests", DsnError::Host),
            ("[::1,user,,pyzor,digests", DsnError::Host),
            ("[::1]3306,user,,pyzor,digests", DsnError::Host),
            ("a b,user,,pyzor,digests", DsnError::Host),
        ];
        for (text, error) in table {
            assert_eq!(Dsn::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn neither_name_nor_debug_output_nor_an_error_shows_user_or_password() {
        let dsn = Dsn::parse("db.example:3307,alice,hunter2,pyzor,digests").unwrap();
        assert_eq!(dsn.name(), "mysql://db.example:3307/pyzor?table=digests");
        let socket = Dsn::parse("/run/my.sock,alice,hunter2,pyzor,other.digests").unwrap();
        assert_eq!(socket.name(), "mysql:///run/my.sock/pyzor?table=other.digests");
        let debug = format!("{dsn:?} {socket:?}");
        assert!(!debug.contains("hunter2") && !debug.contains("alice"), "{debug}");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_table_escapes_its_quotes(text in "\\PC{0,40}", table in "[a-z`;.'\\\\ $-]{0,12}") {
            let _ = Dsn::parse(&text);
            let _ = Dsn::parse(&format!("mysql://{text}"));
            if let Ok(dsn) = Dsn::parse(&format!("{text},user,,pyzor,{table}")) {
                prop_assert_eq!(dsn.table.quoted().replace('`', ""), table);
            }
        }
    }
}
