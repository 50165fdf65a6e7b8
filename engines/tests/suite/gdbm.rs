//! Files of the GNU dbm library.

use std::path::PathBuf;

use pyzord_core::{Digest, Record};
use pyzord_engines::Gdbm;
use tempfile::TempDir;

use crate::common::{digest, entries, scratch, write_raw};
use crate::subject::{Odd, Stored, Subject};

pub(crate) struct File {
    path: PathBuf,
    _directory: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        let (directory, path) = scratch();
        Self { path, _directory: directory }
    }
}

impl Subject for File {
    type Store = Gdbm;
    /// Signed counts are remembered by the guard of its one process.
    const KEEPS_MARKS: bool = false;
    const HISTORIES: u32 = 200;

    fn store(&self) -> Gdbm {
        Gdbm::open(&self.path).unwrap()
    }

    fn put(store: &mut Gdbm, digest: Digest, record: &Record) {
        Gdbm::put(store, digest, record).unwrap();
    }

    fn count(&self, store: &Gdbm) -> usize {
        entries(store).len()
    }
}

impl Stored for File {
    /// Returns a clone, as the workers of one server use: no second process can open the file.
    fn another(&self, store: &Gdbm) -> Gdbm {
        store.clone()
    }

    fn spoil(&self) -> Vec<Odd> {
        const VALUES: [(&[u8], &str); 8] = [
            (b"", "it has neither 3 nor 7 fields"),
            (b"junk", "it has neither 3 nor 7 fields"),
            (b"\xff\x00\xfe", "it has neither 3 nor 7 fields"),
            (b"7,1,2,3,4,5,6", "its version is not 1"),
            (b"1,-1,None,None,0,None,None", "a count is not a number from 0 to 9223372036854775807"),
            (
                b"1,1,None,None,9223372036854775808,None,None",
                "a count is not a number from 0 to 9223372036854775807",
            ),
            (b"1,1,2023-02-30 00:00:00,None,0,None,None", "a date is not of a known form"),
            (b"1,1,None,None,0,None,2023-02-30 00:00:00", "a date is not of a known form"),
        ];
        const SOUND: &[u8] = b"1,1,None,None,0,None,None";
        let keys = ["public".to_owned(), "g".repeat(40), "0".repeat(41)];
        let values = (1000..).zip(VALUES).map(|(n, (value, _))| (digest(n).to_string(), value));
        // Beside the record of the same digest, which the server counts.
        let upper = digest(0xabcdef).to_string().to_uppercase();
        let sound = keys.clone().into_iter().chain([upper.clone()]).map(|key| (key, SOUND));
        write_raw(&self.path, values.chain(sound));
        let values = (1000..)
            .zip(VALUES)
            .map(|(n, (_, why))| Odd::new(digest(n).to_string(), format!("the record is unreadable: {why}")));
        let keys = keys.map(|key| Odd::new(key, "the key is not a digest"));
        let upper = Odd::new(upper, "the key has digits in upper case, which no server looks for");
        values.chain(keys).chain([upper]).collect()
    }

    fn raw(&self, store: &Gdbm, digest: Digest) -> String {
        let entry = entries(store).into_iter().find(|(key, _)| *key == digest.hex());
        entry.unwrap().1.escape_ascii().to_string()
    }
}
