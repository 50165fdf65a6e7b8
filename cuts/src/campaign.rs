//! Many cuts of one recording, each opened and judged.

use std::collections::BTreeMap;
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

/// The counts that a database has, by digest, or one line about why it cannot be opened.
pub type Opened = Result<BTreeMap<String, u64>, String>;

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
            let failures = summary.judge(&recording.ledger(cut, self.promise), opened);
            summary.cuts += 1;
            summary.lossy += u64::from(state.lost > 0);
            if !failures.is_empty() {
                summary.failed += 1;
            }
            if !failures.is_empty() && summary.failures.len() < self.kept {
                let kept = tempfile::tempdir()?.keep();
                files::write(&kept, &state.files)?;
                summary.failures.push(format!("{cut:?}, its files are in {}: {failures:?}", kept.display()));
            }
        }
        Ok(summary)
    }
}

impl Summary {
    /// Compares what a database has with what clients know. Returns what is against a promise.
    fn judge(&mut self, ledger: &Ledger, opened: Opened) -> Vec<String> {
        self.acknowledged += ledger.values().map(|bounds| bounds.acknowledged).sum::<u64>();
        let counts = match opened {
            Ok(counts) => counts,
            Err(reason) => {
                self.refused += 1;
                return vec![reason];
            }
        };
        let mut failures = Vec::new();
        for (digest, bounds) in ledger {
            let count = counts.get(digest).copied().unwrap_or_default();
            self.lost += bounds.acknowledged.saturating_sub(count);
            self.broken += bounds.promised.saturating_sub(count);
            if count < bounds.promised {
                failures.push(format!("{count} of {digest}, {} are promised", bounds.promised));
            }
        }
        for (digest, count) in counts {
            let most = ledger.get(&digest).map_or(0, |bounds| bounds.most);
            self.doubled += u64::from(count > most);
            if count > most {
                failures.push(format!("{count} of {digest}, {most} were received"));
            }
        }
        failures.truncate(TOLD);
        failures
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
        Err(RecvTimeoutError::Timeout) => Err(format!("no end within {DEADLINE:?}")),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = opener.join().err().and_then(|panic| panic.downcast::<String>().ok());
            Err(format!("a panic: {}", panic.map_or_else(|| "without a text".to_owned(), |text| *text)))
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
            (Err("no".to_owned()), [0, 0, 0, 1, 1]),
        ] {
            let mut summary = Summary::default();
            let counts = |counts: Vec<(&str, u64)>| {
                counts.into_iter().map(|(digest, count)| (digest.to_owned(), count)).collect()
            };
            let failures = summary.judge(&ledger, opened.clone().map(counts));
            let Summary { acknowledged, lost, broken, doubled, refused, .. } = summary;
            assert_eq!(
                (acknowledged, [lost, broken, doubled, refused, failures.len() as u64]),
                (3, figures),
                "{opened:?}"
            );
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let opened = watched("/nowhere".into(), |path| panic!("{} is damaged", path.display()));
        assert_eq!(opened, Err("a panic: /nowhere is damaged".to_owned()));
    }
}
