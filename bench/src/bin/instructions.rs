//! `instructions`: counts the instructions of the core for each case, with valgrind, and compares them with
//! `bench/instructions.txt`. The same program and the same input give the same count, on a busy machine too.
//!
//! A count also depends on the compiler, which the file therefore names, and on the CPU features that the C library
//! uses to copy memory. Valgrind hides the SHA extensions: signatures are counted in software.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context as _, bail};
use clap::Parser;
use pyzord_bench::cases::{Case, REQUESTS};

/// The check fails if a count differs by more than this, in percent.
const MARGIN: u64 = 3;
/// The margin with another compiler than the file's.
const MARGIN_OF_COMPILERS: u64 = 15;

/// Count the instructions of the core per request, with valgrind.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Compare with the file; fail if a count differs by more than 3 %
    #[arg(long)]
    check: bool,
    /// Write the file
    #[arg(long, conflicts_with = "check")]
    bless: bool,
    /// The file of the accepted counts
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt"))]
    file: PathBuf,
    /// Run one case, for valgrind
    #[arg(long, hide = true)]
    case: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if cfg!(debug_assertions) {
        eprintln!("instructions: this is a debug build; use cargo run --release");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the check passed.
fn run(options: &Options) -> anyhow::Result<bool> {
    if let Some(name) = &options.case {
        counted(&mut Case::named(name).with_context(|| format!("there is no case `{name}`"))?);
        return Ok(true);
    }
    let compiler = compiler()?;
    let mut counts = BTreeMap::new();
    for name in Case::names() {
        let count = count(&name)?;
        counts.insert(name, count);
    }
    if options.bless {
        return fs::write(&options.file, write(&compiler, &counts))
            .map(|()| true)
            .with_context(|| format!("cannot write {}", options.file.display()));
    }
    let before = Baseline::read(&options.file)?;
    let differences = before.compare(&compiler, &counts);
    print!("{}", differences.text);
    Ok(!options.check || differences.acceptable)
}

/// Runs the case. Valgrind finds this function by its name and counts its instructions alone.
#[inline(never)]
fn counted(case: &mut Case) {
    std::hint::black_box(case.run());
}

/// Returns the instructions per request of a case.
fn count(case: &str) -> anyhow::Result<u64> {
    let program = env::current_exe().context("cannot find the path of this program")?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions*counted*",
        ])
        .arg(program)
        .args(["--case", case])
        .output()
        .context("cannot run valgrind; install the package `valgrind`")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let collected =
        errors.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    match collected.filter(|count| *count > 0 && output.status.success()) {
        Some(count) => Ok(count / REQUESTS),
        None => bail!("valgrind counted no instructions for `{case}`: {errors}"),
    }
}

/// Returns the compiler's name and version.
fn compiler() -> anyhow::Result<String> {
    let output =
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let output = output.context("cannot run rustc --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn write(compiler: &str, counts: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Instructions of the core per request of a batch of {REQUESTS}, without the store. Written by\n\
         # cargo run --release -p pyzord-bench --bin instructions -- --bless\n\
         # {compiler}\n"
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{count:>8}  {name}");
    }
    text
}

/// The accepted counts.
struct Baseline {
    text: String,
    counts: BTreeMap<String, u64>,
}

/// A table of accepted and new counts.
struct Differences {
    text: String,
    acceptable: bool,
}

impl Baseline {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(text).with_context(|| file.display().to_string())
    }

    fn parse(text: String) -> anyhow::Result<Self> {
        let row = |line: &str| {
            let (count, name) =
                line.trim().split_once("  ").with_context(|| format!("no count in `{line}`"))?;
            let count = count.parse().with_context(|| format!("no count in `{line}`"))?;
            Ok::<_, anyhow::Error>((name.to_owned(), count))
        };
        let counts = text.lines().filter(|line| !line.starts_with('#')).map(row).collect::<Result<_, _>>()?;
        Ok(Self { text, counts })
    }

    fn compare(&self, compiler: &str, counts: &BTreeMap<String, u64>) -> Differences {
        let same_compiler = self.text.contains(&format!("# {compiler}\n"));
        let margin = if same_compiler { MARGIN } else { MARGIN_OF_COMPILERS };
        let (mut text, mut acceptable) = (String::new(), true);
        if !same_compiler {
            let _ = writeln!(
                text,
                "the margin is {margin} %: this compiler, {compiler}, is not that of the file"
            );
        }
        let _ = writeln!(text, "{:>8}{:>8}{:>9}", "file", "now", "change");
        for name in self.counts.keys().chain(counts.keys().filter(|name| !self.counts.contains_key(*name))) {
            let (before, now) = (self.counts.get(name), counts.get(name));
            let both = before.zip(now);
            let fine = both.is_some_and(|(before, now)| before.abs_diff(*now) * 100 <= before * margin);
            acceptable &= fine;
            let shown = |count: Option<&u64>| count.map_or_else(|| "-".to_owned(), u64::to_string);
            let percent = both.map_or_else(|| "-".to_owned(), |(before, now)| percent(*before, *now));
            let mark = if fine { "" } else { "  <-- outside the margin" };
            let _ = writeln!(text, "{:>8}{:>8}{percent:>9}  {name}{mark}", shown(before), shown(now));
        }
        if !acceptable {
            text += "to accept an intended change, use --bless\n";
        }
        Differences { text, acceptable }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage to print")]
fn percent(before: u64, now: u64) -> String {
    format!("{:+.2} %", (now as f64 / before as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC: &str = "rustc 1.95.0";

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_count_outside_the_margin_fails_in_both_directions() {
        let file = write(RUSTC, &counts(&[("check", 1000), ("check, signed", 3000)]));
        let baseline = Baseline::parse(file).unwrap();
        for (check, compiler, acceptable) in [
            (1000, RUSTC, true),
            (1030, RUSTC, true),
            (970, RUSTC, true),
            (1031, RUSTC, false),
            (969, RUSTC, false),
            (1150, "rustc 1.96.0", true),
            (1151, "rustc 1.96.0", false),
        ] {
            let now = counts(&[("check", check), ("check, signed", 3000)]);
            assert_eq!(baseline.compare(compiler, &now).acceptable, acceptable, "{check} {compiler}");
        }
    }

    #[test]
    fn an_added_or_removed_case_fails() {
        let baseline = Baseline::parse(write(RUSTC, &counts(&[("a", 10), ("b", 20)]))).unwrap();
        assert!(!baseline.compare(RUSTC, &counts(&[("a", 10)])).acceptable);
        assert!(!baseline.compare(RUSTC, &counts(&[("a", 10), ("b", 20), ("c", 1)])).acceptable);
        assert!(Baseline::parse("check 10".to_owned()).is_err());
    }

    /// The committed file has every case, and no other line.
    #[test]
    fn the_committed_file_has_all_cases() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
        let committed: Vec<String> = Baseline::read(&file).unwrap().counts.into_keys().collect();
        let mut cases = Case::names();
        cases.sort();
        assert_eq!(committed, cases);
    }
}
