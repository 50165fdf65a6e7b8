//! System calls that fail or take long, as on a broken, a full or a busy disk.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::harness::{Server, wait_for};

/// The calls that write, and those that sync.
pub(crate) const WRITES: &str = "write,pwrite64";
pub(crate) const SYNCS: &str = "fsync,fdatasync";

/// Tampers with the system calls of a server on one file, until it is dropped.
pub(crate) struct Fault(Child);

impl Fault {
    /// `calls` are names of system calls, and `what` is what becomes of them, in the words of strace.
    pub(crate) fn on(server: &Server, path: &Path, calls: &str, what: &str) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-p", &server.pid().to_string(), "-P"]).arg(path);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}")]);
        let child = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen().unwrap()).spawn();
        let mut fault = Self(child.expect("strace: run `make test`"));
        wait_for("strace", || {
            let said = fs::read_to_string(log.path()).unwrap();
            assert_eq!(fault.0.try_wait().unwrap(), None, "{said}");
            said.contains("attached").then_some(())
        });
        fault
    }
}

impl Drop for Fault {
    /// strace ends on a signal, and leaves the server as it was.
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
