//! Where a comparison finds its programs, and which CPUs it has.

use std::env;
use std::path::{Path, PathBuf};

use pyzord_bench::cpu;

use crate::PlaceOptions;

/// What the machine offers.
#[derive(Debug)]
pub(crate) struct Place {
    /// The server of this project.
    pub(crate) server: PathBuf,
    /// Python's interpreter and server.
    pub(crate) python: Option<(PathBuf, PathBuf)>,
    /// The CPU of a server with one worker and that of the generator, where there are two.
    pub(crate) cpus: Option<(usize, usize)>,
}

impl Place {
    pub(crate) fn new(options: &PlaceOptions) -> Result<Self, String> {
        let beside = env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let server = options.server.clone().unwrap_or_else(|| beside.with_file_name("pyzord"));
        if !server.is_file() {
            let server = server.display();
            return Err(format!("there is no server {server}: `cargo build --release -p pyzord` makes it"));
        }
        let cpus = match cpu::available()?.as_slice() {
            [first, second, ..] => Some((*first, *second)),
            _ => None,
        };
        Ok(Self { server, python: python(), cpus })
    }
}

fn python() -> Option<(PathBuf, PathBuf)> {
    let programs = Path::new(&env::var_os("PYZOR_VENV")?).join("bin");
    let (interpreter, server) = (programs.join("python"), programs.join("pyzord"));
    (interpreter.exists() && server.exists()).then_some((interpreter, server))
}
