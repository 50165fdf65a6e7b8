use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use pyzord::fuzzing;
use pyzord_core::AccessOrder;

use crate::told::secret;

#[derive(Arbitrary, Debug)]
struct Values<'a> {
    port: u16,
    address: Ipv4Addr,
    second_address: Option<(Ipv6Addr, bool)>,
    engine: &'a str,
    age: u64,
    workers: u16,
    connections: u16,
    last_match: bool,
    log_file: &'a str,
    dsn: Dsn<'a>,
    capitals: bool,
    colons: bool,
    comment: &'a str,
}

#[derive(Arbitrary, Debug)]
enum Dsn<'a> {
    File(&'a str),
    Redis(&'a str),
    Mysql(&'a str),
    Url(&'a str),
}

/// The settings equal those in the file, for any case of letters, any sign between name and value, and any comments. No
/// listing, `Debug` output or error shows the password of a DSN.
pub fn settings(data: &[u8]) {
    let Ok(values) = Values::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let secret = &secret(data);
    let configuration = fuzzing::configuration(Path::new("/home"), &values.text(secret), 4).unwrap();
    // Any text may look like a comment, a quotation or a placeholder.
    let is_hint = |warning: &String| warning.contains(" value of ") && !warning.contains(secret);
    assert!(configuration.warnings.iter().all(is_hint), "{:?}", configuration.warnings);
    assert!(!configuration.printed.contains(secret), "{}", configuration.printed);
    let settings = match configuration.settings {
        Ok(settings) => settings,
        Err(error) => return assert!(!values.valid() && !error.0.contains(secret), "{}", error.0),
    };
    assert!(values.valid());
    let workers = if values.workers == 0 { 4 } else { usize::from(values.workers) };
    let connections = if values.connections == 0 { workers.max(2) } else { usize::from(values.connections) };
    assert_eq!((settings.port, settings.workers, settings.connections), (values.port, workers, connections));
    assert_eq!(settings.addresses, values.addresses(false));
    assert_eq!(settings.engine, line(values.engine).to_lowercase());
    assert_eq!(settings.cleanup_age, values.age);
    assert_eq!(settings.access_order == AccessOrder::LastMatch, values.last_match);
    assert_eq!(settings.dsn, values.dsn.text(secret));
    let log_file = line(values.log_file);
    assert_eq!(settings.log_file.is_some(), !log_file.is_empty());
    if !log_file.is_empty() && !log_file.starts_with('~') {
        assert_eq!(settings.log_file, Some(Path::new("/home").join(log_file)));
    }
}

impl Values<'_> {
    fn valid(&self) -> bool {
        self.workers <= 1024 && self.connections <= 1024
    }

    fn addresses(&self, with_brackets: bool) -> Vec<String> {
        let second = self.second_address.map(|(address, brackets)| {
            if brackets && with_brackets { format!("[{address}]") } else { address.to_string() }
        });
        [self.address.to_string()].into_iter().chain(second).collect()
    }

    fn text(&self, secret: &str) -> String {
        let order = if self.last_match { "Last-Match" } else { "first-match" };
        let comment = self.comment.replace(is_break, " ");
        let mut text = format!("# {comment}\n[server]\n");
        for (name, value) in [
            ("Port", self.port.to_string()),
            ("ListenAddress", self.addresses(true).join(", ")),
            ("Engine", line(self.engine)),
            ("CleanupAge", self.age.to_string()),
            ("Workers", self.workers.to_string()),
            ("DBConnections", self.connections.to_string()),
            ("AccessOrder", order.to_owned()),
            ("LogFile", line(self.log_file)),
            ("DigestDB", self.dsn.text(secret)),
        ] {
            let name = if self.capitals { name.to_uppercase() } else { name.to_lowercase() };
            let sign = if self.colons { ':' } else { '=' };
            text += &format!("{name} {sign} {}\n; {comment}\n", value.replace('%', "%%"));
        }
        text
    }
}

impl Dsn<'_> {
    fn text(&self, secret: &str) -> String {
        let password = |text: &str| format!("{secret}{}", line(text).replace(',', ""));
        match self {
            Self::File(name) => line(name),
            Self::Redis(text) => format!("localhost,6379,{},0", password(text)),
            Self::Mysql(text) => format!("localhost,user,{},pyzor,public", password(text)),
            Self::Url(text) => format!("redis://:{}@localhost", password(text)),
        }
    }
}

/// Returns the text as one line, without blanks around it.
fn line(text: &str) -> String {
    // Python strips the separators of information, too.
    let is_blank = |letter: char| letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter);
    text.replace(is_break, " ").trim_matches(is_blank).to_owned()
}

fn is_break(letter: char) -> bool {
    letter == '\n' || letter == '\r'
}
