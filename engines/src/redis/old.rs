//! The warning that a database still has records of the old layout.

use pyzord_core::{Now, Progress};

use super::Redis;
use super::deadline::Deadline;
use super::record_store::{Page, page, scan};

/// The keys of the old layout. Those of the new one, `pyzord.digest_v1.`, do not match.
const OLD_KEYS: &str = "pyzord.digest.*";
/// How many keys one slice looks at: a millisecond or so of the server's time.
const SLICE: usize = 2000;

/// What is known of old records: where the search for them is, or `None` when it is over.
#[derive(Debug)]
pub(super) struct OldRecords(Option<Vec<u8>>);

impl OldRecords {
    /// Nobody has looked.
    pub(super) fn unknown() -> Self {
        Self(Some(b"0".to_vec()))
    }

    /// Nobody needs to look.
    pub(super) fn known() -> Self {
        Self(None)
    }
}

impl Redis {
    /// Looks at one slice of all keys, until an old one is found or there are no more. Never `KEYS`, which would stop
    /// the server for as long as it takes. A server that is away is asked another time.
    pub(super) fn look_for_old_records(&mut self, now: Now) -> Progress {
        let Some(cursor) = &self.old.0 else { return Progress::Done };
        self.request.clear();
        scan(cursor, OLD_KEYS, SLICE, &mut self.request);
        if self.trip(now, Deadline::after(self.exchange)).is_none() {
            return Progress::Done;
        }
        let Ok(Page { cursor, keys }) = page(self.replies.pop()) else { return Progress::Done };
        if !keys.is_empty() {
            log::warn!(
                "{}: there are records in the deprecated layout redis_v0, which are not used; to move them, run \
                 `pyzor-migrate --delete --se redis_v0 --sd DSN --de redis --dd DSN`, where DSN is this database",
                self.link.name()
            );
        }
        let over = cursor == b"0" || !keys.is_empty();
        self.old.0 = (!over).then_some(cursor);
        if over { Progress::Done } else { Progress::More }
    }
}
