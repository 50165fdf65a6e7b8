//! A survey: looks at every record, a slice at a time, before a round of expiry.

use pyzord_core::{Progress, Survey, UnixTime};

use super::ffi::{Bytes, GdbmError};
use super::record_file::RecordFile;

/// How many keys one slice looks at.
const SLICE: usize = 128;

/// The state of a survey.
#[derive(Debug)]
pub(super) struct SurveyRound {
    pub(super) limit: UnixTime,
    /// The next key; `None` at the beginning.
    next: Option<Bytes>,
    found: Survey,
    /// Whether the walk was restarted.
    restarted: bool,
}

impl SurveyRound {
    pub(super) fn new(limit: UnixTime) -> Self {
        Self { limit, next: None, found: Survey::default(), restarted: false }
    }

    /// Examines the next slice. If the key at which the walk stands was removed, the survey begins again, but only once:
    /// in a damaged file a key may be one that cannot be found.
    pub(super) fn slice(&mut self, file: &mut RecordFile) -> Result<Progress, GdbmError> {
        let mut key = match self.next.take() {
            Some(key) => Some(key),
            None => file.database.first_key()?,
        };
        for _ in 0..SLICE {
            let Some(current) = key else { return Ok(Progress::Surveyed(self.found)) };
            match file.fetch(&current)? {
                Some(value) => {
                    if let Ok(record) = file.decode(&value) {
                        self.found.add(&record, self.limit);
                    }
                }
                None if self.restarted => return Ok(Progress::Surveyed(self.found)),
                None => {
                    *self = Self { restarted: true, ..Self::new(self.limit) };
                    return Ok(Progress::More);
                }
            }
            key = file.database.next_key(&current)?;
        }
        if key.is_none() {
            return Ok(Progress::Surveyed(self.found));
        }
        self.next = key;
        Ok(Progress::More)
    }
}
