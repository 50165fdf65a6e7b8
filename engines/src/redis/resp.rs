//! Redis's wire format, RESP 2: replies that are read where they have arrived.
//!
//! [`Replies`] keeps the bytes of the replies to one request, and where each value is in them. No value is copied, and
//! nothing is allocated once its two buffers are as large as the usual replies. Its limits hold for any bytes: they
//! take memory for what has arrived, never for what is announced.
//!
//! ```
//! use pyzord_engines::redis::resp::{Replies, Reply};
//!
//! let mut replies = Replies::default();
//! replies.begin(2, 1024);
//! for bytes in [&b"*2\r\n$1\r\n5\r\n$-"[..], b"1\r\n:7\r\n"] {
//!     assert!(!replies.are_complete());
//!     let room = replies.room()?;
//!     room[..bytes.len()].copy_from_slice(bytes);
//!     replies.arrived(bytes.len())?;
//! }
//! assert!(replies.are_complete() && !replies.have_surplus());
//! let mut replies = replies.iter();
//! let Some(Reply::Array(fields)) = replies.next() else { panic!() };
//! assert!(matches!(fields.iter().collect::<Vec<_>>()[..], [Reply::Text(b"5"), Reply::Nil]));
//! assert!(matches!(replies.next(), Some(Reply::Number(7))));
//! # Ok::<(), pyzord_engines::redis::resp::Malformed>(())
//! ```

use std::fmt;

use crate::wire::TLS_RECORDS;

/// How deep arrays are nested at most: a map of a cluster's slots has arrays of slots, nodes and their names.
const DEPTH: usize = 4;
/// The largest number of elements of all arrays of an exchange. A map of a cluster whose 16384 slots are all apart has
/// 250,000.
const MOST_ELEMENTS: usize = 300_000;
/// The longest line: a status, an error or a number.
const LONGEST_LINE: usize = 64 << 10;
/// How many bytes the buffer has at least, and how many of them are offered to a read at least.
const SMALLEST: usize = 16 << 10;
const LEAST_ROOM: usize = 4 << 10;
/// Buffers that grew beyond this many bytes and values are not kept for the next exchange.
const KEPT: usize = 256 << 10;
const KEPT_VALUES: usize = 8 << 10;

/// One reply, or one element of an array.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// A line such as `OK`.
    Status(&'a [u8]),
    /// A line that begins with the error's code.
    Error(&'a [u8]),
    /// A number.
    Number(i64),
    /// A text of any bytes.
    Text(&'a [u8]),
    /// A text or an array that does not exist.
    Nil,
    /// An array of any values.
    Array(Elements<'a>),
}

/// Why bytes are not replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// They are of another protocol.
    #[error("the server does not speak redis's protocol")]
    Protocol,
    /// They are a record of TLS.
    #[error("the server speaks TLS: the DSN must be a URL that begins with rediss://")]
    Tls,
    /// They are more, or nested deeper, than any reply that is asked for.
    #[error("the server's reply is too large")]
    TooLarge,
}

/// The replies to one request, as far as they have arrived.
#[derive(Default)]
pub struct Replies {
    /// Those after `filled` are left from earlier exchanges, or zero.
    bytes: Vec<u8>,
    filled: usize,
    /// The most bytes of this exchange.
    most: usize,
    /// Where the next value begins.
    position: usize,
    /// Up to where the end of its line was looked for.
    searched: usize,
    /// All values in the order of their bytes: an array, then its elements.
    values: Vec<Value>,
    /// The arrays whose elements have not all arrived, the outermost first.
    open: Vec<Open>,
    /// How many more elements the arrays of this exchange may have.
    elements: usize,
    expected: usize,
    /// The complete replies, and the length of `values` at the end of the last of them.
    complete: usize,
    complete_values: usize,
}

/// A value, by its place in the bytes.
#[derive(Clone, Copy)]
enum Value {
    Status(Span),
    Error(Span),
    Number(i64),
    Text(Span),
    Nil,
    /// An array of `length` elements. With the elements of these it has `size` values, which follow it.
    Array {
        length: usize,
        size: usize,
    },
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

/// An array whose elements have not all arrived.
struct Open {
    /// Its index in the values.
    value: usize,
    /// How many elements are missing.
    missing: usize,
}

impl Replies {
    /// Begins an exchange: forgets all earlier replies, and expects as many replies in at most `most` bytes.
    pub fn begin(&mut self, expected: usize, most: usize) {
        self.bytes.truncate(KEPT);
        self.bytes.shrink_to(KEPT);
        self.values.clear();
        self.values.shrink_to(KEPT_VALUES);
        self.open.clear();
        (self.expected, self.most, self.elements) = (expected, most, MOST_ELEMENTS);
        (self.filled, self.position, self.searched) = (0, 0, 0);
        (self.complete, self.complete_values) = (0, 0);
    }

    /// Returns room for the bytes that arrive next, which is never empty.
    ///
    /// # Errors
    /// If the exchange has all the bytes that it may have.
    pub fn room(&mut self) -> Result<&mut [u8], Malformed> {
        if self.bytes.len() - self.filled < LEAST_ROOM {
            self.bytes.resize((2 * self.bytes.len()).max(SMALLEST), 0);
        }
        let end = self.bytes.len().min(self.most);
        self.bytes.get_mut(self.filled..end).filter(|room| !room.is_empty()).ok_or(Malformed::TooLarge)
    }

    /// Reads the replies in the first `length` bytes of the [room](Self::room), in which they have arrived.
    ///
    /// # Errors
    /// If these are not replies. Those before stay readable; what arrives later cannot be read.
    pub fn arrived(&mut self, length: usize) -> Result<(), Malformed> {
        self.filled = self.filled.saturating_add(length).min(self.bytes.len());
        while !self.are_complete() {
            let Some(value) = self.value()? else { break };
            self.push(value);
        }
        Ok(())
    }

    /// Returns whether all expected replies have arrived.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.complete == self.expected
    }

    /// Returns whether more bytes have arrived than the expected replies have.
    #[must_use]
    pub fn have_surplus(&self) -> bool {
        self.are_complete() && self.position < self.filled
    }

    /// Returns the complete replies in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reply<'_>> + use<'_> {
        let values = self.values.get(..self.complete_values).unwrap_or_default();
        Elements { bytes: &self.bytes, values, length: self.complete }.iter()
    }

    /// Returns the first reply.
    #[must_use]
    pub fn first(&self) -> Option<Reply<'_>> {
        self.iter().next()
    }

    /// Reads the next value, an array without its elements; `None` if it has not arrived.
    fn value(&mut self) -> Result<Option<Value>, Malformed> {
        let Some((kind, line)) = self.line()? else { return Ok(None) };
        let mut next = line.end + 2;
        let value = match kind {
            b'+' => Value::Status(line),
            b'-' => Value::Error(line),
            b':' => Value::Number(self.number(line)?),
            b'$' => match usize::try_from(self.number(line)?) {
                Err(_) => Value::Nil,
                Ok(length) => {
                    let text = Span { start: next, end: next.saturating_add(length) };
                    next = text.end.saturating_add(2);
                    if next > self.most {
                        return Err(Malformed::TooLarge);
                    }
                    match self.bytes.get(text.end..next.min(self.filled)) {
                        Some(b"\r\n") => Value::Text(text),
                        Some(b"" | b"\r") | None => return Ok(None),
                        Some(_) => return Err(Malformed::Protocol),
                    }
                }
            },
            _ => match usize::try_from(self.number(line)?) {
                Err(_) => Value::Nil,
                Ok(length) => {
                    let elements = self.elements.checked_sub(length).filter(|_| self.open.len() < DEPTH);
                    self.elements = elements.ok_or(Malformed::TooLarge)?;
                    Value::Array { length, size: 0 }
                }
            },
        };
        self.position = next;
        Ok(Some(value))
    }

    /// Finds the next line; returns its first byte, and where the others are without the end of the line.
    fn line(&mut self) -> Result<Option<(u8, Span)>, Malformed> {
        let Some((kind, _)) = self.between(self.position, self.filled).split_first() else { return Ok(None) };
        // Before the end of a line, which a server that speaks anything else may never send.
        match *kind {
            b'+' | b'-' | b':' | b'$' | b'*' => (),
            kind if TLS_RECORDS.contains(&kind) => return Err(Malformed::Tls),
            _ => return Err(Malformed::Protocol),
        }
        let from = self.searched.max(self.position);
        let end = self.between(from, self.filled).iter().position(|byte| *byte == b'\n');
        let length = end.map_or(self.filled, |end| from + end) - self.position;
        if length > LONGEST_LINE {
            return Err(Malformed::TooLarge);
        }
        if end.is_none() {
            self.searched = self.filled;
            return Ok(None);
        }
        let line = Span { start: self.position + 1, end: (self.position + length).saturating_sub(1) };
        match self.between(line.end, line.end + 1) {
            b"\r" if line.start <= line.end => Ok(Some((*kind, line))),
            _ => Err(Malformed::Protocol),
        }
    }

    /// Appends a value, and closes the arrays of which it is the last.
    fn push(&mut self, value: Value) {
        self.values.push(value);
        if let Value::Array { length: missing @ 1.., .. } = value {
            return self.open.push(Open { value: self.values.len() - 1, missing });
        }
        while let Some(array) = self.open.last_mut() {
            array.missing -= 1;
            if array.missing > 0 {
                return;
            }
            let following = self.values.len() - array.value - 1;
            if let Some(Value::Array { size, .. }) = self.values.get_mut(array.value) {
                *size = following;
            }
            self.open.pop();
        }
        self.complete += 1;
        self.complete_values = self.values.len();
    }

    fn between(&self, start: usize, end: usize) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn number(&self, line: Span) -> Result<i64, Malformed> {
        number(self.between(line.start, line.end)).ok_or(Malformed::Protocol)
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The elements of an array.
#[derive(Clone, Copy)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    /// The elements, each followed by its own.
    values: &'a [Value],
    length: usize,
}

impl<'a> Elements<'a> {
    /// Returns the number of elements.
    #[must_use]
    pub fn len(self) -> usize {
        self.length
    }

    /// Returns whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Returns the elements in their order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Reply<'a>> + use<'a> {
        Iter(self)
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

struct Iter<'a>(Elements<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        let Elements { bytes, values, length } = &mut self.0;
        let (value, mut rest) = values.split_first()?;
        let text = |span: &Span| bytes.get(span.start..span.end).unwrap_or_default();
        let reply = match value {
            Value::Status(line) => Reply::Status(text(line)),
            Value::Error(line) => Reply::Error(text(line)),
            Value::Number(number) => Reply::Number(*number),
            Value::Text(span) => Reply::Text(text(span)),
            Value::Nil => Reply::Nil,
            Value::Array { length, size } => {
                let (values, after) = rest.split_at_checked(*size)?;
                rest = after;
                Reply::Array(Elements { bytes, values, length: *length })
            }
        };
        *values = rest;
        *length = length.saturating_sub(1);
        Some(reply)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.length, Some(self.0.length))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Parses a decimal number.
fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    // Counts down, as the smallest number has no positive counterpart.
    let value = digits.iter().try_fold(0_i64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_sub(digit)
    })?;
    if digits.is_empty() {
        None
    } else if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one reply of bytes that arrive in pieces of this length.
    fn read(bytes: &[u8], piece: usize) -> Result<String, Malformed> {
        let mut replies = Replies::default();
        replies.begin(1, 100_000);
        for piece in bytes.chunks(piece) {
            replies.room()?[..piece.len()].copy_from_slice(piece);
            replies.arrived(piece.len())?;
        }
        Ok(match replies.first() {
            None => "incomplete".into(),
            Some(_) if replies.have_surplus() => "surplus".into(),
            Some(reply) => text(reply),
        })
    }

    fn text(reply: Reply<'_>) -> String {
        match reply {
            Reply::Status(line) => format!("+{}", line.escape_ascii()),
            Reply::Error(line) => format!("-{}", line.escape_ascii()),
            Reply::Number(number) => number.to_string(),
            Reply::Text(text) => format!("'{}'", text.escape_ascii()),
            Reply::Nil => "nil".into(),
            Reply::Array(elements) => {
                assert_eq!(elements.len(), elements.iter().count());
                format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn each_kind_of_reply_is_read_in_pieces_of_any_length() {
        let long = [b"+", &[b'x'; LONGEST_LINE][..], b"\r\n"].concat();
        let table: &[(&[u8], Result<&str, Malformed>)] = &[
            (b"+OK\r\n", Ok("+OK")),
            (b"+\r\n", Ok("+")),
            (b"-ERR a\rb\r\n", Ok("-ERR a\\rb")),
            (b":0\r\n", Ok("0")),
            (b":-9223372036854775808\r\n", Ok("-9223372036854775808")),
            (b":9223372036854775807\r\n", Ok("9223372036854775807")),
            (b"$5\r\n\r\n+a\0\r\n", Ok("'\\r\\n+a\\x00'")),
            (b"$0\r\n\r\n", Ok("''")),
            (b"$-1\r\n", Ok("nil")),
            (b"*-1\r\n", Ok("nil")),
            (b"*0\r\n", Ok("[]")),
            (b"*3\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n*1\r\n*1\r\n*1\r\n-E\r\n", Ok("[[1 []] 'x' [[[-E]]]]")),
            (b"*2\r\n:1\r\n", Ok("incomplete")),
            (b"$3\r\nab", Ok("incomplete")),
            (b"$3\r\nabc\r", Ok("incomplete")),
            (b"+OK", Ok("incomplete")),
            (b"", Ok("incomplete")),
            (b":1\r\n:", Ok("surplus")),
            (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", Err(Malformed::TooLarge)),
            (b"*300001\r\n", Err(Malformed::TooLarge)),
            (b"*2\r\n*200000\r\n", Ok("incomplete")),
            (b"*2\r\n*299999\r\n", Err(Malformed::TooLarge)),
            (b"$99991\r\n", Err(Malformed::TooLarge)),
            (b"$99990\r\n", Ok("incomplete")),
            (b"$9223372036854775807\r\n", Err(Malformed::TooLarge)),
            (&long, Err(Malformed::TooLarge)),
            (b"$4\r\nabc\r\n", Err(Malformed::Protocol)),
            (b"$2\r\nabc\r\n", Err(Malformed::Protocol)),
            (b"+OK\n", Err(Malformed::Protocol)),
            (b"+\n", Err(Malformed::Protocol)),
            (b":\r\n", Err(Malformed::Protocol)),
            (b":-\r\n", Err(Malformed::Protocol)),
            (b":+1\r\n", Err(Malformed::Protocol)),
            (b": 1\r\n", Err(Malformed::Protocol)),
            (b":9223372036854775808\r\n", Err(Malformed::Protocol)),
            (b"$x\r\n", Err(Malformed::Protocol)),
            (b"%1\r\n", Err(Malformed::Protocol)),
            (b"\r\n", Err(Malformed::Protocol)),
            (b"\x15\x03", Err(Malformed::Tls)),
        ];
        for (bytes, expected) in table {
            for piece in [1, 2, 3, 7, 4096] {
                let read = read(bytes, piece);
                let expected = expected.map(str::to_owned);
                assert_eq!(read, expected, "{} in pieces of {piece}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn replies_before_a_failure_stay_readable() {
        let mut replies = Replies::default();
        replies.begin(4, 1000);
        let bytes = b":1\r\n*1\r\n:2\r\n*2\r\n:3\r\n!";
        replies.room().unwrap()[..bytes.len()].copy_from_slice(bytes);
        assert_eq!(replies.arrived(bytes.len()), Err(Malformed::Protocol));
        assert_eq!(replies.iter().map(text).collect::<Vec<_>>(), ["1", "[2]"]);
        assert_eq!(replies.iter().len(), 2);
        replies.begin(1, 1000);
        assert_eq!(replies.iter().len(), 0, "the replies of another exchange");
    }

    #[test]
    fn memory_is_taken_for_what_arrives_and_not_kept_if_it_is_much() {
        let mut replies = Replies::default();
        replies.begin(1, 10_000_000);
        let head = b"*2\r\n$9000000\r\n";
        replies.room().unwrap()[..head.len()].copy_from_slice(head);
        replies.arrived(head.len()).unwrap();
        assert!(replies.bytes.capacity() <= SMALLEST, "{}", replies.bytes.capacity());
        while let Ok(room) = replies.room() {
            let length = room.len();
            room.fill(b'x');
            if replies.arrived(length).is_err() {
                break;
            }
            assert!(replies.bytes.capacity() <= 2 * (replies.filled + SMALLEST));
        }
        assert_eq!(replies.iter().len(), 0);
        replies.begin(1, 1000);
        assert!(replies.bytes.capacity() <= KEPT);
    }

    #[test]
    fn an_exchange_has_a_largest_size() {
        let mut replies = Replies::default();
        replies.begin(3, 10);
        assert_eq!(replies.room().unwrap().len(), 10);
        replies.room().unwrap().copy_from_slice(b":1\r\n:2\r\n:3");
        replies.arrived(10).unwrap();
        assert_eq!(replies.iter().len(), 2);
        assert_eq!(replies.room().err(), Some(Malformed::TooLarge));
    }
}
