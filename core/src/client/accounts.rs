//! A client's accounts file: credentials for each server.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::client::credentials::Credentials;
use crate::client::host::{client_lines, parse_host, parse_port};
use crate::user_file::{NOT_SHA1, UserFile, Warning, is_sha1};

/// One line of a client's accounts file.
pub(super) struct AccountLine {
    pub(super) line: usize,
    pub(super) host: Box<str>,
    pub(super) port: u16,
    pub(super) credentials: Credentials,
}

/// Parses a client's accounts file. A bad line is skipped with a warning, which never shows a key.
pub(super) fn parse(text: &[u8], warnings: &mut Vec<Warning>) -> Vec<AccountLine> {
    let mut accounts = Vec::new();
    for (line, text) in client_lines(UserFile::ClientAccounts, text, warnings) {
        match parse_line(&text) {
            Ok((host, port, key, credentials)) => {
                if !is_sha1(key.as_bytes()) {
                    warnings.push(Warning::on_line(UserFile::ClientAccounts, line, NOT_SHA1));
                }
                accounts.push(AccountLine { line, host, port, credentials });
            }
            Err(cause) => warnings.push(Warning::on_line(UserFile::ClientAccounts, line, cause)),
        }
    }
    accounts
}

/// Returns host, port, the key, and the credentials made of it.
fn parse_line(line: &str) -> Result<(Box<str>, u16, &str, Credentials), &'static str> {
    // From the right: an IPv6 address has colons of its own.
    let mut parts = line.rsplitn(4, ':').map(str::trim);
    let (Some(key), Some(user), Some(port), Some(host)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("skipped: a line is `host : port : user : salt,key`");
    };
    let (Some(host), Some(port)) = (parse_host(host), parse_port(port)) else {
        return Err("skipped: the first two parts are not a host and a port");
    };
    let Some((_salt, key)) = key.split_once(',').filter(|(_, key)| !key.contains(',')) else {
        return Err("skipped: the last part is `salt,key`, with one comma, even where there is no salt");
    };
    if user.is_empty() || key.is_empty() || user.contains(char::is_control) {
        return Err("skipped: the user or the key is empty or has control characters");
    }
    Ok((host, port, key, Credentials::new(user.as_bytes(), key.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::{String, ToString};

    #[test]
    fn bad_lines_are_skipped_with_their_number_and_keys_are_not_shown() {
        let text = "# comment\n\nhost : 24441 : bob : 5a17,5Ecre7\r\nhost:24441:bob\nhost : x : bob : 5a17,5Ecre7\n\
                    host : 1 : bob : 5Ecre7\nhost : 1 : : 5a17,5Ecre7\nhost : 1 : bob : 5Ecre7,\n\
                    host : 1 : bob : 5a17,5Ecre7,5Ecre7\nhost : 1 : b\x01b : 5a17,5Ecre7";
        let mut warnings = Vec::new();
        let accounts = parse(text.as_bytes(), &mut warnings);
        assert_eq!(accounts.len(), 1);
        let expected = Credentials::new(b"bob", b"5Ecre7");
        assert_eq!((&*accounts[0].host, accounts[0].port), ("host", 24441));
        assert_eq!(accounts[0].credentials, expected);
        let lines: Vec<usize> = warnings.iter().filter_map(|warning| warning.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10]);
        let shown: String = warnings.iter().map(ToString::to_string).collect();
        assert!(!shown.contains("5Ecre7") && !format!("{expected:?}").contains("5Ecre7"));
    }
}
