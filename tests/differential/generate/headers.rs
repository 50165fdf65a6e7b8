//! Headers of requests, and their signatures.

use pyzord_core::{HashedKey, HeaderBlock};

pub(super) type Headers = Vec<(&'static str, Vec<u8>)>;

/// Writes a request.
pub(super) fn render(headers: &Headers) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in headers {
        text.extend([name.as_bytes(), b": ", value, b"\n"].concat());
    }
    text.push(b'\n');
    text
}

/// Writes a request signed as by Python's client, with the signature as the last header.
pub(super) fn sign(mut headers: Headers, user: &str, key: &str, time: i64) -> Vec<u8> {
    headers.extend([("User", user.as_bytes().to_vec()), ("Time", time.to_string().into_bytes())]);
    let text = render(&headers);
    let signature = HashedKey::new(user.as_bytes(), key.as_bytes()).sign(HeaderBlock::new(&text), time);
    headers.push(("Sig", signature.to_vec()));
    render(&headers)
}
