//! `--detach`: a daemon whose parent tells the truth.
//!
//! The parent starts the same program again, as a child in a session of its own, and waits. The child opens all that
//! can fail and then says so on its standard output, a pipe; only then the parent exits with 0. Until that moment the
//! child's errors go to the parent's terminal. Starting anew instead of forking leaves nothing behind in the child
//! that a fork would copy, and is safe whatever threads exist.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{getppid, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// Tells the child that it is one, by its parent's id: a value inherited from elsewhere says nothing.
const MARK: &str = "PYZORD_DETACHED_BY";
/// What the child says when it serves.
const SERVING: &[u8] = b"serving\n";

/// Whether this process is the child.
pub(crate) fn is_child() -> bool {
    let parent = getppid().map(|parent| parent.as_raw_pid().to_string());
    parent.is_some_and(|parent| env::var_os(MARK).is_some_and(|mark| *mark == *parent))
}

/// Starts the child and waits until it serves or fails.
pub(crate) fn start_child() -> Result<ExitCode, String> {
    let failed = |error: io::Error| format!("cannot detach: {error}");
    let mut arguments = env::args_os();
    let mut child = Command::new(env::current_exe().map_err(failed)?)
        .arg0(arguments.next().unwrap_or_else(|| "pyzord".into()))
        .args(arguments)
        .env(MARK, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(SERVING.len() as u64).read_to_end(&mut said).map_err(failed)?;
    }
    if said == SERVING {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().map_err(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Leaves the terminal: nothing typed there reaches this process.
pub(crate) fn leave_terminal() -> Result<(), String> {
    setsid().map(drop).map_err(|error| format!("cannot leave the terminal: {error}"))
}

/// Says that the child serves, and sends all further output to `output`.
pub(crate) fn serving(output: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("output file {}: {error}", output.display());
    let file = OpenOptions::new().append(true).create(true).open(output).map_err(failed)?;
    env::set_current_dir("/").map_err(failed)?;
    // The parent may be gone: then nobody waits for this.
    let _ = io::stdout().write_all(SERVING).and_then(|()| io::stdout().flush());
    dup2_stdout(&file).and_then(|()| dup2_stderr(&file)).map_err(|error| failed(error.into()))
}
