//! The thread that syncs the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::database::{Shared, lock};
use super::durability::Work;
use super::mending;

/// The pause between two attempts to mend a database.
const RETRY: Duration = Duration::from_secs(10);

/// Syncs until the end, and mends what a failed sync leaves.
pub(super) fn run(shared: &Shared) {
    loop {
        match shared.commits.next_work() {
            Work::Sync(commit) => shared.commits.end_sync(commit, shared.sync_log()),
            Work::Mend if mend(shared) || shared.commits.pause(RETRY) => (),
            Work::Mend | Work::End => return,
        }
    }
}

impl Shared {
    /// Writes the log to the disk.
    pub(super) fn sync_log(&self) -> io::Result<()> {
        let log = Arc::clone(&lock(&self.presence).files.log);
        let synced = || {
            if self.has_old_log.load(Ordering::Relaxed) {
                self.write_old_log_again(&log).map_err(io::Error::other)?;
                log.sync_data()?;
                self.has_old_log.store(false, Ordering::Relaxed);
                return Ok(());
            }
            log.sync_data()
        };
        synced().inspect_err(|error: &io::Error| {
            log::error!(
                "{}: a sync failed: {error}; reports and whitelistings get 500 until all of its log is written again, checks \
                 are answered; see the system's log for errors of the disk",
                self.name()
            );
        })
    }
}

/// Returns whether the database is mended.
fn mend(shared: &Shared) -> bool {
    match mending::mend(shared) {
        Ok(()) => log::warn!(
            "{}: all of its log is on the disk and its pages are sound; counts are accepted again",
            shared.name()
        ),
        Err(error) => {
            log::error!(
                "{}: its log cannot be written again yet: {error}; next attempt in 10 seconds",
                shared.name()
            );
            return false;
        }
    }
    true
}
