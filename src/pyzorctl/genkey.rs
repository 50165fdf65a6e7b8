//! `genkey`: makes a key for an account, as `pyzor genkey` of Python's client does.

use std::io::Write;

use pyzord_core::Digest as Sha1Digest;
use sha1::{Digest as _, Sha1};

use super::context::Context;
use super::error::{CommandError, Outcome, exit_code};
use super::options::Genkey;
use super::passphrase;

/// Prints a salt and a key, and with a name the lines for the client and the server.
pub(crate) fn run(context: &Context, options: &Genkey, out: &mut dyn Write) -> Outcome {
    let passphrase = if options.random { random()?.to_vec() } else { passphrase::ask_twice()? };
    let salt: [u8; 20] = Sha1::digest(random()?).into();
    let key = key(&salt, &passphrase);
    let salt = Sha1Digest::new(salt);
    writeln!(out, "salt,key:\n{salt},{key}")?;
    let Some(user) = &options.user else { return Ok(exit_code(true)) };
    let (host, port) = match &options.server {
        Some(server) => server.rsplit_once(':').ok_or(CommandError::ServerOption)?,
        None => (context.settings.first_address(), &*context.settings.port.to_string()),
    };
    let host = if ["", "0.0.0.0", "::"].contains(&host) { "127.0.0.1" } else { host };
    writeln!(out, "\nfor the client, in its file accounts:\n{host} : {port} : {user} : {salt},{key}")?;
    writeln!(out, "\nfor the server, in its accounts file:\n{user} : {key}")?;
    Ok(exit_code(true))
}

/// Returns `sha1( salt passphrase )`, the salt as bytes.
fn key(salt: &[u8; 20], passphrase: &[u8]) -> Sha1Digest {
    Sha1Digest::new(Sha1::new().chain_update(salt).chain_update(passphrase).finalize().into())
}

fn random() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
