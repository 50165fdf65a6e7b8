//! Records the calls of a process with strace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::descriptors::ReplayError;
use crate::files::{self, Files};
use crate::recording::{Layout, Recording};

/// All calls that open, change, sync or name files, or that receive or send datagrams.
const CALLS: &str = "trace=open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,read,readv,write,writev,pwrite64,pwritev,\
    pwritev2,truncate,ftruncate,fallocate,fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,link,linkat,unlink,\
    unlinkat,symlink,symlinkat,copy_file_range,sendfile,splice,recvfrom,recvmsg,recvmmsg,sendto,sendmsg,sendmmsg";

/// How long the end of a trace is waited for, and how often it is looked for in that time.
const DEADLINE: Duration = Duration::from_secs(60);
const LOOKS: u32 = 6000;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The folder or the trace cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// What cannot be read.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// strace has not written the end of the process.
    #[error("the trace {} has no end", .0.display())]
    Unended(PathBuf),
    /// The trace cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The recorded calls give other files than there are.
    #[error("{}: its content is not that of the recorded calls; was it mapped?", .0.display())]
    Differs(PathBuf),
}

/// A recording that has not ended.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    trace: PathBuf,
    initial: Files,
}

impl Recorder {
    /// Prepares the recording of a process that has its files in this folder, which exists and has no folders in it. The
    /// trace is a file elsewhere.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn new(folder: &Path, trace: PathBuf) -> Result<Self, RecordingError> {
        let io = |error| RecordingError::Io { path: folder.to_owned(), error };
        let folder = folder.canonicalize().map_err(io)?;
        let initial = files::read(&folder).map_err(io)?;
        Ok(Self { folder, trace, initial })
    }

    /// Returns a command that runs another one and records it. The process that it starts is that of the other command:
    /// strace is a process beside it.
    #[must_use]
    pub fn command(&self, command: &Command) -> Command {
        let mut traced = Command::new("strace");
        traced.args([
            "-D",
            "-f",
            "--seccomp-bpf",
            "-q",
            "-s",
            "100000000",
            "-e",
            "signal=kill,abrt,bus,segv",
            "-e",
            CALLS,
            "-o",
        ]);
        traced.arg(&self.trace).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        traced
    }

    /// Returns what was recorded of a process that has ended.
    ///
    /// # Errors
    /// If the trace cannot be understood, or does not give the files that the folder has.
    pub fn finish(self, process: u32, layout: Layout) -> Result<Recording, RecordingError> {
        let trace = self.ended(process)?;
        let recording = Recording::new(&trace, &self.folder, self.initial, layout)?;
        let io = |error| RecordingError::Io { path: self.folder.clone(), error };
        let found = files::read(&self.folder).map_err(io)?;
        match recording.difference(&found) {
            Some(name) => Err(RecordingError::Differs(self.folder.join(name))),
            None => Ok(recording),
        }
    }

    /// Returns the trace as soon as it is complete.
    fn ended(&self, process: u32) -> Result<String, RecordingError> {
        let io = |error| RecordingError::Io { path: self.trace.clone(), error };
        for _ in 0..LOOKS {
            let trace = fs::read(&self.trace).map_err(io)?;
            let tail = trace.get(trace.len().saturating_sub(4096)..).unwrap_or_default();
            let tail = String::from_utf8_lossy(tail);
            let is_end = |line: &str| {
                line.split_once(' ').is_some_and(|(thread, text)| {
                    thread == process.to_string() && text.trim_start().starts_with("+++")
                })
            };
            if tail.lines().any(is_end) && trace.ends_with(b"\n") {
                return Ok(String::from_utf8_lossy(&trace).into_owned());
            }
            thread::sleep(DEADLINE / LOOKS);
        }
        Err(RecordingError::Unended(self.trace.clone()))
    }
}
