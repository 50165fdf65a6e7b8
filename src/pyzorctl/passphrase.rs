//! The passphrase of a key, asked for on the terminal or read from a pipe.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use crate::output::{complain, write_error};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use thiserror::Error;

/// The byte that Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Why there is no passphrase.
#[derive(Debug, Error)]
pub(crate) enum PassphraseError {
    #[error("standard input: {0}")]
    Input(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("the passphrases do not match")]
    Mismatch,
    #[error("the passphrase is empty; --random makes a key without one")]
    Empty,
}

/// Asks for a passphrase twice; both must be the same.
pub(crate) fn ask_twice() -> Result<Vec<u8>, PassphraseError> {
    let first = ask("Enter passphrase: ")?;
    if ask("Enter passphrase again: ")? != first {
        return Err(PassphraseError::Mismatch);
    }
    if first.is_empty() {
        return Err(PassphraseError::Empty);
    }
    Ok(first)
}

/// Reads a line from standard input. A terminal does not show it.
fn ask(prompt: &str) -> Result<Vec<u8>, PassphraseError> {
    let stdin = io::stdin();
    let mut line = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().read_until(b'\n', &mut line)?;
        return Ok(without_end(line));
    }
    let hidden = HiddenInput::begin()?;
    write_error(format_args!("{prompt}"));
    for byte in stdin.lock().bytes() {
        match byte? {
            b'\n' => break,
            INTERRUPT => {
                drop(hidden);
                complain!("");
                return Err(PassphraseError::Interrupted);
            }
            byte => line.push(byte),
        }
    }
    complain!("");
    Ok(without_end(line))
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    while let Some(b'\n' | b'\r') = line.last() {
        line.pop();
    }
    line
}

/// A terminal without echo, until this is dropped. Ctrl-C ends the line and not the process: a
/// process that ends here would leave the terminal without echo.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // The only cause is a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
