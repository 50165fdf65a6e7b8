//! The pid file of a detached server.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use thiserror::Error;

use crate::regular_file::{self, ReadError};

/// More bytes than a process id takes with its line feed and some blanks.
const TOO_LONG: u64 = 64;

/// The process that a pid file names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// There is no file.
    NoFile,
    /// The content of the file; it is not the id of a running pyzord.
    Gone(String),
    /// A running pyzord.
    Running(Pid),
}

/// Why a pid file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum PidFileError {
    /// The file cannot be read, written or is not text.
    #[error("pid file {}: {cause}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// The file cannot be read.
    #[error("pid file {}: {cause}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: ReadError,
    },
    /// The file is too long for a process id: taking it over would destroy other data.
    #[error("pid file {}: this file holds something else", path.display())]
    NotAPidFile { path: PathBuf },
    /// The file names a running pyzord.
    #[error("pid file {}: pyzord runs already, as process {pid}", path.display())]
    Running { path: PathBuf, pid: Pid },
}

impl Owner {
    /// Reads a pid file.
    pub(crate) fn of(path: &Path) -> Result<Self, PidFileError> {
        let mut text = String::new();
        let read =
            |text| regular_file::open(path).and_then(|file| Ok(file.take(TOO_LONG).read_to_string(text)?));
        match read(&mut text) {
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::NoFile),
            Err(cause) => return Err(PidFileError::Unreadable { path: path.to_owned(), cause }),
            Ok(_) if text.len() as u64 == TOO_LONG => {
                return Err(PidFileError::NotAPidFile { path: path.to_owned() });
            }
            Ok(_) => (),
        }
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw);
        Ok(match pid {
            Some(pid) if is_pyzord(pid) => Self::Running(pid),
            _ => Self::Gone(text.trim().to_owned()),
        })
    }
}

/// A pid file that names this process. Only [`remove`](Self::remove) removes it: after a crash it stays as a trace.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Returns an error unless the file may be written: it does not exist, or is stale, of a dead process.
    pub(crate) fn check(path: &Path) -> Result<(), PidFileError> {
        match Owner::of(path)? {
            Owner::NoFile => Ok(()),
            Owner::Running(pid) => Err(PidFileError::Running { path: path.to_owned(), pid }),
            Owner::Gone(text) => {
                log::warn!("pid file {}: process `{text}` is gone, taking over", path.display());
                Ok(())
            }
        }
    }

    /// Writes this process's id. On a full disk no empty file is left.
    pub(crate) fn write(path: PathBuf) -> Result<Self, PidFileError> {
        let written = fs::File::create(&path).and_then(|mut file| {
            let written = file.write_all(format!("{}\n", std::process::id()).as_bytes());
            // The first error is the one that counts; a stale id is gone already.
            written.inspect_err(|_| drop(fs::remove_file(&path)))
        });
        match written {
            Ok(()) => Ok(Self(path)),
            Err(cause) => Err(PidFileError::Io { path, cause }),
        }
    }

    /// Removes the file.
    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.0) {
            log::warn!("pid file {}: {error}", self.0.display());
        }
    }
}

/// Returns whether a process is a living pyzord. After a reboot a stale pid may belong to another program, which must
/// not keep the server from starting. Where the system does not tell what a process runs, a living one is taken for a
/// pyzord.
pub(crate) fn is_pyzord(pid: Pid) -> bool {
    let alive = pid != Pid::this() && kill(pid, None) != Err(Errno::ESRCH);
    let command = || fs::read(format!("/proc/{pid}/cmdline"));
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
        // A dead process, no process, this process before a restart, and a process of another program.
        for text in ["999999999\n", "soon\n", "", "-5", &format!("{}\n", std::process::id()), "1\n"] {
            fs::write(&path, text).unwrap();
            PidFile::check(&path).unwrap();
        }
        PidFile::write(path.clone()).unwrap().remove();
        assert!(!path.exists());
    }

    /// An empty pid file stayed where the disk was full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pid_file_that_cannot_be_written_is_not_left_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.pid");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert!(PidFile::write(path.clone()).is_err());
        assert!(fs::symlink_metadata(&path).is_err());
    }

    /// A process with the name pyzord.
    struct Pyzord(Child);

    impl Pyzord {
        fn start(folder: &Path) -> Self {
            let script = folder.join("pyzord");
            fs::write(&script, "echo; read line\n").unwrap();
            let mut command = Command::new("sh");
            command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = Self(command.spawn().unwrap());
            // The system tells the name of the process as soon as the script runs.
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
            // Beyond the ids that a system gives to processes.
            1 => (4_194_305..i32::MAX).prop_map(|pid| pid.to_string()),
            1 => any::<u128>().prop_map(|number| format!("{number}00000000000")),
            1 => Just(format!("-{live}")),
            1 => Just(format!("{live}.5")),
            1 => select(vec!["", "0", "-1", "1", "soon", "\0\0\0\0"]).prop_map(str::to_owned),
        ];
        let text =
            (blanks(), number, blanks()).prop_map(|parts| [parts.0, parts.1, parts.2].concat().into_bytes());
        // An id at the start of a long file is not a pid.
        let huge = (60..70_usize, Just(format!("{live}\n")))
            .prop_map(|(len, text)| [text.as_bytes(), &vec![b' '; len][text.len()..]].concat());
        prop_oneof![6 => text, 1 => prop::collection::vec(any::<u8>(), 0..100), 2 => huge]
    }

    #[test]
    fn a_live_pyzord_and_a_file_that_is_no_pid_file_are_errors() {
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
            let error = PidFile::check(&path).err().map_or_else(String::new, |error| error.to_string());
            prop_assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{}", error);
            prop_assert_eq!(fs::read(&path).unwrap(), content);
        });
        drop(process);
        fs::write(&path, live.to_string()).unwrap();
        PidFile::check(&path).unwrap();
    }

    /// A database that `PidFile` named by mistake was read whole, logged in a warning, and overwritten.
    #[test]
    fn another_file_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyzord.db");
        fs::File::create(&path).unwrap().set_len(1 << 24).unwrap();
        let error = PidFile::check(&path).unwrap_err().to_string();
        assert!(error.ends_with("this file holds something else"), "{error}");
    }
}
