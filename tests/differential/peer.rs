//! Python's own code, asked by lines: `peer.py` reads one case a line and answers each with one line.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use crate::harness::python;

/// Asks the part `name` of `peer.py`, in this time zone, and returns one answer for each case.
pub(crate) fn ask(name: &str, zone: &str, file: Option<&Path>, cases: &[String]) -> Vec<String> {
    let mut command = python("python");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/peer.py")).arg(name).args(file);
    command.env("TZ", zone).env("PYTHONUTF8", "1").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(name == "dump" || answers.len() == cases.len());
    answers
}

/// Bytes as two hex digits each, a blank-free word on a line; `-` is nothing at all.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
