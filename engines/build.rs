//! Finds the system's GNU dbm library, for the feature `gdbm`.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The oldest libgdbm whose structures have the layout that the engine relies on.
const OLDEST: &str = "1.18";

/// A program that compiles and links only with a `gdbm.h` and `libgdbm` that are recent enough.
const TRIAL: &str = "#include <gdbm.h>
int main(void) { return gdbm_needs_recovery(0); }
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_GDBM").is_none() || found_by_pkg_config() {
        return;
    }
    for variable in ["CC", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if found_by_compiler() {
        println!("cargo::rustc-link-lib=gdbm");
    } else {
        println!(
            "cargo::error=the GNU dbm library (libgdbm {OLDEST} or later) was not found: \
             `apt install libgdbm-dev`, or build with `--no-default-features`"
        );
    }
}

fn found_by_pkg_config() -> bool {
    pkg_config::Config::new().atleast_version(OLDEST).probe("gdbm").is_ok()
}

/// Finds the library with the compiler: some distributions, as Debian 12, install no gdbm.pc.
fn found_by_compiler() -> bool {
    let Some(directory) = env::var_os("OUT_DIR") else { return false };
    let source = Path::new(&directory).join("trial.c");
    if fs::write(&source, TRIAL).is_err() {
        return false;
    }
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    Command::new(compiler)
        .arg(&source)
        .arg("-o")
        .arg(Path::new(&directory).join("trial"))
        .arg("-lgdbm")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
