//! Several servers on one table: one of them expires its records.

use std::time::Duration;

use pyzord_core::{Now, Progress, Store, StoreOp, Task, Tick, UnixTime};
use pyzord_engines::mysql::Mysql;
use pyzord_testkit::MariadbServer;

use crate::support::{CALM, Case, call, engine, execute, mysql};

pub(crate) const CASES: &[Case] = &[
    (
        "one_of_two_servers_expires_and_the_other_takes_over",
        one_of_two_servers_expires_and_the_other_takes_over,
    ),
    ("nothing_in_the_row_keeps_the_lease_for_ever", nothing_in_the_row_keeps_the_lease_for_ever),
    ("a_server_with_a_wrong_clock_yields", a_server_with_a_wrong_clock_yields),
    ("without_a_lease_each_server_expires", without_a_lease_each_server_expires),
];

const DAY: u64 = 24 * 3600;

fn at(seconds: u64) -> Now {
    let tick = Tick::new(Duration::from_secs(seconds));
    Now { wall: UnixTime::from_seconds(1_700_000_000).after(Duration::from_secs(seconds)), tick }
}

fn sharing(server: &MariadbServer, table: &str) -> Mysql {
    mysql(&server.dsn(table), CALM).sharing_expiry()
}

fn sync(store: &mut Mysql, seconds: u64) {
    store.upkeep(at(seconds), Task::Sync).unwrap();
}

/// Runs a round that ends at once if the lease is another server's; returns whether it was not.
fn expires(store: &mut Mysql, seconds: u64) -> bool {
    let limit = at(seconds).wall.before(Duration::from_secs(DAY));
    for task in [Task::Survey(limit), Task::Expire(limit)] {
        loop {
            match store.upkeep(at(seconds), task).unwrap() {
                Progress::More => (),
                Progress::Elsewhere => return false,
                Progress::Done | Progress::Surveyed(_) => break,
            }
        }
    }
    true
}

fn one_of_two_servers_expires_and_the_other_takes_over(server: &MariadbServer) {
    let mut counting = engine(server, "leased");
    assert!(execute(&mut counting, at(0), &[call(StoreOp::Report, 1)])[0].is_ok());
    let (mut first, mut second) = (sharing(server, "leased"), sharing(server, "leased"));
    sync(&mut first, 1);
    sync(&mut second, 1);
    assert_eq!((expires(&mut first, 2), expires(&mut second, 2)), (true, false));
    // The holder keeps it as long as it lives.
    for seconds in (5..400).step_by(5) {
        sync(&mut first, seconds);
        sync(&mut second, seconds);
    }
    assert_eq!((expires(&mut first, 400), expires(&mut second, 400)), (true, false));
    // It hangs: the other one takes over after a minute, and the first finds out.
    for seconds in (405..445).step_by(5) {
        sync(&mut second, seconds);
    }
    assert!(!expires(&mut second, 445));
    for seconds in (445..480).step_by(5) {
        sync(&mut second, seconds);
    }
    assert_eq!((expires(&mut second, 480), expires(&mut first, 480)), (true, false));
    assert_eq!(server.rows("SELECT COUNT(*) FROM pyzor.leased").trim(), "1");
    assert!(expires(&mut second, 3 * DAY));
    assert_eq!(server.rows("SELECT COUNT(*) FROM pyzor.leased").trim(), "0");
    // One that is stopped gives it back after its last sync, and the next one has it at once.
    sync(&mut second, 3 * DAY + 5);
    drop(second);
    assert!(expires(&mut first, 3 * DAY + 20));
    // An operator's command expires in any case.
    assert!(expires(&mut counting, 3 * DAY + 20));
}

fn nothing_in_the_row_keeps_the_lease_for_ever(server: &MariadbServer) {
    drop(engine(server, "junk"));
    for (number, row) in
        ["'~~~~~~~~~~~~~~~~', '9999999999999999'", "'ghost', ''", "'', 'x'"].into_iter().enumerate()
    {
        server.query(&format!(
            "DELETE FROM pyzor.junk_lease; INSERT INTO pyzor.junk_lease VALUES ('expiry', {row}), ('other', 'a', 'b')"
        ));
        let mut store = sharing(server, "junk");
        for seconds in (0..100).step_by(5) {
            sync(&mut store, seconds);
        }
        assert!(expires(&mut store, 100), "{number}");
    }
}

fn a_server_with_a_wrong_clock_yields(server: &MariadbServer) {
    drop(engine(server, "yielding"));
    let (mut wrong, mut right) = (sharing(server, "yielding"), sharing(server, "yielding"));
    assert!(expires(&mut wrong, 0));
    assert!(!expires(&mut right, 0));
    // It does not believe its clock: no expiry follows its survey, but another survey.
    let survey =
        |store: &mut Mysql, seconds| store.upkeep(at(seconds), Task::Survey(at(seconds).wall)).unwrap();
    assert!(matches!(survey(&mut wrong, 20), Progress::Surveyed(_)));
    assert_eq!(survey(&mut wrong, 3700), Progress::Elsewhere);
    sync(&mut wrong, 3720);
    sync(&mut right, 3720);
    assert_eq!((expires(&mut wrong, 3740), expires(&mut right, 3740)), (false, true));
}

fn without_a_lease_each_server_expires(server: &MariadbServer) {
    drop(engine(server, "leaseless"));
    let (mut first, mut second) = (sharing(server, "leaseless"), sharing(server, "leaseless"));
    assert_eq!((expires(&mut first, 0), expires(&mut second, 0)), (true, false));
    for change in [
        "DROP TABLE pyzor.leaseless_lease",
        "CREATE TABLE pyzor.leaseless_lease (name int, holder int)",
        "DROP TABLE pyzor.leaseless_lease; CREATE TABLE pyzor.leaseless_lease (name int, holder int, beat datetime)",
    ] {
        server.query(change);
        let (mut first, mut second) = (sharing(server, "leaseless"), sharing(server, "leaseless"));
        assert_eq!((expires(&mut first, 0), expires(&mut second, 0)), (true, true), "{change}");
    }
    // A server that runs finds the table when it is right.
    server.query("DROP TABLE pyzor.leaseless_lease");
    assert_eq!((expires(&mut first, 20), expires(&mut second, 20)), (true, true));
    drop(engine(server, "leaseless"));
    sync(&mut first, 40);
    assert_eq!((expires(&mut first, 41), expires(&mut second, 41)), (true, false));
}
