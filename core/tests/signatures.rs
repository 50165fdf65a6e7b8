//! What a signature covers, and what it does not cover by its definition:
//! `sha1( sha1(text) ":" T ":" sha1(user ":" lower(key)) )`, where `text` is the headers without `Sig`, each as
//! `Name: value`, joined by line feeds and stripped, and `T` the integer in `Time`.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::OneRequest;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pyzord_core::{AccessOrder, HeaderBlock, Policy, Refusal, UnixTime, lines};
use sha1::{Digest as _, Sha1};

const NOW: i64 = 1_700_000_000;
const KEY: &[u8] = b"0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c";

type Field = (Vec<u8>, Vec<u8>);

fn policy() -> Policy {
    let key = String::from_utf8_lossy(KEY);
    // bob and eve have the same key, and anonymous has no rights: a reply 200 is to a request of bob or eve.
    let accounts = format!("bob : {key}\neve : {key}");
    Policy::parse(Some(accounts.as_bytes()), Some(b"ping : bob eve : allow"), AccessOrder::FirstMatch).0
}

fn answered_at(datagram: &[u8], now: UnixTime) -> Result<(), Option<Refusal>> {
    match OneRequest::accept(&policy(), datagram, now) {
        Ok(request) => request.refusal().map_or(Ok(()), |refusal| Err(Some(refusal))),
        Err(_) => Err(None),
    }
}

fn answered(datagram: &[u8]) -> bool {
    answered_at(datagram, UnixTime::from_seconds(NOW)).is_ok()
}

fn hex(hash: Sha1) -> Vec<u8> {
    hash.finalize().iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Returns the signed text.
fn text(fields: &[Field]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = fields.iter().map(|(name, value)| [name, &b": "[..], value].concat()).collect();
    let text = lines.join(&b'\n');
    let is_space = |byte: &u8| matches!(byte, 9..=13 | 28..=32);
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    text[..end].to_vec()
}

fn sign(fields: &[Field], time: i64, user: &[u8], key: &[u8]) -> Vec<u8> {
    let key = hex(Sha1::new().chain_update([user, b":", &key.to_ascii_lowercase()].concat()));
    let middle = format!(":{time}:");
    hex(Sha1::new()
        .chain_update(Sha1::digest(text(fields)))
        .chain_update(middle.as_bytes())
        .chain_update(key))
}

fn plain(fields: &[Field], signature: &[u8]) -> Vec<u8> {
    let field = |(name, value): &Field| [name, &b": "[..], value, b"\n"].concat();
    let fields: Vec<u8> = fields.iter().flat_map(field).collect();
    [&fields[..], b"Sig: ", signature, b"\n\n"].concat()
}

fn time_field(time: i64) -> Field {
    (b"Time".to_vec(), time.to_string().into_bytes())
}

/// Bytes that do not end a line.
fn value_byte() -> impl Strategy<Value = u8> {
    any::<u8>().prop_filter("break", |byte| !b"\r\n".contains(byte))
}

fn name_byte() -> impl Strategy<Value = u8> {
    (0x21..0x7f_u8).prop_filter("colon", |byte| *byte != b':')
}

/// A header that a server ignores, possibly folded.
fn extra() -> impl Strategy<Value = Field> {
    let line = || prop::collection::vec(value_byte(), 0..12);
    let name = prop::collection::vec(name_byte(), 0..6).prop_map(|name| [&b"X-"[..], &name].concat());
    (name, line(), prop::collection::vec(line(), 0..3)).prop_map(|(name, first, folds)| {
        let blanks = first.iter().take_while(|byte| b" \t".contains(byte)).count();
        let folds = folds.into_iter().flat_map(|fold| [b"\n ".to_vec(), fold].concat());
        (name, first[blanks..].iter().copied().chain(folds).collect())
    })
}

/// The headers of bob's ping, signed at [`NOW`], in any order, with other headers.
fn fields() -> impl Strategy<Value = Vec<Field>> {
    let time = select(vec![NOW.to_string(), format!("+{NOW}"), format!("0{NOW} ")]);
    (prop::collection::vec(extra(), 0..5), time)
        .prop_map(|(mut fields, time)| {
            let own = [("Op", "ping"), ("thread", "12345"), ("PV", "2.1"), ("USER", "bob"), ("Time", &time)];
            fields.extend(own.map(|(name, value)| (name.into(), value.trim_end().into())));
            fields
        })
        .prop_shuffle()
}

/// The parts of a written field that the signature does not cover.
fn dress() -> impl Strategy<Value = (&'static [u8], &'static [u8], &'static [u8])> {
    let before: Vec<&[u8]> = vec![b"", b"", b"From me\n", b": no name\n dropped\n"];
    let blanks: Vec<&[u8]> = vec![b"", b" ", b" \t  "];
    let ends: Vec<&[u8]> = vec![b"\n", b"\r\n", b"\n\n", b"\r", b"\r\n\n"];
    (select(before), select(blanks), select(ends))
}

/// A change of the signed headers.
#[derive(Clone, Debug)]
enum Change {
    Value(Index, Index, u8),
    ValueLonger(Index, Index, u8),
    ValueShorter(Index, Index),
    Name(Index, Index, u8),
    Remove(Index),
    Insert(Index, Field),
    Repeat(Index, Index),
    Swap(Index, Index),
}

impl Change {
    fn apply(self, fields: &mut Vec<Field>) {
        let count = fields.len();
        match self {
            Self::Value(field, at, byte) => {
                let value = &mut fields[field.index(count)].1;
                let at = at.index(value.len().max(1));
                value.splice(at..value.len().min(at + 1), [byte]);
            }
            Self::ValueLonger(field, at, byte) => {
                let value = &mut fields[field.index(count)].1;
                value.insert(at.index(value.len() + 1), byte);
            }
            Self::ValueShorter(field, at) => {
                let value = &mut fields[field.index(count)].1;
                if !value.is_empty() {
                    value.remove(at.index(value.len()));
                }
            }
            Self::Name(field, at, byte) => {
                let name = &mut fields[field.index(count)].0;
                let at = at.index(name.len());
                name[at] = byte;
            }
            Self::Remove(field) => drop(fields.remove(field.index(count))),
            Self::Insert(at, field) => fields.insert(at.index(count + 1), field),
            Self::Repeat(field, at) => fields.insert(at.index(count + 1), fields[field.index(count)].clone()),
            Self::Swap(one, other) => fields.swap(one.index(count), other.index(count)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        (index(), index(), value_byte()).prop_map(|(field, at, byte)| Change::Value(field, at, byte)),
        (index(), index(), value_byte()).prop_map(|(field, at, byte)| Change::ValueLonger(field, at, byte)),
        (index(), index()).prop_map(|(field, at)| Change::ValueShorter(field, at)),
        (index(), index(), name_byte()).prop_map(|(field, at, byte)| Change::Name(field, at, byte)),
        index().prop_map(Change::Remove),
        (index(), extra()).prop_map(|(at, field)| Change::Insert(at, field)),
        (index(), index()).prop_map(|(field, at)| Change::Repeat(field, at)),
        (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
    ]
}

/// Reads a datagram as a server does: the headers without `Sig`, with their lines joined by line feeds, and the first
/// `Sig`.
fn read(datagram: &[u8]) -> (Vec<Field>, Option<&[u8]>) {
    let (signatures, others): (Vec<_>, Vec<_>) =
        HeaderBlock::new(datagram).iter().partition(|header| header.is("Sig"));
    let joined = |value| lines(value).collect::<Vec<_>>().join(&b'\n');
    let fields = others.iter().map(|header| (header.name.to_vec(), joined(header.value))).collect();
    (fields, signatures.first().map(|header| header.value))
}

proptest! {
    /// The signature does not cover line breaks, blanks before a value, white space at the end of the text, skipped
    /// lines, the text after the headers, and `Sig` itself: its position, its case, a second one.
    #[test]
    fn an_unchanged_request_is_accepted_in_any_notation(
        fields in fields(),
        dresses in prop::collection::vec(dress(), 12),
        (place, again) in any::<(Index, Index)>(),
        sig in select(vec!["Sig", "SIG", "sig"]),
        upper in any::<bool>(),
        blank_end in prop::collection::vec(select(b" \t\x0b\x0c\x1c\x1f".to_vec()), 0..3),
        junk: Vec<u8>,
    ) {
        let key = if upper { KEY.to_ascii_uppercase() } else { KEY.to_vec() };
        let signature = sign(&fields, NOW, b"bob", &key);
        let mut written = fields;
        if let Some((name, value)) = written.last_mut() && name.starts_with(b"X-") && !value.is_empty() {
            value.extend(blank_end);
        }
        let place = place.index(written.len() + 1);
        written.insert(place, (sig.into(), signature));
        written.insert(place + 1 + again.index(written.len() - place), (b"Sig".to_vec(), b"another".to_vec()));
        let mut datagram = Vec::new();
        for ((name, value), (before, blanks, end)) in written.iter().zip(dresses) {
            datagram.extend([before, name, b":", blanks, value, end].concat());
        }
        datagram.extend(b"\r\n");
        datagram.extend(junk);
        prop_assert!(answered(&datagram), "{}", datagram.escape_ascii());
    }

    #[test]
    fn a_change_of_a_name_a_value_or_the_order_is_refused(fields in fields(), change in change()) {
        let signature = sign(&fields, NOW, b"bob", KEY);
        prop_assert!(answered(&plain(&fields, &signature)));
        let mut changed = fields.clone();
        change.apply(&mut changed);
        prop_assume!(text(&changed) != text(&fields));
        let datagram = plain(&changed, &signature);
        // A blank at the beginning of a value is not part of the value.
        prop_assume!(text(&read(&datagram).0) != text(&fields));
        prop_assert!(!answered(&datagram), "{}", datagram.escape_ascii());
    }

    /// A request with any changed byte is accepted only if its signature and the headers that the server reads are
    /// unchanged.
    #[test]
    fn a_change_of_any_byte_is_refused_unless_the_headers_are_equal(
        fields in fields(),
        at: Index,
        removed in 0..3_usize,
        inserted in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3),
            prop::collection::vec(select(b" \t\r\n:".to_vec()), 0..3),
        ],
    ) {
        let signature = sign(&fields, NOW, b"bob", KEY);
        let mut datagram = plain(&fields, &signature);
        let at = at.index(datagram.len());
        datagram.splice(at..datagram.len().min(at + removed), inserted);
        let (read, found) = read(&datagram);
        let same = text(&read) == text(&fields) && found == Some(&signature[..]);
        if !same {
            prop_assert!(!answered(&datagram), "{}", datagram.escape_ascii());
        } else if read == fields {
            prop_assert!(answered(&datagram), "{}", datagram.escape_ascii());
        }
    }

    #[test]
    fn a_signature_is_valid_only_for_its_user_key_and_time(
        fields in fields(),
        key in "[0-9a-f]{1,40}",
        digit in 0..40_usize,
        time in any::<i64>().prop_filter("another", |time| *time != NOW),
    ) {
        prop_assume!(key.as_bytes() != KEY);
        let signature = sign(&fields, NOW, b"bob", KEY);
        let mut other_digit = signature.clone();
        other_digit[digit] = if other_digit[digit] == b'0' { b'1' } else { b'0' };
        for forged in [
            sign(&fields, NOW, b"bob", key.as_bytes()),
            sign(&fields, NOW, b"eve", KEY),
            sign(&fields, time, b"bob", KEY),
            other_digit,
            signature[..digit].to_vec(),
            [&signature[..], b"0"].concat(),
            signature.to_ascii_uppercase(),
        ] {
            prop_assert!(forged == signature || !answered(&plain(&fields, &forged)));
        }
    }

    /// The time window limits the replay of correctly signed requests.
    #[test]
    fn a_request_is_valid_for_300_seconds_before_and_after_its_time(
        now in prop_oneof![any::<i64>().prop_map(UnixTime::from_micros), (NOW - 400..NOW + 400).prop_map(UnixTime::from_seconds)],
        time in prop_oneof![any::<i64>(), NOW - 400..NOW + 400],
        near in prop::option::of(-301..=301_i64),
    ) {
        let time = near.map_or(time, |offset| now.seconds() + offset);
        let mut fields: Vec<Field> =
            [("Op", "ping"), ("PV", "2.1"), ("User", "bob")].map(|(name, value)| (name.into(), value.into())).into();
        fields.push(time_field(time));
        let datagram = plain(&fields, &sign(&fields, time, b"bob", KEY));
        let valid = (i128::from(now.micros()) - i128::from(time) * 1_000_000).abs() <= 300_000_000;
        prop_assert_eq!(answered_at(&datagram, now).is_ok(), valid);
    }
}
