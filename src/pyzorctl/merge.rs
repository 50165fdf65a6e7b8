//! How far `import --merge` came, for an operator who goes on after an interruption.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use pyzord_core::Digest;
use thiserror::Error;

use crate::logs::OneLine;

/// The last line of the input up to which each line is merged, or named as failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Done {
    pub(crate) line: u64,
    /// The digest of that line.
    pub(crate) digest: Option<Digest>,
}

/// A merge that ended early.
#[derive(Debug, Error)]
pub(crate) struct Interrupted {
    pub(crate) cause: Box<dyn StdError + Send + Sync>,
    pub(crate) done: Done,
    /// The first and the last line that may be merged or not.
    pub(crate) in_doubt: Option<(u64, u64)>,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, done: Done { line, digest }, in_doubt } = self;
        write!(f, "{cause}; ")?;
        match (line, digest) {
            (0, _) => f.write_str("no line is done")?,
            (_, None) => write!(f, "lines 1 to {line} are done")?,
            (_, Some(digest)) => write!(f, "lines 1 to {line} are done, the last one is {digest}")?,
        }
        match in_doubt {
            None => write!(f, "; go on with --skip {line}"),
            Some((first, last)) => write!(
                f,
                "; lines {first} to {last} may be merged or not: compare them with pyzorctl lookup, merge those that are \
                 missing, and go on with --skip {last}"
            ),
        }
    }
}

/// How far a merge came. It is locked while records are merged.
#[derive(Clone, Debug)]
pub(crate) struct MergeProgress(Arc<Mutex<Done>>);

impl MergeProgress {
    /// Begins behind this line.
    pub(crate) fn new(skipped: u64) -> Self {
        Self(Arc::new(Mutex::new(Done { line: skipped, digest: None })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Done> {
        // No code panics while the two fields differ.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets INT and TERM end the process between two batches, with a message. Call it before any thread is started.
    pub(crate) fn end_on_signals(&self) -> io::Result<()> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        signals.thread_block()?;
        let progress = self.clone();
        let wait = move || {
            let Ok(signal) = signals.wait() else { return };
            let done = progress.lock();
            let cause = format!("{signal} received").into();
            eprintln!("pyzorctl: {}", OneLine(Interrupted { cause, done: *done, in_doubt: None }));
            process::exit(1);
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_says_where_to_go_on() {
        let digest = Some(Digest::new([7; 20]));
        let hex = "07".repeat(20);
        for (line, digest, in_doubt, expected) in [
            (0, None, None, "away; no line is done; go on with --skip 0".to_owned()),
            (9, None, None, "away; lines 1 to 9 are done; go on with --skip 9".to_owned()),
            (
                9,
                digest,
                None,
                format!("away; lines 1 to 9 are done, the last one is {hex}; go on with --skip 9"),
            ),
            (
                9,
                digest,
                Some((10, 12)),
                format!(
                    "away; lines 1 to 9 are done, the last one is {hex}; lines 10 to 12 may be merged or not: compare \
                     them with pyzorctl lookup, merge those that are missing, and go on with --skip 12"
                ),
            ),
        ] {
            let interrupted = Interrupted { cause: "away".into(), done: Done { line, digest }, in_doubt };
            assert_eq!(interrupted.to_string(), expected);
        }
    }
}
