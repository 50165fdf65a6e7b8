//! Keys for accounts, as `pyzor genkey` of Python's client makes them.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write};

use pyzord_core::Digest as Hash;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr};
use sha1::{Digest as _, Sha1};

use super::failure::{Failure, Outcome, status};
use super::options::Genkey;
use super::site::Site;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Prints a salt and a key, and the lines that both sides need.
pub(crate) fn run(site: &Site, options: &Genkey, out: &mut dyn Write) -> Outcome {
    let passphrase = if options.random { random()?.to_vec() } else { ask_twice()? };
    let salt: [u8; 20] = Sha1::digest(random()?).into();
    let key = key(&salt, &passphrase);
    let salt = Hash::new(salt);
    writeln!(out, "salt,key:\n{salt},{key}")?;
    let Some(user) = &options.user else { return Ok(status(true)) };
    let (host, port) = match &options.server {
        Some(server) => server.rsplit_once(':').ok_or("--server: expected HOST:PORT".to_owned())?,
        None => (site.settings.address.as_str(), &*site.settings.port.to_string()),
    };
    let host = if ["", "0.0.0.0"].contains(&host) { "127.0.0.1" } else { host };
    writeln!(out, "\nfor the client, in its file accounts:\n{host} : {port} : {user} : {salt},{key}")?;
    writeln!(out, "\nfor the server, in its accounts file:\n{user} : {key}")?;
    Ok(status(true))
}

/// `sha1( salt passphrase )`, the salt as bytes.
fn key(salt: &[u8; 20], passphrase: &[u8]) -> Hash {
    Hash::new(Sha1::new().chain_update(salt).chain_update(passphrase).finalize().into())
}

fn random() -> Result<[u8; 32], Failure> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 32];
    let read = File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("{SOURCE}: {error}"))?;
    Ok(bytes)
}

fn ask_twice() -> Result<Vec<u8>, Failure> {
    let first = ask("Enter passphrase: ")?;
    if ask("Enter passphrase again: ")? != first {
        return Err("the passphrases do not match".to_owned().into());
    }
    if first.is_empty() {
        return Err("the passphrase is empty; --random makes a key without one".to_owned().into());
    }
    Ok(first)
}

/// Reads a line from standard input, which a terminal does not show.
fn ask(prompt: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::Said(format!("standard input: {error}"));
    let stdin = io::stdin();
    if !isatty(&stdin) {
        let mut line = Vec::new();
        stdin.lock().read_until(b'\n', &mut line).map_err(failed)?;
        return Ok(without_end(line));
    }
    let silence = Silence::begin().map_err(failed)?;
    eprint!("{prompt}");
    let mut line = Vec::new();
    for byte in stdin.lock().bytes() {
        match byte.map_err(failed)? {
            b'\n' => break,
            INTERRUPT => {
                line.clear();
                drop(silence);
                eprintln!();
                return Err("interrupted".to_owned().into());
            }
            byte => line.push(byte),
        }
    }
    eprintln!();
    Ok(without_end(line))
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    while let Some(b'\n' | b'\r') = line.last() {
        line.pop();
    }
    line
}

/// A terminal that shows nothing of what is typed. Ctrl-C ends the line instead of the process: who was ended would
/// leave the terminal silent.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Without a terminal there is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
