//! Commands in redis's wire format, in one buffer that is reused.

use sha1::{Digest as _, Sha1};

use crate::codec::number::{digits, push_number};

/// Commands that are sent together. The server answers each with one reply.
#[derive(Debug, Default)]
pub(super) struct Request {
    bytes: Vec<u8>,
    replies: usize,
    /// The request has the text of a script.
    scripted: bool,
    /// Every call of a script has its text.
    spelled: bool,
}

impl Request {
    /// Removes the commands, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.replies, self.scripted, self.spelled) = (0, false, false);
    }

    /// Gives every call of a script its text, for a server that does not know its hash.
    pub(super) fn spell_scripts(&mut self, spelled: bool) {
        self.spelled = spelled;
    }

    /// Returns the bytes to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many replies the server sends.
    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    /// Adds a command: an array of binary-safe strings.
    pub(super) fn command(&mut self, parts: &[&[u8]]) {
        self.head(parts.len());
        parts.iter().for_each(|part| self.part(part));
    }

    /// Adds a call of a script on one key, or on two.
    ///
    /// The first call of a request has the script's text, from which the server learns the script; the others
    /// have its hash. So no request depends on what the server knew before. All calls of a request must be of
    /// one script.
    pub(super) fn script(&mut self, script: &Script, key: &[u8], second: Option<&[u8]>, arguments: &[&[u8]]) {
        self.head(4 + usize::from(second.is_some()) + arguments.len());
        if self.scripted && !self.spelled {
            self.command_name(b"EVALSHA", &script.name);
        } else {
            self.command_name(b"EVAL", script.text.as_bytes());
        }
        self.scripted = true;
        self.part(if second.is_some() { b"2" } else { b"1" });
        self.part(key);
        second.into_iter().for_each(|second| self.part(second));
        arguments.iter().for_each(|argument| self.part(argument));
    }

    fn command_name(&mut self, name: &[u8], script: &[u8]) {
        self.part(name);
        self.part(script);
    }

    fn head(&mut self, parts: usize) {
        self.replies += 1;
        self.length(b'*', parts);
    }

    fn part(&mut self, part: &[u8]) {
        self.length(b'$', part.len());
        self.bytes.extend_from_slice(part);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn length(&mut self, kind: u8, length: usize) {
        // Nearly all are short, and each command has a dozen.
        match u8::try_from(length) {
            Ok(length @ 0..10) => self.bytes.extend_from_slice(&[kind, b'0' + length, b'\r', b'\n']),
            Ok(length @ 10..100) => {
                let [tens, ones] = digits(length);
                self.bytes.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => {
                self.bytes.push(kind);
                push_number(length as u64, &mut self.bytes);
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// A script that the server runs as one step, so that no client reads a record that is half changed.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    /// The SHA-1 of its text in hex, which names it for the server.
    name: [u8; 40],
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        let hash = Sha1::digest(text.as_bytes());
        Self { text, name: pyzord_core::Digest::new(hash.into()).hex() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_packed_one_behind_the_other() {
        let mut request = Request::default();
        request.command(&[b"GET", b"0123456789"]);
        request.command(&[b"SET", b"k", b"\r\n\0"]);
        assert_eq!(request.replies(), 2);
        let expected =
            "*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\r\n\0\r\n";
        assert_eq!(request.bytes(), expected.as_bytes());
        request.clear();
        assert_eq!((request.bytes(), request.replies()), (&b""[..], 0));
    }

    #[test]
    fn lengths_of_any_size_are_decimal_numbers() {
        for length in [0, 9, 10, 99, 100, 255, 256, 12_345] {
            let text = vec![b'x'; length];
            let mut request = Request::default();
            request.command(&[&text]);
            let expected = [format!("*1\r\n${length}\r\n").as_bytes(), &text, b"\r\n"].concat();
            assert_eq!(request.bytes(), expected);
        }
    }

    #[test]
    fn a_script_is_sent_once_and_then_named() {
        let script = Script::new("return 1");
        let mut request = Request::default();
        request.script(&script, b"key", None, &[b"r"]);
        request.script(&script, b"key", Some(b"mark"), &[b"wl"]);
        let expected = "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$1\r\nr\r\n\
            *6\r\n$7\r\nEVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n$1\r\n2\r\n$3\r\nkey\r\n\
            $4\r\nmark\r\n$2\r\nwl\r\n";
        assert_eq!(str::from_utf8(request.bytes()), Ok(expected));
        assert_eq!(request.replies(), 2);
    }
}
