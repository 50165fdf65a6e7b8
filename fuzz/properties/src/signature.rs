use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{BadSignature, HashedKey, HeaderBlock, Request, UnixTime, verify};
use sha1::{Digest as _, Sha1};

use crate::email::signed_text;
use crate::peer::{LineBreak, header_name, header_value};

/// A signed request, and a change of one of its bytes.
#[derive(Arbitrary, Debug)]
struct Signed<'a> {
    user: &'a [u8],
    key: &'a [u8],
    time: i64,
    /// The difference of the server's clock from the client's.
    skew: i16,
    headers: Vec<(&'a [u8], &'a [u8])>,
    line_break: LineBreak,
    signature_first: bool,
    at: usize,
    byte: u8,
}

/// A signature equals that of an independent computation. A signed request is accepted while the clocks agree; a
/// changed request only if the signed text, its time and the signature are unchanged.
pub fn signature(data: &[u8]) {
    let Ok(signed) = Signed::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let key = HashedKey::new(signed.user, signed.key);
    assert_eq!(key, HashedKey::new(signed.user, &signed.key.to_ascii_uppercase()));
    let text = signed.text();
    let signature = key.sign(HeaderBlock::new(&text), signed.time);
    assert_eq!(signature, signed.sign(&signed_text(&text), signed.time), "{}", text.escape_ascii());

    let mut datagram = signed.datagram(text, signature);
    let now = UnixTime::from_seconds(signed.time.saturating_add(signed.skew.into()));
    let near = now.seconds().abs_diff(signed.time) <= 300;
    let expected = if near { Ok(()) } else { Err(BadSignature::Timestamp) };
    assert_eq!(verified(&datagram, &key, now), Some(expected), "{}", datagram.escape_ascii());

    let before = signed_text(&datagram);
    let at = signed.at % datagram.len();
    if let Some(byte) = datagram.get_mut(at) {
        *byte = signed.byte;
    }
    if verified(&datagram, &key, now) == Some(Ok(())) {
        assert!(near && signed_text(&datagram) == before, "{}", datagram.escape_ascii());
        let request = Request::parse(&datagram).and_then(|request| request.signature);
        assert_eq!(request, Some(&signature[..]));
    }
}

fn verified(datagram: &[u8], key: &HashedKey, now: UnixTime) -> Option<Result<(), BadSignature>> {
    Request::parse(datagram).map(|request| verify(&request, key, now))
}

impl Signed<'_> {
    fn text(&self) -> Vec<u8> {
        let end = self.line_break.bytes();
        let mut text = [&b"Op: ping"[..], end, b"Time: ", self.time.to_string().as_bytes(), end].concat();
        for (name, value) in &self.headers {
            let name = header_name(name);
            if !name.eq_ignore_ascii_case(b"Sig") {
                text.extend([&name, &b": "[..], &header_value(value), end].concat());
            }
        }
        text
    }

    fn datagram(&self, text: Vec<u8>, signature: [u8; 40]) -> Vec<u8> {
        let header = [b"Sig: ", &signature[..], self.line_break.bytes()].concat();
        if self.signature_first { [header, text].concat() } else { [text, header].concat() }
    }

    /// Computes `sha1( sha1(text) ":" time ":" sha1(user ":" lower(key)) )`.
    fn sign(&self, text: &[u8], time: i64) -> [u8; 40] {
        let key = [self.user, b":", &self.key.to_ascii_lowercase()].concat();
        let time = time.to_string();
        hex(&[&Sha1::digest(text)[..], b":", time.as_bytes(), b":", &hex(&key)].concat())
    }
}

fn hex(bytes: &[u8]) -> [u8; 40] {
    let mut text = [0; 40];
    for (pair, byte) in text.chunks_exact_mut(2).zip(Sha1::digest(bytes)) {
        pair.copy_from_slice(format!("{byte:02x}").as_bytes());
    }
    text
}
