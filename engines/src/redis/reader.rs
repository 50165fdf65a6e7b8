//! Reads replies in redis's wire format, within limits that hold for any bytes.

use std::io::{self, Read};

use ::redis::Value;

use crate::wire::{Stream, TLS_RECORDS, TooLarge};

/// How deep arrays are nested at most: a page of a scan is an array in an array.
const DEPTH: usize = 4;
/// The largest number of elements of all arrays of one reply.
const MOST_ELEMENTS: usize = 100_000;
/// The longest line: a status, an error or a number.
const LONGEST_LINE: usize = 64 << 10;
/// How many bytes one read takes at most.
const CHUNK: usize = 16 << 10;
/// A buffer that grew beyond this is not kept for the next exchange.
const KEPT: usize = 256 << 10;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server does not speak redis's protocol")]
    Protocol,
    #[error("the server speaks TLS: the DSN must be a URL that begins with rediss://")]
    Tls,
}

/// The bytes that have arrived and are not read yet.
#[derive(Debug, Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    position: usize,
}

impl Reader {
    /// Reads one reply. Takes memory for what has arrived, never for what is announced.
    pub(super) fn reply(&mut self, stream: &mut Stream) -> Result<Value, ReadError> {
        let mut elements = MOST_ELEMENTS;
        self.value(stream, DEPTH, &mut elements)
    }

    /// Ends an exchange. Returns whether all bytes that have arrived belonged to it.
    pub(super) fn finish(&mut self) -> bool {
        let all = self.position == self.bytes.len();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.position = 0;
        all
    }

    fn value(&mut self, stream: &mut Stream, depth: usize, elements: &mut usize) -> Result<Value, ReadError> {
        let line = self.line(stream)?;
        let (kind, rest) = line.split_first().ok_or(ReadError::Protocol)?;
        match kind {
            b'+' if rest == b"OK" => Ok(Value::Okay),
            b'+' => Ok(Value::SimpleString(String::from_utf8_lossy(rest).into_owned())),
            b'-' => error(&line),
            b':' => Ok(Value::Int(number(rest)?)),
            b'$' => match usize::try_from(number(rest)?) {
                Ok(length) => self.text(stream, length),
                Err(_) => Ok(Value::Nil),
            },
            b'*' => {
                let Ok(length) = usize::try_from(number(rest)?) else { return Ok(Value::Nil) };
                *elements = elements.checked_sub(length).ok_or_else(too_large)?;
                let depth = depth.checked_sub(1).ok_or_else(too_large)?;
                (0..length)
                    .map(|_| self.value(stream, depth, elements))
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
            }
            _ => Err(ReadError::Protocol),
        }
    }

    fn text(&mut self, stream: &mut Stream, length: usize) -> Result<Value, ReadError> {
        let end = length.checked_add(2).ok_or_else(too_large)?;
        let arrived = self.bytes.len() - self.position;
        if end > arrived.saturating_add(stream.socket().left()) {
            return Err(too_large());
        }
        while self.bytes.len() - self.position < end {
            self.fill(stream)?;
        }
        let bytes = self.bytes.get(self.position..self.position + end).unwrap_or_default();
        let text = bytes.strip_suffix(b"\r\n").ok_or(ReadError::Protocol)?.to_vec();
        self.position += end;
        Ok(Value::BulkString(text))
    }

    /// Reads up to the end of the line, which is not returned.
    fn line(&mut self, stream: &mut Stream) -> Result<Vec<u8>, ReadError> {
        let mut searched = self.position;
        loop {
            let bytes = self.bytes.get(searched..).unwrap_or_default();
            if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                let end = searched + end;
                let line = self.bytes.get(self.position..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").ok_or(ReadError::Protocol)?.to_vec();
                self.position = end + 1;
                return Ok(line);
            }
            // Before the end of a line, which such a server may never send.
            if self.bytes.get(self.position).is_some_and(|kind| TLS_RECORDS.contains(kind)) {
                return Err(ReadError::Tls);
            }
            searched = self.bytes.len();
            if searched - self.position > LONGEST_LINE {
                return Err(too_large());
            }
            self.fill(stream)?;
        }
    }

    fn fill(&mut self, stream: &mut Stream) -> Result<(), ReadError> {
        let filled = self.bytes.len();
        self.bytes.resize(filled + CHUNK, 0);
        let read = stream.read(self.bytes.get_mut(filled..).unwrap_or_default());
        self.bytes.truncate(filled + read.as_ref().copied().unwrap_or_default());
        match read? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

/// Returns the error that a line of the server tells.
fn error(line: &[u8]) -> Result<Value, ReadError> {
    let text = String::from_utf8_lossy(line);
    ::redis::parse_redis_value(format!("{text}\r\n").as_bytes()).map_err(|_| ReadError::Protocol)
}

fn number(digits: &[u8]) -> Result<i64, ReadError> {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(ReadError::Protocol)
}

fn too_large() -> ReadError {
    io::Error::other(TooLarge).into()
}
