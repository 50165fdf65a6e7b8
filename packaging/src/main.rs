//! Writes what a package has beside the programs: man pages and the completions of three shells.
//!
//! The pages are made of the command line's own definition and of `docs/configuration.md`, so that nothing is said
//! twice. Usage: `pyzord-packaging FOLDER`.

mod markdown;
#[path = "../../src/bin/pyzor-migrate/options.rs"]
#[expect(dead_code, reason = "only its command line is of interest here")]
mod migrate;
mod pages;
#[path = "../../src/bin/pyzorctl/options.rs"]
#[expect(dead_code, reason = "only its command line is of interest here")]
mod pyzorctl;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod units;

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
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

/// The programs of the package. A new one gets a line here and in `pages.rs`.
fn programs() -> [Command; 3] {
    [pyzord::command(), migrate::Options::command(), pyzorctl::Options::command()]
}

fn write_all(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for (name, page) in pages::all()? {
        fs::write(man.join(name), page)?;
    }
    for mut program in programs() {
        let name = program.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut program, &name, &completions)?;
        }
    }
    Ok(())
}
