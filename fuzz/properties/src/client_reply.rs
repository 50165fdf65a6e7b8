use pyzord_core::client::{Incomplete, Reply};
use pyzord_core::{MAX_REQUEST, lines};

use crate::email;

/// Parses a reply as Python's client does, from the headers that Python's `email` finds: the first header of each
/// name counts, the four headers of the head are required, no number wraps, and bytes beyond the largest datagram
/// are ignored.
pub fn client_reply(datagram: &[u8]) {
    let readable = datagram.get(..MAX_REQUEST).unwrap_or(datagram);
    let reply = Reply::parse(datagram);
    assert_eq!(reply, Reply::parse(readable));
    let headers = email::headers(readable);
    let first = |wanted: &str| {
        let named = |(name, _): &&email::Field| name.eq_ignore_ascii_case(wanted.as_bytes());
        headers.iter().find(named).map(|(_, value)| value)
    };
    let number = |name, most| number(&first(name)?.join(&b'\n'), most);
    let code = number("Code", u16::MAX.into());
    let thread = number("Thread", u16::MAX.into()).filter(|thread| *thread >= 1024);
    let counts = number("Count", u64::MAX).zip(number("WL-Count", u64::MAX));
    match (code, first("Diag"), first("PV"), thread) {
        (Some(code), Some(diag), Some(_), Some(thread)) => {
            let reply = reply.expect("the reply has all required headers");
            assert_eq!((u64::from(reply.code), u64::from(reply.thread.number())), (code, thread));
            assert_eq!(lines(reply.diag).collect::<Vec<_>>(), *diag);
            assert_eq!(reply.counts, counts);
            assert_eq!((reply.is_ok(), reply.is_temporary()), (code == 200, code == 500));
        }
        _ => assert_eq!(reply, Err(Incomplete)),
    }
}

/// Parses decimal digits, with optional blanks and an optional plus, from 0 to `most`.
fn number(value: &[u8], most: u64) -> Option<u64> {
    let text = value.trim_ascii();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0, |number: u128, byte| {
        let digit = byte.is_ascii_digit().then(|| u128::from(byte - b'0'))?;
        Some(number * 10 + digit).filter(|number| *number <= most.into())
    });
    number.and_then(|number| number.try_into().ok())
}
