//! Parses both forms of a DSN.

use super::error::DsnError;
use super::host::Host;
use super::table::TableName;
use super::target::Dsn;
use super::url;
use crate::address::is_file;

impl Dsn {
    /// Parses either form.
    ///
    /// # Errors
    /// If the text is neither of them.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        if let Some(rest) = text.strip_prefix("mysql://") {
            return url::parse(rest);
        }
        if text.split(',').next().is_some_and(|host| host.contains("://")) {
            return Err(DsnError::Scheme);
        }
        if is_file(text) {
            return Err(DsnError::File);
        }
        let parts: Vec<&str> = text.split(',').collect();
        let [host, user, password, database, table] = parts[..] else {
            return Err(DsnError::Parts(parts.len()));
        };
        Self {
            hosts: vec![Host::parse(host)?],
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            table: TableName::parse(table)?,
            tls: None,
        }
        .checked()
    }
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
            assert_eq!((&dsn.hosts[..], dsn.password.as_str()), (&[host][..], password), "{text}");
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
            ("pyzord.db", DsnError::File),
            ("/var/lib/pyzor/pyzord.db", DsnError::File),
            ("mariadb://user:pass@host/pyzor", DsnError::Scheme),
            ("redis://user,pass@host/pyzor,a,b,c", DsnError::Scheme),
            ("localhost;user;pass;pyzor;digests", DsnError::Parts(1)),
            ("user:pass@host,user,,pyzor,digests", DsnError::Host),
            ("host?password=x,user,,pyzor,digests", DsnError::Host),
            ("localhost,,,pyzor,digests", DsnError::User),
            ("localhost,user:pass,,pyzor,digests", DsnError::User),
            ("localhost,user;pass,,pyzor,digests", DsnError::User),
            ("localhost,user\tpass,,pyzor,digests", DsnError::User),
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
        let list = Dsn::parse("mysql://alice:hunter2@a,[::1]:7/pyzor").unwrap();
        assert_eq!(list.name(), "mysql://a:3306,[::1]:7/pyzor?table=digests");
        let debug = format!("{dsn:?} {socket:?} {list:?}");
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
