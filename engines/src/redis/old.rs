//! Warns of records of the old layout.

use pyzord_core::Progress;

use super::request::Request;
use super::scan::{Cursor, Page};

/// The keys of the old layout. Those of the new one, `pyzord.digest_v1.`, do not match.
const OLD_KEYS: &str = "pyzord.digest.*";
/// How many keys one slice looks at: about a millisecond of the server's time.
const SLICE: usize = 2000;

/// The search for old records: where it is, or `None` when it is over.
#[derive(Debug)]
pub(super) struct OldRecords(Option<Cursor>);

impl OldRecords {
    /// Returns a search that is to be done.
    pub(super) fn unknown() -> Self {
        Self(Some(Cursor::default()))
    }

    /// Returns a search that is not needed.
    pub(super) fn known() -> Self {
        Self(None)
    }

    /// Adds the command that looks at the next slice of all keys; returns false if the search is over. Uses
    /// SCAN: KEYS would stop the server for as long as it takes.
    pub(super) fn look(&self, request: &mut Request) -> bool {
        let Some(cursor) = &self.0 else { return false };
        cursor.scan(OLD_KEYS, SLICE, request);
        true
    }

    /// Takes the reply, and warns if an old key is found, which ends the search.
    pub(super) fn found(&mut self, page: Page, database: &str) -> Progress {
        if !page.keys.is_empty() {
            log::warn!(
                "{database}: there are records in the deprecated layout redis_v0, which are not used; to move them, run \
                 `pyzor-migrate --delete --se redis_v0 --sd DSN --de redis --dd DSN`, where DSN is this database"
            );
        }
        self.0 = page.next.filter(|_| page.keys.is_empty());
        if self.0.is_none() { Progress::Done } else { Progress::More }
    }
}
