//! The pid file of a detached server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// A pid file that names this process. Removed by [`remove`](Self::remove) alone, so that a crash leaves it as a trace.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Fails when the file names a process that still runs. A stale one, of a dead process, is taken over.
    pub(crate) fn check(path: &Path) -> Result<(), String> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.map_err(|error| format!("pid file {}: {error}", path.display()))?,
        };
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        match pid {
            Some(pid) if is_pyzord(pid) => {
                Err(format!("pid file {}: pyzord runs already, as process {pid}", path.display()))
            }
            _ => {
                log::warn!("pid file {}: process `{}` is gone, taking over", path.display(), text.trim());
                Ok(())
            }
        }
    }

    /// Writes this process's id.
    pub(crate) fn write(path: PathBuf) -> Result<Self, String> {
        match fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(format!("pid file {}: {error}", path.display())),
        }
    }

    /// Removes the file.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("pid file {}: {error}", self.0.display());
        }
    }
}

/// Whether this is a living pyzord. After a reboot a stale pid may be some other process's, which must not keep the
/// server from starting; where the system does not tell what a process runs, a living one is taken for a pyzord.
fn is_pyzord(pid: Pid) -> bool {
    let alive = pid.as_raw_pid().unsigned_abs() != std::process::id()
        && !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    let command = || fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid()));
    // The program itself, or the script of an interpreter.
    let names_pyzord = |argument: &[u8]| argument.rsplit(|byte| *byte == b'/').next() == Some(b"pyzord");
    alive && command().map_or(true, |command| command.split(|byte| *byte == 0).take(2).any(names_pyzord))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_pids_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.pid");
        PidFile::check(&path).unwrap();
        // A dead process, no process, this process before it was restarted, and somebody else's.
        for text in ["999999999\n", "soon\n", "", "-5", &format!("{}\n", std::process::id()), "1\n"] {
            fs::write(&path, text).unwrap();
            PidFile::check(&path).unwrap();
        }
        PidFile::write(path.clone()).unwrap().remove();
        assert!(!path.exists());
    }
}
