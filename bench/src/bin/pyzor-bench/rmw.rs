//! The cost of libgdbm alone: a small C program, compiled at run time, changes records in a copy of the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use pyzord_bench::cpu;
use pyzord_bench::load::numbered;
use tempfile::TempDir;

use crate::server::copy;

const SOURCE: &str = include_str!("rmw.c");

/// libgdbm alone in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LibgdbmSample {
    /// Records changed per second.
    pub(crate) rate: f64,
    /// CPU time in microseconds per record.
    pub(crate) cpu: f64,
}

/// The folder of the compiled program, its keys and its database.
#[derive(Debug)]
pub(crate) struct ReadModifyWrite {
    folder: TempDir,
}

impl ReadModifyWrite {
    /// Compiles the program, and copies a database that has the first `records` digests.
    pub(crate) fn new(database: &Path, records: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let this = Self { folder };
        copy(database, &this.path("db"))?;
        let keys: String = (0..records).map(|number| format!("{}\n", numbered(number))).collect();
        let write = |name: &str, text: &str| {
            fs::write(this.path(name), text).with_context(|| format!("cannot write {name}"))
        };
        write("keys", &keys)?;
        write("rmw.c", SOURCE)?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.arg("-O2").arg("-o").arg(this.path("rmw")).arg(this.path("rmw.c")).arg("-lgdbm");
        run(&mut compile).map(|_| this)
    }

    /// Changes records for this time.
    pub(crate) fn measure(&self, duration: Duration, cpu: Option<usize>) -> anyhow::Result<LibgdbmSample> {
        let mut command = Command::new(self.path("rmw"));
        command.args([self.path("db"), self.path("keys")]).arg(duration.as_secs_f64().to_string());
        let output = cpu::on(cpu, || run(&mut command))?;
        let numbers: Vec<f64> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [changed, seconds, cpu] if seconds > 0.0 && changed > 0.0 => {
                Ok(LibgdbmSample { rate: changed / seconds, cpu: cpu * 1e6 / changed })
            }
            _ => bail!("unexpected output of rmw: {output:?}"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs a program and returns its output; its error output becomes the error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{name} failed, {}: {}", output.status, text(&output.stderr));
    Ok(text(&output.stdout))
}
