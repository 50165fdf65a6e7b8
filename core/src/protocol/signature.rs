//! Signatures: `sha1( sha1(text) ":" time ":" sha1(user ":" key) )`.

use core::fmt;
use core::num::{IntErrorKind, ParseIntError};
use core::time::Duration;

use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

use crate::protocol::digest::hex;
use crate::protocol::header::{Header, HeaderBlock, lines};
use crate::protocol::request::Request;
use crate::time::UnixTime;

/// The largest difference between `Time` and the server's clock, either way.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);

/// The hash of an account's key, which signs requests: `sha1(user ":" lower(key))`, as 40 hex digits.
///
/// It is as secret as the key itself; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashedKey([u8; 40]);

impl HashedKey {
    /// Hashes the key of `user`, as the accounts file has it.
    #[must_use]
    pub fn new(user: &[u8], key: &[u8]) -> Self {
        let mut hash = Sha1::new();
        hash.update(user);
        hash.update(b":");
        for byte in key {
            hash.update([byte.to_ascii_lowercase()]);
        }
        Self(hex(&hash.finalize().into()))
    }

    /// Returns the signature of the headers in `block` without those named `Sig`, at `time` in Unix seconds.
    #[must_use]
    pub fn sign(&self, block: HeaderBlock<'_>, time: i64) -> [u8; 40] {
        let mut hash = Sha1::new();
        hash.update(hash_text(block));
        hash.update(b":");
        hash.update(itoa::Buffer::new().format(time));
        hash.update(b":");
        hash.update(self.0);
        hex(&hash.finalize().into())
    }
}

impl fmt::Debug for HashedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedKey(..)")
    }
}

/// Why a signature does not prove that a request is its user's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadSignature {
    /// There is no account for the user.
    UnknownUser,
    /// `Time` is more than [`MAX_CLOCK_DIFFERENCE`] from the server's clock.
    Timestamp,
    /// `Sig` is not the signature of this request, or `Sig` or `Time` is missing, or `Time` is not a number.
    Invalid,
}

/// Verifies a request's `Sig` and `Time` with its user's key.
///
/// # Errors
/// `Time` is out of range, or `Sig` is wrong.
pub fn verify(request: &Request<'_>, key: &HashedKey, now: UnixTime) -> Result<(), BadSignature> {
    let time = request.time.and_then(parse_time).ok_or(BadSignature::Invalid)?;
    // No `Time` overflows an i128 of microseconds.
    let [now, signed] = [i128::from(now.micros()), i128::from(time) * 1_000_000];
    if now.abs_diff(signed) > MAX_CLOCK_DIFFERENCE.as_micros() {
        return Err(BadSignature::Timestamp);
    }
    let signature = request.signature.ok_or(BadSignature::Invalid)?;
    // In constant time: an attacker must not find a signature digit by digit.
    let valid = key.sign(request.headers(), time).ct_eq(signature);
    if valid.into() { Ok(()) } else { Err(BadSignature::Invalid) }
}

/// Parses the integer in `Time` as Python's `int()` does: it may have a sign, and blanks around it. Python's integers
/// have no limit, so one that is too large for an i64 is a time out of range.
fn parse_time(value: &[u8]) -> Option<i64> {
    let number = core::str::from_utf8(value.trim_ascii()).ok()?.parse();
    number
        .or_else(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => Ok(i64::MAX),
            IntErrorKind::NegOverflow => Ok(i64::MIN),
            _ => Err(error),
        })
        .ok()
}

/// Returns the hash of the signed text: each header but `Sig` as `Name: value`, joined by line feeds, stripped.
fn hash_text(block: HeaderBlock<'_>) -> [u8; 20] {
    let mut hash = Sha1::new();
    let mut headers = block.iter().filter(|header| !header.is("Sig")).peekable();
    while let Some(Header { name, value }) = headers.next() {
        hash.update(name);
        if headers.peek().is_some() {
            hash.update(b": ");
            hash_lines(&mut hash, value);
            hash.update(b"\n");
        } else {
            // Stripping the text removes white space of its last header only.
            let value = trim_end(value);
            hash.update(if value.is_empty() { &b":"[..] } else { b": " });
            hash_lines(&mut hash, value);
        }
    }
    hash.finalize().into()
}

fn hash_lines(hash: &mut Sha1, value: &[u8]) {
    for (index, line) in lines(value).enumerate() {
        if index > 0 {
            hash.update(b"\n");
        }
        hash.update(line);
    }
}

/// Removes what Python's `strip()` takes for white space from the end.
fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b'\t'..=b'\r' | 0x1c..=0x1f | b' '] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const KEY: &[u8] = b"DA39a3ee5e6b4b0d3255bfef95601890afd80709";
    const TIME: i64 = 1_700_000_000;
    const TEXT: &str = "Op: check\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nThread: 12345\nPV: 2.1\nUser: bob\nTime: 1700000000\n";

    fn sign(datagram: &str) -> String {
        let signature = HashedKey::new(b"bob", KEY).sign(HeaderBlock::new(datagram.as_bytes()), TIME);
        core::str::from_utf8(&signature).unwrap().into()
    }

    /// Signed by `pyzor.account.sign_msg` of Python's pyzor 1.1.2.
    #[test]
    fn signs_as_python_does() {
        const PLAIN: &str = "8b95e3e3d00e1ea22d38e5c990bc6eb82c03f143";
        const WITH_EMPTY_X: &str = "1caba0fab9a3a39d67e2a30063daad57cf49b1b8";
        let signed = |tail: &str| sign(&[TEXT, tail].concat());
        assert_eq!(signed(""), PLAIN);
        assert_eq!(signed("Sig: x\n\n"), PLAIN);
        assert_eq!(signed("\nSig: old clients\n"), PLAIN);
        assert_eq!(sign(&TEXT.replace("0000\n", "0000 \n")), PLAIN);
        assert_eq!(sign(&TEXT.replace('\n', "\r\n")), PLAIN);
        assert_eq!(signed("X: \nsIG: 1\n"), WITH_EMPTY_X);
        assert_eq!(signed("X: \n \n\x1f\n"), WITH_EMPTY_X);
        let folded = sign(&TEXT.replace("12345", "1\n 2\r\n\t3"));
        assert_eq!(folded, "4d738ed9f9505db72ad1bb4cc07e6994e1e40252");
    }

    fn check(datagram: &str, now: i64) -> Result<(), BadSignature> {
        let request = Request::parse(datagram.as_bytes()).unwrap();
        verify(&request, &HashedKey::new(b"bob", KEY), UnixTime::from_seconds(now))
    }

    #[test]
    fn the_window_is_300_seconds_either_way() {
        let datagram = [TEXT, "Sig: ", &sign(TEXT), "\n"].concat();
        for (now, expected) in [
            (TIME, Ok(())),
            (TIME + 300, Ok(())),
            (TIME - 300, Ok(())),
            (TIME + 301, Err(BadSignature::Timestamp)),
            (TIME - 301, Err(BadSignature::Timestamp)),
        ] {
            assert_eq!(check(&datagram, now), expected);
        }
    }

    #[test]
    fn missing_and_malformed_parts_are_invalid() {
        let signed = [TEXT, "Sig: ", &sign(TEXT), "\n"].concat();
        for datagram in [
            TEXT.into(),
            signed.replace("Sig: ", "Sig: 0"),
            signed.replace("Time: 1700000000\n", ""),
            signed.replace("Time: 1700000000", "Time: soon"),
            signed.to_uppercase(),
        ] {
            assert_eq!(check(&datagram, TIME), Err(BadSignature::Invalid), "{datagram}");
        }
        let earliest = signed.replace("Time: 1700000000", "Time: -9223372036854775808");
        assert_eq!(check(&earliest, TIME), Err(BadSignature::Timestamp));
    }

    /// These were refused for an invalid signature, which Python checks only if the time is in range.
    #[test]
    fn a_time_out_of_range_comes_before_the_signature() {
        for time in ["1600000000", "99999999999999999999", "-99999999999999999999"] {
            let datagram = TEXT.replace("1700000000", time);
            assert_eq!(check(&datagram, TIME), Err(BadSignature::Timestamp), "{datagram}");
        }
    }

    /// The clock was cut to whole seconds, so almost 301 seconds passed for 300.
    #[test]
    fn the_window_ends_within_a_second() {
        let datagram = [TEXT, "Sig: ", &sign(TEXT), "\n"].concat();
        let request = Request::parse(datagram.as_bytes()).unwrap();
        let verified = |now| verify(&request, &HashedKey::new(b"bob", KEY), UnixTime::from_micros(now));
        assert_eq!(verified((TIME + 300) * 1_000_000), Ok(()));
        assert_eq!(verified((TIME + 300) * 1_000_000 + 1), Err(BadSignature::Timestamp));
        assert_eq!(verified((TIME - 300) * 1_000_000 - 1), Err(BadSignature::Timestamp));
    }

    fn content(text: &[u8]) -> Vec<(&[u8], Vec<&[u8]>)> {
        HeaderBlock::new(text).iter().map(|header| (header.name, lines(header.value).collect())).collect()
    }

    proptest! {
        #[test]
        fn a_change_of_any_byte_is_refused(index in 0..TEXT.len(), byte: u8) {
            let signature = sign(TEXT);
            let mut text = TEXT.as_bytes().to_vec();
            text[index] = byte;
            let datagram = [&text[..], b"Sig: ", signature.as_bytes(), b"\n"].concat();
            if let Some(request) = Request::parse(&datagram) {
                // Another line break or blank between the same names and values does not change the signed text.
                let signed = HashedKey::new(b"bob", KEY).sign(request.headers(), TIME);
                let same = signed == *signature.as_bytes() && request.signature == Some(signature.as_bytes());
                let verified = verify(&request, &HashedKey::new(b"bob", KEY), UnixTime::from_seconds(TIME));
                prop_assert_eq!(verified.is_ok(), same);
                prop_assert!(!same || content(&text) == content(TEXT.as_bytes()));
            }
        }
    }
}
