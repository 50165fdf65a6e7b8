//! Writes the man pages of a package, and the completions for three shells.
//!
//! Their sources are the definitions of the command lines and sections of `docs/*.md`, so that no text exists twice.
//! Usage: `pyzord-packaging FOLDER`.

mod error;
mod extras;
mod files;
#[cfg(test)]
mod links;
mod markdown;
mod pages;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod units;

use std::env;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: pyzord-packaging FOLDER");
        return ExitCode::from(2);
    };
    match files::write_all(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzord-packaging: {error}");
            ExitCode::FAILURE
        }
    }
}
