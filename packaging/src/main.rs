//! Writes what a package has beside the programs: man pages and the completions of three shells.
//!
//! The pages are made of the definitions of the command lines and of `docs/configuration.md`, so that no text exists
//! twice. Usage: `pyzord-packaging FOLDER`.

mod markdown;
mod pages;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod units;

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::aot::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: pyzord-packaging FOLDER");
        return ExitCode::from(2);
    };
    match write_all(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pyzord-packaging: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for (name, page) in pages::all()? {
        fs::write(man.join(name), page)?;
    }
    for mut program in pyzord::commands() {
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut program, &name, &completions)?;
        }
    }
    Ok(())
}
