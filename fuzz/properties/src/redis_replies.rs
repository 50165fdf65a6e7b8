use pyzord_engines::redis::resp::{Malformed, Replies, Reply};
use redis::{Parser, Value};

/// The largest size of the replies: some inputs exceed it.
const MOST: usize = 2000;

/// How far the replies were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Complete,
    Incomplete,
    Malformed(Malformed),
}

/// Replies are read as the redis client reads them, or refused, and in pieces as in one.
///
/// The input is the number of replies, a number from which the lengths of the pieces follow, and the bytes of the
/// server.
pub fn redis_replies(data: &[u8]) {
    let Some((&[expected, pieces], bytes)) = data.split_first_chunk() else { return };
    let expected = usize::from(expected % 16);
    let (whole, end) = read(expected, bytes, |_| usize::MAX);
    let mut state = usize::from(pieces);
    let mut length = |left| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 8) % left
    };
    let (parts, end_of_parts) = read(expected, bytes, |left| length(left.min(1 + usize::from(pieces))));
    assert_eq!(end, end_of_parts);
    assert_eq!(values(&whole), values(&parts));
    assert_eq!(whole.iter().len() == expected, end == End::Complete);
    agrees_with_the_client(&whole, end, bytes);
}

/// Reads bytes that arrive in pieces; `piece` returns the longest next one of so many bytes.
fn read(expected: usize, mut bytes: &[u8], mut piece: impl FnMut(usize) -> usize) -> (Replies, End) {
    let mut replies = Replies::default();
    replies.begin(expected, MOST);
    let end = loop {
        if replies.are_complete() {
            break End::Complete;
        }
        let room = match replies.room() {
            Ok(room) => room,
            Err(why) => break End::Malformed(why),
        };
        assert!(!room.is_empty() && room.len() <= MOST);
        if bytes.is_empty() {
            break End::Incomplete;
        }
        let length = piece(bytes.len()).min(bytes.len()).min(room.len());
        let (now, later) = bytes.split_at(length);
        room.get_mut(..length).unwrap().copy_from_slice(now);
        bytes = later;
        if let Err(why) = replies.arrived(length) {
            break End::Malformed(why);
        }
    };
    (replies, end)
}

/// Compares the replies with those that the client's parser reads from the same bytes.
fn agrees_with_the_client(replies: &Replies, end: End, mut bytes: &[u8]) {
    let mut parser = Parser::new();
    for reply in replies.iter() {
        match parser.parse_value(&mut bytes) {
            Ok(value) => assert_eq!(value, self::value(reply)),
            // It refuses lines that are no UTF-8. An error of a script may have any bytes.
            Err(error) => return assert!(has_other_line(reply), "{error}"),
        }
    }
    if end == End::Incomplete {
        assert!(parser.parse_value(&mut bytes).is_err(), "the client has read a reply more");
    }
}

fn values(replies: &Replies) -> Vec<Value> {
    replies.iter().map(value).collect()
}

/// Returns a reply as the client has it.
fn value(reply: Reply<'_>) -> Value {
    let text = |line| String::from_utf8_lossy(line).into_owned();
    match reply {
        Reply::Status(b"OK") => Value::Okay,
        Reply::Status(line) => Value::SimpleString(text(line)),
        Reply::Error(line) => redis::parse_redis_value(format!("-{}\r\n", text(line)).as_bytes()).unwrap(),
        Reply::Number(number) => Value::Int(number),
        Reply::Text(text) => Value::BulkString(text.to_vec()),
        Reply::Nil => Value::Nil,
        Reply::Array(elements) => {
            assert_eq!(elements.len(), elements.iter().count());
            Value::Array(elements.iter().map(value).collect())
        }
    }
}

/// Returns whether a line of a reply is no UTF-8.
fn has_other_line(reply: Reply<'_>) -> bool {
    match reply {
        Reply::Status(line) | Reply::Error(line) => str::from_utf8(line).is_err(),
        Reply::Array(elements) => elements.iter().any(has_other_line),
        Reply::Number(_) | Reply::Text(_) | Reply::Nil => false,
    }
}
