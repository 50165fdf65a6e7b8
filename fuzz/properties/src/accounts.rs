use std::borrow::Cow;
use std::collections::BTreeMap;

use pyzord_core::{ANONYMOUS, AccessOrder, HashedKey, HeaderBlock, Policy, Refusal, Server, UnixTime};

use crate::one_request::{OneRequest, forgetful_server};
use crate::{told, user_lines};

const NOW: i64 = 1_700_000_000;

/// Of an accounts file, exactly the users of its lines can sign, each with the key of his last line; no warning shows
/// any of it.
pub fn accounts(text: &[u8]) {
    let (policy, warnings) = Policy::parse(Some(text), Some(b"ping : all : allow"), AccessOrder::FirstMatch);
    told::bounded(&warnings, text, b"ping : all : allow");
    // A text that is part of the program has no part of the file.
    assert!(warnings.iter().all(|warning| matches!(warning.text, Cow::Borrowed(_))));
    let keys = keys(text);
    assert_eq!(policy.accounts(), keys.len());
    let server = &forgetful_server(policy);
    for (user, key) in keys {
        if user == ANONYMOUS || !fits_header(user) {
            continue;
        }
        assert_eq!(code(server, user, key), 200, "{}", user.escape_ascii());
        assert_eq!(code(server, user, &[key, b"x"].concat()), 401, "{}", user.escape_ascii());
        assert_eq!(code(server, &[user, b" "].concat(), key), 401, "{}", user.escape_ascii());
    }
}

/// "Exactly one colon; the last line for a user wins."
fn keys(text: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    let mut keys = BTreeMap::new();
    for (_, line) in user_lines::content(text) {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect();
        if let [user @ [_, ..], key @ [_, ..]] = fields[..] {
            keys.insert(user, key);
        }
    }
    keys
}

/// Whether a request's one line can name this user.
fn fits_header(user: &[u8]) -> bool {
    !user.contains(&b'\r')
}

/// The code that a ping of `user`, signed with `key`, is answered with.
fn code(server: &Server, user: &[u8], key: &[u8]) -> u16 {
    let text = [b"Op: ping\nPV: 2.1\nUser: ", user, b"\nTime: 1700000000\n"].concat();
    let signature = HashedKey::new(user, key).sign(HeaderBlock::new(&text), NOW);
    let datagram = [&text, &b"Sig: "[..], &signature, b"\n"].concat();
    let request = OneRequest::accept(server, &datagram, UnixTime::from_seconds(NOW));
    let request = request.expect("a ping is answered");
    assert!(request.calls().is_empty(), "a ping needs no store");
    request.refusal().map_or(200, Refusal::code)
}
