//! Several hosts in a DSN: servers that are away, hang or are read-only.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use pyzord_core::{Mark, StoreCall, StoreError, StoreOp};
use pyzord_engines::mysql::{Mysql, Timeouts};
use pyzord_testkit::{MariadbServer, wait_for};

use crate::common::{digest, now};
use crate::support::{CALM, call, execute, mysql, tick};

fn dsn(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("mysql://pyzor:secret@{}/pyzor", hosts.join(","))
}

fn count(server: &MariadbServer) -> u64 {
    server.rows("SELECT COALESCE(SUM(r_count), 0) FROM pyzor.digests").trim().parse().unwrap()
}

fn report(store: &mut Mysql, millis: u64) -> Result<(), StoreError> {
    execute(store, tick(millis), &[call(StoreOp::Report, 1)])[0].map(drop)
}

fn until_it_works(store: &mut Mysql, mut millis: u64) -> u64 {
    wait_for("a report", || {
        millis += 50;
        report(store, millis).ok().map(|()| millis)
    })
}

/// A DSN named one server, and its end was the end of all counting.
#[test]
fn hosts_are_tried_in_their_order_until_one_is_writable() {
    let (mut first, mut second) = (MariadbServer::start(), MariadbServer::start());
    let both = dsn(&[first.port(), second.port()]);
    for server in [&first, &second] {
        mysql(&dsn(&[server.port()]), CALM).create_table().unwrap();
    }
    let mut store = mysql(&both, Timeouts { connect: CALM.connect, ..Timeouts::SERVING });
    let mut other = store.another();
    assert_eq!((report(&mut store, 0), report(&mut other, 0)), (Ok(()), Ok(())));
    assert_eq!((count(&first), count(&second)), (2, 0));

    // The batch in which the first host refuses to write is counted on the second, marks too.
    first.query("SET GLOBAL read_only = 1");
    let mark = |place| Some(Mark { signature: digest(7), place });
    let marked = StoreCall { mark: mark(0), ..call(StoreOp::Report, 2) };
    let answers =
        execute(&mut store, tick(2000), &[call(StoreOp::Report, 1), marked, call(StoreOp::Read, 3)]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((count(&first), count(&second)), (2, 2));
    // The other engine follows before it meets the refusal, and stays there.
    let mut millis = 3000;
    wait_for("the other engine on the second host", || {
        millis += 50;
        assert!(execute(&mut other, tick(millis), &[call(StoreOp::Read, 1)])[0].is_ok());
        let users = second.rows("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'pyzor'");
        (users.trim() == "2").then_some(())
    });
    first.query("SET GLOBAL read_only = 0");
    assert_eq!((report(&mut store, 5000), report(&mut other, 5000)), (Ok(()), Ok(())));
    assert_eq!((count(&first), count(&second)), (2, 4));

    // The end of the second leads back to the first, and a restart of an engine begins there.
    second.kill();
    let millis = until_it_works(&mut store, 6000);
    until_it_works(&mut other, millis);
    assert!(count(&first) > 2);
    let state = mysql(&both, CALM).check().unwrap();
    assert!(state.contains(&format!("; 127.0.0.1:{} is writable", first.port())), "{state}");
    assert!(
        state.contains(&format!("; 127.0.0.1:{} cannot be used: Connection refused", second.port())),
        "{state}"
    );
    // With no host that writes, what can be read is read.
    first.query("SET GLOBAL read_only = 1");
    let calls = [call(StoreOp::Report, 1), call(StoreOp::Read, 2)];
    let mut millis = 20_000;
    wait_for("a read", || {
        millis += 1000;
        let answers = execute(&mut store, tick(millis), &calls);
        assert_eq!(answers[0].map(drop), Err(StoreError::Unavailable));
        answers[1].ok()
    });
    for n in 0..100 {
        let answers = execute(&mut store, tick(millis + n * 100), &calls);
        assert!(answers[0].is_err() && answers[1].is_ok(), "{answers:?}");
    }
    let state = mysql(&both, CALM).check().unwrap();
    assert!(state.contains(&format!("{} answers, and is not used: ", first.port())), "{state}");
    first.stop();
    second.restart();
    until_it_works(&mut store, 1_000_000);
}

/// A host that accepts and hangs used up the time for all others.
#[test]
fn a_host_that_hangs_does_not_hold_up_the_next() {
    let server = MariadbServer::start();
    mysql(&dsn(&[server.port()]), CALM).create_table().unwrap();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let hosts = dsn(&[silent.local_addr().unwrap().port(), server.port()]);
    let mut store = mysql(&hosts, Timeouts::SERVING);
    let (started, mut millis) = (now(), 0);
    wait_for("a report", || {
        millis += 1;
        report(&mut store, millis).ok()
    });
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    // Once it is known, it costs nothing.
    let mut next = store.another();
    assert_eq!(until_it_works(&mut next, 0), 50);
    let state = mysql(&hosts, CALM).check().unwrap();
    assert!(state.contains("cannot be used: it does not answer in time"), "{state}");
    assert!(!state.contains("secret"), "{state}");

    // A host that hangs in use is left, too.
    let spare = MariadbServer::start();
    mysql(&dsn(&[spare.port()]), CALM).create_table().unwrap();
    let mut store = mysql(&dsn(&[server.port(), spare.port()]), Timeouts::SERVING);
    let millis = until_it_works(&mut store, 0);
    server.hang();
    let answer = report(&mut store, millis + 2000);
    assert!(matches!(answer, Err(StoreError::Unknown | StoreError::Unavailable)), "{answer:?}");
    until_it_works(&mut store, millis + 3000);
    server.go_on();
    assert!(count(&spare) > 0);
}

/// A host that is there and lets the user not in, or has no table, is no end of the search.
#[test]
fn a_host_that_refuses_is_passed_over() {
    let (strange, empty, good) = (MariadbServer::start(), MariadbServer::start(), MariadbServer::start());
    strange.query("DROP USER pyzor@'%'");
    mysql(&dsn(&[good.port()]), CALM).create_table().unwrap();
    let mut store = mysql(&dsn(&[strange.port(), empty.port(), good.port()]), CALM);
    assert_eq!(report(&mut store, 0), Ok(()));
    assert_eq!(count(&good), 1);
    let failure = mysql(&dsn(&[strange.port(), empty.port()]), CALM).check().unwrap_err().to_string();
    assert!(failure.contains("Access denied") && failure.contains("does not exist"), "{failure}");
    assert!(!failure.contains("secret") && !failure.contains('\n'), "{failure}");
}
