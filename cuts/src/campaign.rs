//! Many cuts of one recording, each opened and judged.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::cut::Moments;
use crate::files;
use crate::ledger::{Ledger, Promise};
use crate::recording::Recording;

/// The time in which a database must be open, and its records read.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many findings are told of one cut.
const TOLD: usize = 3;

/// Why the database of a cut cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The engine does not open it.
    #[error("it is not opened: {0}")]
    Refused(Box<dyn Error + Send + Sync>),
    /// The engine does not read its records.
    #[error("its records are not read: {0}")]
    Unreadable(Box<dyn Error + Send + Sync>),
    /// Its pages contradict each other, as a check of the engine has found.
    #[error("its pages contradict each other: {0:?}")]
    Contradictory(Vec<String>),
    /// The engine does not end.
    #[error("it is not open after {DEADLINE:?}")]
    Slow,
    /// The engine panics, with this text.
    #[error("the engine panics: {0}")]
    Panic(String),
}

/// The counts that a database has, by digest.
pub type Opened = Result<BTreeMap<String, u64>, OpenFailure>;

/// What is against a promise at a cut.
#[derive(Debug, thiserror::Error)]
enum Finding {
    #[error("{0}")]
    NotOpened(#[from] OpenFailure),
    #[error("{count} of {digest}, {promised} are promised")]
    Lost { digest: String, count: u64, promised: u64 },
    #[error("{count} of {digest}, {most} were received")]
    Doubled { digest: String, count: u64, most: u64 },
}

/// Opens the database in a folder, and reads all of its records.
pub type Open = fn(&Path) -> Opened;

/// Which cuts to make.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// What the engine promises.
    pub promise: Promise,
    /// Where cuts are made.
    pub moments: Moments,
    /// How many.
    pub cuts: u64,
    /// The seed of the first one; the others follow.
    pub seed: u64,
    /// Of how many failed cuts the files are kept, in folders that nothing removes.
    pub kept: usize,
}

/// What came of the cuts.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    /// The cuts.
    pub cuts: u64,
    /// Those at which the disk did not have all that was written.
    pub lossy: u64,
    /// The acknowledged reports, summed up over the cuts.
    pub acknowledged: u64,
    /// Those of them that are not counted.
    pub lost: u64,
    /// Those of these that the promise covers.
    pub broken: u64,
    /// Digests with a higher count than reports were received.
    pub doubled: u64,
    /// Databases that were not opened.
    pub refused: u64,
    /// The cuts at which a promise was broken.
    pub failed: u64,
    /// The first of these, each with a folder that has its files.
    pub failures: Vec<String>,
}

impl Campaign {
    /// Makes the cuts of a recording, and opens what each has left in a folder of its own.
    ///
    /// # Errors
    /// If such a folder cannot be written.
    pub fn run(self, recording: &Recording, open: Open) -> io::Result<Summary> {
        let mut summary = Summary::default();
        for seed in self.seed..self.seed + self.cuts {
            let cut = recording.cut(self.moments, seed);
            let state = recording.state(cut);
            let folder = tempfile::tempdir()?;
            files::write(folder.path(), &state.files)?;
            let opened = watched(folder.path().to_owned(), open);
            let findings = summary.judge(&recording.ledger(cut, self.promise), opened);
            summary.cuts += 1;
            summary.lossy += u64::from(state.lost > 0);
            if !findings.is_empty() {
                summary.failed += 1;
            }
            if !findings.is_empty() && summary.failures.len() < self.kept {
                let kept = tempfile::tempdir()?.keep();
                files::write(&kept, &state.files)?;
                let findings = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                summary.failures.push(format!("{cut:?}, its files are in {}: {findings}", kept.display()));
            }
        }
        Ok(summary)
    }
}

impl Summary {
    /// Compares what a database has with what clients know. Returns what is against a promise.
    fn judge(&mut self, ledger: &Ledger, opened: Opened) -> Vec<Finding> {
        self.acknowledged += ledger.values().map(|bounds| bounds.acknowledged).sum::<u64>();
        let counts = match opened {
            Ok(counts) => counts,
            Err(failure) => {
                self.refused += 1;
                return vec![failure.into()];
            }
        };
        let mut findings = Vec::new();
        for (digest, bounds) in ledger {
            let count = counts.get(digest).copied().unwrap_or_default();
            self.lost += bounds.acknowledged.saturating_sub(count);
            self.broken += bounds.promised.saturating_sub(count);
            if count < bounds.promised {
                findings.push(Finding::Lost { digest: digest.clone(), count, promised: bounds.promised });
            }
        }
        for (digest, count) in counts {
            let most = ledger.get(&digest).map_or(0, |bounds| bounds.most);
            self.doubled += u64::from(count > most);
            if count > most {
                findings.push(Finding::Doubled { digest, count, most });
            }
        }
        findings.truncate(TOLD);
        findings
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.lossy += other.lossy;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.broken += other.broken;
        self.doubled += other.doubled;
        self.refused += other.refused;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cuts, lossy, acknowledged, lost, broken, doubled, refused, .. } = self;
        write!(
            f,
            "{cuts} cuts, {lossy} with lost writes; {acknowledged} acknowledged, {lost} lost, {broken} of them promised; \
             {doubled} counted twice; {refused} refused"
        )
    }
}

/// Opens a database in a thread of its own, which may panic or hang.
fn watched(folder: PathBuf, open: Open) -> Opened {
    let (sender, receiver) = mpsc::channel();
    let opener = thread::spawn(move || sender.send(open(&folder)));
    match receiver.recv_timeout(DEADLINE) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => Err(OpenFailure::Slow),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = opener.join().err().and_then(|panic| panic.downcast::<String>().ok());
            Err(OpenFailure::Panic(panic.map_or_else(|| "(no text)".to_owned(), |text| *text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Bounds;

    #[test]
    fn what_is_against_a_promise() {
        let bounds = Bounds { promised: 2, acknowledged: 3, most: 4 };
        let ledger = Ledger::from([("a".to_owned(), bounds)]);
        for (opened, figures) in [
            (Ok(vec![("a", 4)]), [0, 0, 0, 0, 0]),
            (Ok(vec![("a", 2)]), [1, 0, 0, 0, 0]),
            (Ok(vec![("a", 1)]), [2, 1, 0, 0, 1]),
            (Ok(vec![]), [3, 2, 0, 0, 1]),
            (Ok(vec![("a", 5), ("b", 1)]), [0, 0, 2, 0, 2]),
            (Err(OpenFailure::Slow), [0, 0, 0, 1, 1]),
        ] {
            let mut summary = Summary::default();
            let counts = |counts: Vec<(&str, u64)>| {
                counts.into_iter().map(|(digest, count)| (digest.to_owned(), count)).collect()
            };
            let told = format!("{opened:?}");
            let findings = summary.judge(&ledger, opened.map(counts));
            let Summary { acknowledged, lost, broken, doubled, refused, .. } = summary;
            assert_eq!(
                (acknowledged, [lost, broken, doubled, refused, findings.len() as u64]),
                (3, figures),
                "{told}"
            );
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let opened = watched("/nowhere".into(), |path| panic!("{} is damaged", path.display()));
        assert!(matches!(opened, Err(OpenFailure::Panic(text)) if text == "/nowhere is damaged"));
    }
}
