//! Runs Python's code: `peer.py` reads one case per line and prints one answer per line.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::thread;

use crate::harness::python;

/// Runs the function `name` of `peer.py` in this time zone; returns one answer per case.
pub(crate) fn ask(name: &str, zone: &str, file: Option<&Path>, cases: &[String]) -> Vec<String> {
    let mut command = python("python");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/peer.py")).arg(name).args(file);
    command.env("TZ", zone).env("PYTHONUTF8", "1").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let written = writer.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    written.unwrap();
    let answers: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(name == "dump" || answers.len() == cases.len());
    answers
}

/// Encodes bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes hex digits.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
