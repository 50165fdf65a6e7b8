use arbitrary::{Arbitrary, Unstructured};
use pyzord_engines::mysql::Dsn;

use crate::told::{encoded, secret, without};

#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    host: &'a str,
    number: u8,
    port: u16,
    user: &'a str,
    password: &'a str,
    database: &'a str,
    rest: &'a str,
}

/// No name, `Debug` output or error shows the password, at any position in a DSN. The two forms of a DSN have the same
/// meaning, and no table name ends its quotes.
pub fn mysql_dsn(data: &[u8]) {
    let Ok(parts) = Parts::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let Parts { host, number, port, user, database, rest, .. } = parts;
    let secret = &secret(data);
    let password = format!("{}{secret}{}", parts.password, parts.password);
    let [bare_host, bare_user, bare_password] = [host, user, &password].map(|part| without(part, ','));
    for text in [
        rest.to_owned(),
        format!("{bare_host},{bare_user},{bare_password},{database},{rest}"),
        format!("mysql://{user}:{secret}{rest}@{host}/{database}"),
        format!("mysql://{user}:{}@{host}:{port}/{database}?{rest}", encoded(&password)),
        format!("mysql://{user}:{secret}@/{database}?socket=/{host}&table={rest}"),
    ] {
        let shown = match Dsn::parse(&text) {
            Ok(dsn) => format!("{} {dsn:?}", dsn.name()),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(secret), "{text} {shown}");
    }
    for text in [format!("{rest},{secret}"), format!("{secret}{rest}"), format!("mysql://{rest}{secret}")] {
        if let Err(error) = Dsn::parse(&text) {
            assert!(!format!("{error} {error:?}").contains(secret), "{text}");
        }
    }
    // The server's messages repeat the user name, so no letter that may separate it from a password is allowed in it.
    let separates = |letter: char| letter.is_whitespace() || letter.is_control() || ":;".contains(letter);
    let (user, port) = (format!("u{}", bare_user.replace(separates, "")), port.max(1));
    let plain = format!("host{number}:{port},{user},{bare_password},pyzor,public");
    let [user, password] = [&user, &bare_password].map(|part| encoded(part));
    let url = format!("mysql://{user}:{password}@host{number}:{port}/pyzor?table=public");
    let read = Dsn::parse(&plain);
    assert_eq!(read, Dsn::parse(&url));
    assert_eq!(read.map(|dsn| dsn.name()), Ok(format!("mysql://host{number}:{port}/pyzor?table=public")));
}
