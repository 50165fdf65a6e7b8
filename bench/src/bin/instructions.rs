//! `instructions`: counts the instructions that the core takes for each case, with valgrind, and compares them with
//! `bench/instructions.txt`. The same program and the same input give the same count, on a busy machine, too.
//!
//! What else changes a count: the compiler, so the file names it; and what the CPU offers to the C library's copying.
//! Valgrind hides SHA extensions, so signatures are counted in software; where the CPU has them, they take less.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use clap::Parser;
use pyzord_bench::cases::{Case, REQUESTS};

/// A count may differ by so many percent before it fails the check; with another compiler than the file's by that.
const MARGIN: u64 = 3;
const MARGIN_OF_COMPILERS: u64 = 15;

/// Count the instructions of the core for a request, with valgrind.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Compare with the file, and fail where a count is off by more than 3 %
    #[arg(long)]
    check: bool,
    /// Write the file anew
    #[arg(long, conflicts_with = "check")]
    bless: bool,
    /// The file
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt"))]
    file: PathBuf,
    /// Run one case; valgrind counts
    #[arg(long, hide = true)]
    case: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if cfg!(debug_assertions) {
        eprintln!("instructions: counts are those of a release build: cargo run --release");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    if let Some(name) = &options.case {
        counted(&mut Case::named(name).ok_or_else(|| format!("there is no case `{name}`"))?);
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
            .map_err(|error| format!("{}: {error}", options.file.display()));
    }
    let before = Baseline::read(&options.file)?;
    let differences = before.compare(&compiler, &counts);
    print!("{}", differences.text);
    Ok(!options.check || differences.acceptable)
}

/// What valgrind counts. A function of its own, which it finds by its name.
#[inline(never)]
fn counted(case: &mut Case) {
    std::hint::black_box(case.run());
}

/// Instructions for one request of this case.
fn count(case: &str) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions*counted*",
        ])
        .arg(program)
        .args(["--case", case])
        .output()
        .map_err(|error| format!("valgrind, of the package of that name: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
    match collected.filter(|count| *count > 0 && output.status.success()) {
        Some(count) => Ok(count / REQUESTS),
        None => Err(format!("valgrind counted nothing for `{case}`: {said}")),
    }
}

/// The compiler's name and version, as it says them.
fn compiler() -> Result<String, String> {
    let output =
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let output = output.map_err(|error| format!("rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn write(compiler: &str, counts: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Instructions of the core for one request of a batch of {REQUESTS}, its store left out. Written by\n\
         # cargo run --release -p pyzord-bench --bin instructions -- --bless\n\
         # {compiler}\n"
    );
    for (name, count) in counts {
        let _ = writeln!(text, "{count:>8}  {name}");
    }
    text
}

/// The counts of the file.
struct Baseline {
    text: String,
    counts: BTreeMap<String, u64>,
}

/// A table of old and new counts.
struct Differences {
    text: String,
    acceptable: bool,
}

impl Baseline {
    fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(text)
    }

    fn parse(text: String) -> Result<Self, String> {
        let row = |line: &str| {
            let (count, name) = line.trim().split_once("  ").ok_or_else(|| format!("no count: {line}"))?;
            Ok((name.to_owned(), count.parse().map_err(|_| format!("no count: {line}"))?))
        };
        let counts =
            text.lines().filter(|line| !line.starts_with('#')).map(row).collect::<Result<_, String>>()?;
        Ok(Self { text, counts })
    }

    fn compare(&self, compiler: &str, counts: &BTreeMap<String, u64>) -> Differences {
        let same_compiler = self.text.contains(&format!("# {compiler}\n"));
        let margin = if same_compiler { MARGIN } else { MARGIN_OF_COMPILERS };
        let (mut text, mut acceptable) = (String::new(), true);
        if !same_compiler {
            let _ = writeln!(
                text,
                "built with {compiler}, which is not the file's compiler: the margin is wider"
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
            let mark = if fine { "" } else { "  <-- beyond the margin" };
            let _ = writeln!(text, "{:>8}{:>8}{percent:>9}  {name}{mark}", shown(before), shown(now));
        }
        if !acceptable {
            text += "a change that is meant to be is accepted with --bless\n";
        }
        Differences { text, acceptable }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for the eye")]
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
    fn a_count_beyond_the_margin_fails_in_either_direction() {
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
    fn a_case_that_came_or_went_fails() {
        let baseline = Baseline::parse(write(RUSTC, &counts(&[("a", 10), ("b", 20)]))).unwrap();
        assert!(!baseline.compare(RUSTC, &counts(&[("a", 10)])).acceptable);
        assert!(!baseline.compare(RUSTC, &counts(&[("a", 10), ("b", 20), ("c", 1)])).acceptable);
        assert!(Baseline::parse("check 10".to_owned()).is_err());
    }

    /// Every case is in the committed file, and nothing else.
    #[test]
    fn the_committed_file_has_all_cases() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
        let committed: Vec<String> = Baseline::read(&file).unwrap().counts.into_keys().collect();
        let mut cases = Case::names();
        cases.sort();
        assert_eq!(committed, cases);
    }
}
