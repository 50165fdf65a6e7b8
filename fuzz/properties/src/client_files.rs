use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use pyzord_core::client::{Credentials, Remote};
use pyzord_core::{UserFile, Warning};

use crate::user_lines;

/// Of a client's files, every line is a server or an account, says nothing, or has a warning with its number, in one
/// line that shows no part of the file; a server's account is the last line of its host and port.
///
/// The input is a servers file, a NUL and an accounts file; without a NUL, a servers file alone.
pub fn client_files(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let servers = parts.next().unwrap_or_default();
    let accounts = parts.next();
    let (remotes, warnings) = Remote::parse(Some(servers), accounts);
    let accounts = accounts.unwrap_or_default();

    let named: BTreeSet<(String, u16)> =
        said(servers).into_values().filter_map(|line| split(&line, 2)).filter_map(|parts| server(&parts)).collect();
    let mut found: BTreeSet<(String, u16)> =
        remotes.iter().map(|remote| (remote.host.to_string(), remote.port)).collect();
    assert_eq!(found.len(), remotes.len(), "a server stands there twice: {remotes:?}");
    let says_nothing = said(servers).is_empty() && !user_lines::is_utf16(servers);
    if named.is_empty() && says_nothing {
        assert_eq!(found, BTreeSet::from([("public.pyzor.org".to_owned(), 24441)]));
    } else {
        assert_eq!(found, named);
    }
    let keys = keys(accounts);
    for remote in &remotes {
        let account = keys.get(&(remote.host.to_string(), remote.port));
        let expected = account
            .map_or_else(Credentials::anonymous, |(user, key)| Credentials::new(user.as_bytes(), key.as_bytes()));
        assert_eq!(remote.credentials, expected, "{remote}");
        check_written(remote);
    }
    check_warnings(&warnings, UserFile::Servers, servers, named.len());
    found.retain(|server| keys.contains_key(server));
    check_warnings(&warnings, UserFile::ClientAccounts, accounts, found.len());
}

/// A server's text names it again.
fn check_written(remote: &Remote) {
    let (again, warnings) = Remote::parse(Some(remote.to_string().as_bytes()), None);
    assert_eq!((again.len(), warnings.len()), (1, 0), "{remote}");
    let again = again.first().map(|again| (&again.host, again.port, again.ip()));
    assert_eq!(again, Some((&remote.host, remote.port, remote.ip())));
}

/// `used` servers have what they need from this file; each other line that says something has one warning.
fn check_warnings(warnings: &[Warning], file: UserFile, text: &[u8], used: usize) {
    let said = said(text);
    let of_file = || warnings.iter().filter(|warning| warning.file == file);
    for warning in of_file() {
        let told = warning.to_string();
        assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && told.len() < 200, "{told:?}");
        assert!(told.starts_with(&file.to_string()));
        // A text that is part of the program has no part of the file.
        let fixed = matches!(warning.text, Cow::Borrowed(_));
        match warning.line {
            None => assert!(user_lines::marked(text) || file == UserFile::Servers && used == 0, "{told}"),
            Some(line) => {
                assert!(fixed && said.contains_key(&line), "{told}");
                assert!(told.contains(&format!(", line {line}: ")), "{told}");
            }
        }
    }
    // The form of a key has nothing to do with the use of its line.
    let of_use = || of_file().filter(|warning| !warning.text.contains("40 hex digits"));
    let lines: BTreeSet<usize> = of_use().filter_map(|warning| warning.line).collect();
    let numbered = of_use().filter(|warning| warning.line.is_some()).count();
    assert_eq!(lines.len(), numbered, "a line has two warnings: {warnings:?}");
    // An account may be that of the anonymous user, which is as good as none for a later line.
    if !said.values().any(|line| line.contains("anonymous")) {
        assert_eq!(said.len(), used + numbered, "{warnings:?}");
    }
}

/// The lines that are neither empty nor comments, by their numbers.
fn said(file: &[u8]) -> BTreeMap<usize, String> {
    let text = |line| String::from_utf8_lossy(line).trim().to_owned();
    user_lines::content(file).into_iter().map(|(number, line)| (number, text(line))).collect()
}

/// A line's parts, the last ones cut off at their colons.
fn split(line: &str, count: usize) -> Option<Vec<String>> {
    let mut parts: Vec<&str> = line.split(':').collect();
    let rest = parts.split_off((parts.len() + 1).checked_sub(count).filter(|host| *host > 0)?);
    let host = parts.join(":");
    Some([&*host].into_iter().chain(rest).map(|part| part.trim().to_owned()).collect())
}

/// The host, in lower case or as an IPv6 address is written, and the port.
fn server(parts: &[String]) -> Option<(String, u16)> {
    let [host, port, ..] = parts else { return None };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let bare = if host.len() > 1 && host.starts_with('[') && host.ends_with(']') {
        let bare = host.get(1..host.len() - 1)?;
        bare.contains(':').then_some(bare)?
    } else {
        host
    };
    if bare.contains(':') {
        return Some((bare.parse::<Ipv6Addr>().ok()?.to_string(), port));
    }
    let letters = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    (!bare.is_empty() && bare.chars().all(letters)).then(|| (bare.to_ascii_lowercase(), port))
}

/// The user and the key of each host and port.
fn keys(text: &[u8]) -> BTreeMap<(String, u16), (String, String)> {
    let account = |line: &String| {
        let parts = split(line, 4)?;
        let [_, _, user, secret] = &parts[..] else { return None };
        let [_salt, key] = secret.split(',').collect::<Vec<_>>()[..] else { return None };
        let valid = !user.is_empty() && !key.is_empty() && !user.chars().any(char::is_control);
        Some((server(&parts)?, valid.then(|| (user.clone(), key.to_owned()))?))
    };
    said(text).values().filter_map(account).collect()
}
