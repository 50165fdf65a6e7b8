use arbitrary::{Arbitrary, Unstructured};
use pyzord_engines::redis::Dsn;

use crate::told::{encoded, secret, without};

#[derive(Arbitrary, Debug)]
struct Parts<'a> {
    host: &'a str,
    number: u8,
    port: u16,
    db: u16,
    user: &'a str,
    password: &'a str,
    rest: &'a str,
}

/// No name, `Debug` output or error shows the password, at any position in a DSN. The two forms of a DSN name the same
/// database.
pub fn redis_dsn(data: &[u8]) {
    let Ok(parts) = Parts::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let Parts { host, number, port, db, user, rest, .. } = parts;
    let secret = &secret(data);
    let password = format!("{}{secret}{}", parts.password, parts.password);
    for text in [
        rest.to_owned(),
        format!("{},{port},{},{rest}", without(host, ','), without(&password, ',')),
        format!("{},,{},{db}", without(host, ','), without(&password, ',')),
        format!("redis://{user}:{secret}{rest}@{host}:{port}/{db}"),
        format!("rediss://{user}:{secret}@{host}/{rest}"),
        format!("redis://:{}@{host}/{rest}", encoded(&password)),
        format!("redis+unix:///{host}?db={db}&pass={secret}{rest}"),
        format!("unix://{rest}?{host}&pass={secret}"),
    ] {
        shows_no_password(&text, secret);
    }
    // An error repeats no part of the DSN.
    for text in [format!("{rest},{secret}"), format!("{rest}{secret}"), format!("{secret}{rest}")] {
        if let Err(error) = Dsn::parse(&text) {
            assert!(!format!("{error} {error:?}").contains(secret), "{text}");
        }
    }
    let port = port.max(1);
    let plain = format!("host{number},{port},{},{db}", without(&password, ','));
    let url = format!("redis://:{}@host{number}:{port}/{db}", encoded(&without(&password, ',')));
    let names = [plain, url].map(|text| Dsn::parse(&text).map(|dsn| dsn.name()));
    assert_eq!(names, [Ok(format!("redis host{number}:{port}/{db}")), Ok(format!("redis host{number}:{port}/{db}"))]);
}

fn shows_no_password(text: &str, secret: &str) {
    let shown = match Dsn::parse(text) {
        Ok(dsn) => {
            assert!(!dsn.name().is_empty());
            format!("{} {dsn:?}", dsn.name())
        }
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(secret), "{text} {shown}");
}
