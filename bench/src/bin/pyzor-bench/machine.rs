//! The programs and the CPUs of this machine.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use pyzord_bench::cpu;

use crate::options::ServerOption;

/// The programs and CPUs of a measurement.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The server of this project.
    pub(crate) server: PathBuf,
    /// Python's interpreter and server.
    pub(crate) python: Option<(PathBuf, PathBuf)>,
    /// The CPU of a server with one worker and that of the load generator, if there are two.
    pub(crate) cpus: Option<(usize, usize)>,
}

impl Machine {
    pub(crate) fn new(option: &ServerOption) -> anyhow::Result<Self> {
        let this = env::current_exe().context("cannot find the path of this program")?;
        let server = option.server.clone().unwrap_or_else(|| this.with_file_name("pyzord"));
        ensure!(
            server.is_file(),
            "there is no server {}; build it with `cargo build --release -p pyzord`",
            server.display()
        );
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

/// Finds a program in `PATH`, or in `/usr/sbin`, where Debian installs servers.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
