//! The server is killed several times while it starts and recovers a damaged database.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pyzord_core::{Digest, Record, Tally};
use pyzord_engines::Gdbm;

use crate::harness::{Guarded, Home, Server, digest};
use crate::load::count;
use crate::random::Random;
use crate::rounds;

const RECORDS: u32 = 3000;
/// Kills before a start runs to its end.
const KILLS: u32 = 8;

/// Creates a database with a bucket whose number of records is wrong by one.
fn damaged(path: &Path) {
    let store = Gdbm::open(path).unwrap();
    for number in 0..RECORDS {
        let reports = Tally { count: number.into(), ..Tally::default() };
        let key = Digest::parse(digest(number).as_bytes()).unwrap();
        store.put(key, &Record { reports, ..Record::default() }).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(path).unwrap();
    let address =
        |at: usize| usize::try_from(u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let count = address(address(8)) + 108;
    bytes[count] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Returns the numbers of backups and of unfinished new files beside the database.
fn beside(home: &Home) -> [usize; 2] {
    let names =
        fs::read_dir(home.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| name.starts_with("pyzord.db.")).collect();
    let backups = names.iter().filter(|name| name.ends_with('~')).count();
    [backups, names.len() - backups]
}

#[test]
fn a_start_may_be_killed_at_any_moment() {
    let mut random = Random::new();
    let (mut recovered, mut in_recovery, mut kills) = (0, 0, 0);
    let wanted = rounds(16);
    while kills < wanted {
        let home = Home::new();
        let path = home.path("pyzord.db");
        damaged(&path);
        let size = fs::metadata(&path).unwrap().len();
        for _ in 0..KILLS {
            let parts = beside(&home)[1];
            let mut command = home.command(&["--address", "127.0.0.1", "--port", "0"]);
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let guarded = Guarded(child);
            random.pause(Duration::from_millis(40));
            // Dropping kills the process.
            drop(guarded);
            assert!(fs::metadata(&path).unwrap().len() > size / 2, "the database is a whole file");
            in_recovery += u32::from(beside(&home)[1] > parts);
            kills += 1;
        }
        recovered += u32::from(fs::read(home.path("pyzord.db.~1~")).is_ok());
        let server = Server::on(home, &[]);
        assert_eq!(beside(&server.home)[0], 1, "one backup after any number of starts: {}", server.log());
        let client = server.client();
        for number in 0..RECORDS {
            assert_eq!(count(&client, &digest(number)), u64::from(number), "{}", server.log());
        }
        server.stop();
    }
    println!(
        "{kills} kills, {in_recovery} in a recovery; {recovered} files were recovered before the last start"
    );
}
