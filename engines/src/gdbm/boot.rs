//! When the system was started: a file that was not written since may have lost pages in a crash of the system.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::time::Duration;
use std::time::SystemTime;

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

/// Returns whether the system was started after the file was last written. Wrong clocks can make this wrong.
pub(super) fn is_later_than(file: &File) -> io::Result<bool> {
    let modified = file.metadata()?.modified()?;
    Ok(boot_time().is_some_and(|boot| modified < boot))
}

#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "the system tells only how long ago it was started")]
fn boot_time() -> Option<SystemTime> {
    let running = clock_gettime(ClockId::Boottime);
    let running = Duration::new(running.tv_sec.try_into().ok()?, running.tv_nsec.try_into().ok()?);
    SystemTime::now().checked_sub(running)
}

/// Without the time of the start, damage of this kind is found by the first request for the record, or by expiry.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> Option<SystemTime> {
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_file_was_written_since_the_start_and_an_old_one_was_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        assert_eq!(is_later_than(&file).unwrap(), cfg!(target_os = "linux"));
        let since = boot_time().unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_secs(1);
        file.set_modified(since).unwrap();
        assert!(!is_later_than(&file).unwrap());
    }
}
