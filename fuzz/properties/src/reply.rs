use arbitrary::{Arbitrary, Unstructured};
use pyzord_core::{MAX_REQUEST, Policy, Record, StoreAnswer, StoreError, Tally, UnixTime, lines};

use crate::one_request::{OneRequest, forgetful_server};
use crate::peer::header_value;
use crate::record;

const DIGEST: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    operation: Asked,
    fault: Option<bool>,
    thread: Option<&'a [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Arbitrary, Debug)]
enum Asked {
    Check,
    Info,
    Report,
}

/// A reply has exactly the fields of its operation, in the order of the protocol.
pub fn reply(data: &[u8]) {
    let mut source = Unstructured::new(data);
    let Ok(record) = record::record(&mut source) else { return };
    let Ok(input) = Input::arbitrary_take_rest(source) else { return };
    let answer = match input.fault {
        None => Ok(record),
        Some(true) => Err(StoreError::Unavailable),
        Some(false) => Err(StoreError::Unreadable),
    };
    let thread = input.thread.map(header_value);
    let datagram = input.datagram(thread.as_deref());
    let server = &forgetful_server(Policy::default());
    let request = OneRequest::accept(server, &datagram, UnixTime::from_seconds(0)).expect("a request is answered");
    if request.calls().is_empty() {
        return assert!(datagram.len() > MAX_REQUEST, "{}", datagram.escape_ascii());
    }
    let (reply, _) = request.resolve(&[answer]);
    let expected = input.expected(thread.as_deref(), answer);
    assert_eq!(reply.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

impl Input<'_> {
    fn datagram(&self, thread: Option<&[u8]>) -> Vec<u8> {
        let op = match self.operation {
            Asked::Check => "check",
            Asked::Info => "info",
            Asked::Report => "report",
        };
        let thread = thread.map_or_else(Vec::new, |thread| [b"Thread: ", thread, b"\n"].concat());
        [format!("Op: {op}\nOp-Digest: {DIGEST}\nPV: 2.1\n").as_bytes(), &thread].concat()
    }

    fn expected(&self, thread: Option<&[u8]>, answer: StoreAnswer) -> Vec<u8> {
        let (code, diag) = match answer {
            Ok(_) => (200, "OK"),
            Err(StoreError::Unreadable) => (500, "Internal Server Error: The record of this digest is unreadable."),
            Err(_) => (500, "Internal Server Error: Database temporarily unavailable."),
        };
        let mut reply = format!("Code: {code}\nDiag: {diag}\nPV: 2.1\n").into_bytes();
        if let Some(thread) = thread {
            // Blanks before a value are not part of it.
            let blanks = thread.iter().take_while(|byte| b" \t".contains(byte)).count();
            let value = thread.get(blanks..).unwrap_or_default();
            reply.extend([b"Thread: ", &lines(value).collect::<Vec<_>>().join(&b'\n')[..], b"\n"].concat());
        }
        if let Ok(record) = answer {
            reply.extend(self.fields(&record).into_bytes());
        }
        reply.push(b'\n');
        reply
    }

    fn fields(&self, record: &Record) -> String {
        let Record { reports, whitelists } = record;
        let counts = format!("Count: {}\nWL-Count: {}\n", reports.count, whitelists.count);
        let seconds = |date: Option<UnixTime>| date.map_or(0, |date| date.micros().div_euclid(1_000_000));
        let dates = |prefix, Tally { entered, updated, .. }: &Tally| {
            format!("{prefix}Entered: {}\n{prefix}Updated: {}\n", seconds(*entered), seconds(*updated))
        };
        match self.operation {
            Asked::Report => String::new(),
            Asked::Check => counts,
            Asked::Info => dates("", reports) + &dates("WL-", whitelists) + &counts,
        }
    }
}
