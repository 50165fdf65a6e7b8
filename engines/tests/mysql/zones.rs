//! A database server whose time zone is not this machine's: Python's server writes `NOW()`, the server's time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pyzord_core::{StoreOp, UnixTime};
use pyzord_testkit::MariadbServer;

use crate::support::{CALM, at, call, digest, engine, execute, expire, mysql, read};

/// The rules of Berlin, for a machine without a zone's name.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// Winter, summer, and seconds around both changes of Berlin's clocks in 2026.
const INSTANTS: [i64; 8] = [
    1_768_478_400,
    1_784_116_800,
    1_774_745_999,
    1_774_746_000,
    1_792_886_399,
    1_792_886_400,
    1_792_893_600,
    1_700_000_000,
];

/// Writes rows as Python's server does, at these times, and returns when the engine thinks that they were written.
fn read_rows_of_python(server: &MariadbServer, table: &str) -> Vec<i64> {
    let insert = |(n, instant): (u64, i64)| {
        server.query(&format!(
            "SET timestamp = {instant}; INSERT INTO pyzor.{table} VALUES ('{}', 1, 0, NOW(), NOW(), NOW(), NOW())",
            digest(n)
        ));
    };
    (0..).zip(INSTANTS).for_each(insert);
    let mut engine = mysql(&server.dsn(table), CALM);
    let entered = |n| read(&mut engine, n).unwrap().reports.entered.unwrap().seconds();
    (0..INSTANTS.len() as u64).map(entered).collect()
}

/// Counts at these times, and compares the dates in the rows with the server's `NOW()` at the same times.
fn write_rows(server: &MariadbServer, table: &str) {
    let mut engine = engine(server, table);
    (0..).zip(INSTANTS).for_each(|(n, instant)| {
        assert!(execute(&mut engine, at(instant), &[call(StoreOp::Report, n)])[0].is_ok());
    });
    for (n, instant) in (0..).zip(INSTANTS) {
        let rows = server.rows(&format!(
            "SET timestamp = {instant}; SELECT r_entered = NOW(), r_updated = NOW() FROM pyzor.{table} \
             WHERE digest = '{}'",
            digest(n)
        ));
        assert_eq!(rows, "1\t1\n", "{table} {instant}");
    }
}

/// Checks both directions with the zone that the server has now.
fn check(server: &MariadbServer, name: &str) {
    write_rows(server, &format!("ours_{name}"));
    drop(engine(server, &format!("pythons_{name}")));
    assert_eq!(read_rows_of_python(server, &format!("pythons_{name}")), INSTANTS, "{name}");
    // A record expires by the same clock.
    let mut engine = engine(server, &format!("old_{name}"));
    let now = INSTANTS[1];
    execute(&mut engine, at(now), &[call(StoreOp::Report, 1)]);
    expire(&mut engine, now).unwrap();
    assert_eq!(read(&mut engine, 1).unwrap().reports.updated, Some(UnixTime::from_seconds(now)));
    expire(&mut engine, now + 1).unwrap();
    assert_eq!(read(&mut engine, 1).unwrap().reports.updated, None);
}

/// Fills the tables of named zones, which a server has only if an administrator did so.
fn load_zone(server: &MariadbServer, name: &str) {
    let zone = TimeZone::get(name).unwrap();
    let [first, last] = [1_100_000_000, 2_147_000_000].map(|second| Timestamp::from_second(second).unwrap());
    let mut sql = format!(
        "USE mysql; INSERT INTO time_zone VALUES (1, 'N'); INSERT INTO time_zone_name VALUES ('{name}', 1);"
    );
    let mut types = Vec::new();
    for change in zone.following(first).take_while(|change| change.timestamp() < last) {
        let kind = (change.offset().seconds(), change.dst().is_dst(), change.abbreviation().to_owned());
        if !types.contains(&kind) {
            types.push(kind.clone());
        }
        let place = types.iter().position(|known| *known == kind).unwrap();
        let second = change.timestamp().as_second();
        sql += &format!("INSERT INTO time_zone_transition VALUES (1, {second}, {place});");
    }
    for (place, (offset, dst, short)) in types.iter().enumerate() {
        let dst = u8::from(*dst);
        sql += &format!(
            "INSERT INTO time_zone_transition_type VALUES (1, {place}, {offset}, {dst}, '{short}');"
        );
    }
    server.query(&sql);
}

/// `Entered` was hours off: the dates were taken for this machine's time.
#[test]
fn dates_are_the_database_servers_time() {
    let server = MariadbServer::start_in(BERLIN, &[]);
    check(&server, "system");
    let told = mysql(&server.dsn("ours_system"), CALM).check().unwrap();
    assert!(told.contains("; dates are the database server's time, "), "{told}");
    for (zone, name) in [("+05:30", "east"), ("-08:00", "west"), ("+00:00", "utc")] {
        server.query(&format!("SET GLOBAL time_zone = '{zone}'"));
        check(&server, name);
    }
    load_zone(&server, "America/New_York");
    server.query("SET GLOBAL time_zone = 'America/New_York'");
    check(&server, "named");
    let told = mysql(&server.dsn("ours_named"), CALM).check().unwrap();
    assert!(told.contains("; dates are the database server's time, America/New_York; this"), "{told}");
}

/// A zone that changes its clocks in no known way: the present offset, and a warning.
#[test]
fn an_unknown_zone_is_told() {
    // The clocks change on other days than anywhere.
    let server = MariadbServer::start_in("XYZ-1:07ABC,M2.2.3,M8.2.3", &[]);
    drop(engine(&server, "unknown"));
    let mut engine = mysql(&server.dsn("unknown"), CALM);
    let told = engine.check().unwrap();
    assert!(told.contains("; the time zone of the database server is not known here"), "{told}");
    server.query(&format!(
        "INSERT INTO pyzor.unknown VALUES ('{}', 1, 0, NOW(), NOW(), NOW(), NOW())",
        digest(1)
    ));
    let now: i64 = server.rows("SELECT UNIX_TIMESTAMP()").trim().parse().unwrap();
    let entered = read(&mut engine, 1).unwrap().reports.entered.unwrap().seconds();
    assert!((now - 300..=now).contains(&entered), "{entered} {now}");
}
