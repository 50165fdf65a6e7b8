//! The pid file of a detached server.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// More bytes than a process id takes, with its line feed and some blanks.
const TOO_LONG: u64 = 64;

/// Whom a pid file names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// There is no file.
    Nobody,
    /// What the file says; no pyzord runs as that.
    Gone(String),
    /// A pyzord that runs.
    Running(Pid),
}

impl Owner {
    /// Reads the file; fails when it cannot be a pid file.
    pub(crate) fn of(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        match fs::File::open(path).and_then(|file| file.take(TOO_LONG).read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nobody),
            Err(error) => return Err(format!("pid file {}: {error}", path.display())),
            Ok(_) if text.len() as u64 == TOO_LONG => {
                return Err(format!("pid file {}: this file holds something else", path.display()));
            }
            Ok(_) => (),
        }
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw);
        Ok(match pid {
            Some(pid) if is_pyzord(pid) => Self::Running(pid),
            _ => Self::Gone(text.trim().to_owned()),
        })
    }
}

/// A pid file that names this process. Removed by [`remove`](Self::remove) alone, so that a crash leaves it as a trace.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Fails when the file names a process that still runs, or cannot be a pid file: it would be overwritten. A stale
    /// one, of a dead process, is taken over.
    pub(crate) fn check(path: &Path) -> Result<(), String> {
        match Owner::of(path)? {
            Owner::Nobody => Ok(()),
            Owner::Running(pid) => {
                Err(format!("pid file {}: pyzord runs already, as process {pid}", path.display()))
            }
            Owner::Gone(text) => {
                log::warn!("pid file {}: process `{text}` is gone, taking over", path.display());
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
    use std::process::{Child, Command, Stdio};

    use proptest::prelude::*;
    use proptest::sample::select;

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

    /// A process that is called pyzord.
    struct Pyzord(Child);

    impl Pyzord {
        fn start(folder: &Path) -> Self {
            let script = folder.join("pyzord");
            fs::write(&script, "echo; read line\n").unwrap();
            let mut command = Command::new("sh");
            command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = Self(command.spawn().unwrap());
            // Only once the script runs does the system tell what the process is called.
            process.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            process
        }
    }

    impl Drop for Pyzord {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn content(live: u32) -> impl Strategy<Value = Vec<u8>> {
        let blanks = || "[ \t\r\n]{0,3}";
        let number = prop_oneof![
            4 => Just(live.to_string()),
            // Beyond what a system gives to a process, or to anything.
            1 => (4_194_305..i32::MAX).prop_map(|pid| pid.to_string()),
            1 => any::<u128>().prop_map(|number| format!("{number}00000000000")),
            1 => Just(format!("-{live}")),
            1 => Just(format!("{live}.5")),
            1 => select(vec!["", "0", "-1", "1", "soon", "\0\0\0\0"]).prop_map(str::to_owned),
        ];
        let text =
            (blanks(), number, blanks()).prop_map(|parts| [parts.0, parts.1, parts.2].concat().into_bytes());
        // The id that a huge file begins with is none.
        let huge = (60..70_usize, Just(format!("{live}\n")))
            .prop_map(|(len, text)| [text.as_bytes(), &vec![b' '; len][text.len()..]].concat());
        prop_oneof![6 => text, 1 => prop::collection::vec(any::<u8>(), 0..100), 2 => huge]
    }

    #[test]
    fn only_a_live_pyzord_and_what_is_no_pid_file_keep_a_server_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.pid");
        let process = Pyzord::start(folder.path());
        let live = process.0.id();
        proptest!(|(content in content(live))| {
            fs::write(&path, &content).unwrap();
            let text = std::str::from_utf8(&content).ok().filter(|text| text.len() < 64);
            let expected = match text {
                Some(text) if text.trim() == live.to_string() => "runs already",
                Some(_) => "",
                None if content.len() < 64 => "UTF-8",
                None => "pid file",
            };
            let error = PidFile::check(&path).err().unwrap_or_default();
            prop_assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{}", error);
            prop_assert_eq!(fs::read(&path).unwrap(), content);
        });
        drop(process);
        fs::write(&path, live.to_string()).unwrap();
        PidFile::check(&path).unwrap();
    }

    /// What `PidFile` named by mistake, a database, say, was read whole, logged in a warning, and overwritten.
    #[test]
    fn another_file_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        fs::File::create(&path).unwrap().set_len(1 << 24).unwrap();
        let error = PidFile::check(&path).unwrap_err();
        assert!(error.ends_with("this file holds something else"), "{error}");
    }
}
