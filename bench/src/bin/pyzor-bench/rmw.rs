//! libgdbm's own share of a report: a small C program, compiled when it is needed, changes records of a copy of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pyzord_bench::cpu;
use pyzord_bench::load::numbered;
use tempfile::TempDir;

use crate::server::copy;

const SOURCE: &str = include_str!("rmw.c");

/// The compiled program, its keys and its file.
#[derive(Debug)]
pub(crate) struct ReadModifyWrite {
    folder: TempDir,
}

impl ReadModifyWrite {
    /// Compiles it, and gives it a copy of a database that has the first `records` digests.
    pub(crate) fn new(database: &Path, records: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        let this = Self { folder };
        copy(database, &this.path("db"))?;
        let keys: String = (0..records).map(|number| format!("{}\n", numbered(number))).collect();
        let write = |name: &str, text: &str| {
            fs::write(this.path(name), text).map_err(|error| format!("{name}: {error}"))
        };
        write("keys", &keys)?;
        write("rmw.c", SOURCE)?;
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = Command::new(compiler);
        compile.arg("-O2").arg("-o").arg(this.path("rmw")).arg(this.path("rmw.c")).arg("-lgdbm");
        run(&mut compile).map(|_| this)
    }

    /// Records changed in a second, and CPU microseconds for each.
    pub(crate) fn measure(&self, duration: Duration, cpu: Option<usize>) -> Result<(f64, f64), String> {
        let mut command = Command::new(self.path("rmw"));
        command.args([self.path("db"), self.path("keys")]).arg(duration.as_secs_f64().to_string());
        let output = cpu::on(cpu, || run(&mut command))?;
        let numbers: Vec<f64> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [changed, seconds, cpu] if seconds > 0.0 && changed > 0.0 => {
                Ok((changed / seconds, cpu * 1e6 / changed))
            }
            _ => Err(format!("rmw said {output:?}")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What a program prints, or what it complains about.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{name}: {}", text(&output.stderr)))
    }
}
