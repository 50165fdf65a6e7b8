//! Servers, proxies and networks that trickle, flood, cut and come late; and a server that becomes read-only.

use std::time::Duration;

use pyzord_core::{Mark, StoreCall, StoreError, StoreOp};
use pyzord_engines::mysql::{Mysql, Timeouts};
use pyzord_testkit::{Fault, MariadbServer, TcpProxy, wait_for};

use crate::common::{digest, now};
use crate::support::{Case, call, engine, execute, mysql, tick};

/// The bound for one call: far longer than promised, as the machine may be slow.
const SOON: Duration = Duration::from_secs(4);
const NOISE: &[u8] = &[0x11; 65536];
/// Packets of a megabyte, of noise.
const PACKET: &[u8] = &[0xff, 0xff, 0x0f, 1];

pub(crate) const CASES: &[Case] = &[
    (
        "a_reply_that_trickles_or_floods_ends_with_its_time",
        a_reply_that_trickles_or_floods_ends_with_its_time,
    ),
    ("a_late_greeting_is_reached", a_late_greeting_is_reached),
    ("a_connection_that_was_closed_costs_nothing", a_connection_that_was_closed_costs_nothing),
    ("a_cut_repeats_reads_and_never_counts", a_cut_repeats_reads_and_never_counts),
    ("a_cut_counts_once_with_a_mark", a_cut_counts_once_with_a_mark),
    ("a_read_only_server_reads_and_is_left", a_read_only_server_reads_and_is_left),
];

fn serving(server: &MariadbServer, proxy: &TcpProxy, table: &str, connect: u64) -> Mysql {
    drop(engine(server, table));
    let dsn = format!("127.0.0.1:{},pyzor,secret,pyzor,{table}", proxy.port());
    mysql(&dsn, Timeouts { connect: Duration::from_millis(connect), ..Timeouts::SERVING })
}

fn reports(store: &mut Mysql, millis: u64, n: u64) -> Result<u64, StoreError> {
    execute(store, tick(millis), &[call(StoreOp::Read, n)])[0].map(|record| record.reports.count)
}

/// Reads with ever later ticks until the database answers, and returns the tick at which it did.
fn until_back(store: &mut Mysql, from: u64) -> u64 {
    let mut millis = from;
    wait_for("the database to be back", || {
        millis += 50;
        reports(store, millis, 1).is_ok().then_some(millis)
    })
}

fn a_reply_that_trickles_or_floods_ends_with_its_time(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    for fault in [
        Fault::Trickle(&[0xff, 0xff, 0x0f, 1]),
        Fault::Trickle(&[1]),
        Fault::Flood(PACKET, NOISE),
        Fault::Flood(&[0xff, 0xff, 0xff, 1], NOISE),
        // More columns than there is memory.
        Fault::Flood(&[9, 0, 0, 1, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0x0f], NOISE),
        Fault::Flood(&[9, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], NOISE),
        // Empty packets, and an error without a code.
        Fault::Flood(&[0, 0, 0, 1], &[0, 0, 0, 1]),
        Fault::Flood(&[1, 0, 0, 1, 0xff], &[0, 0, 0, 1]),
        // The server asks for a file.
        Fault::Flood(&[5, 0, 0, 1, 0xfb, b'/', b'e', b't', b'c'], NOISE),
    ] {
        proxy.set(Fault::None);
        let mut store = serving(server, &proxy, "trickles", 10_000);
        let millis = until_back(&mut store, 0);
        proxy.set(fault);
        let started = now();
        assert_eq!(reports(&mut store, millis + 1, 1), Err(StoreError::Unavailable), "{fault:?}");
        assert!(started.elapsed() < SOON, "{fault:?}: {:?}", started.elapsed());
        proxy.close_all();
    }
}

fn a_late_greeting_is_reached(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(server, &proxy, "late", 400);
    proxy.set(Fault::LateGreeting(Duration::from_millis(700)));
    let mut millis = 0;
    wait_for("the greeting", || {
        millis += 1;
        let started = now();
        let answer = reports(&mut store, millis, 1);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        answer.ok()
    });
    assert_eq!(proxy.accepted(), 1);
}

fn a_connection_that_was_closed_costs_nothing(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(server, &proxy, "closed", 10_000);
    let millis = until_back(&mut store, 0);
    for n in 1..6 {
        proxy.close_all();
        let calls = [call(StoreOp::Report, 1), call(StoreOp::Read, 1), call(StoreOp::Whitelist, 2)];
        let answers = execute(&mut store, tick(millis + n), &calls);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(reports(&mut store, millis + n, 1), Ok(n));
    }
    // The server itself ends the connection.
    for n in 6..9 {
        let ids = server.rows(
            "SELECT GROUP_CONCAT(id) FROM information_schema.processlist WHERE user = 'pyzor' AND command = 'Sleep'",
        );
        ids.trim().split(',').for_each(|id| server.query(&format!("KILL {id}")));
        wait_for("the end of the connections", || {
            let left = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'pyzor'";
            (server.rows(left).trim() == "0").then_some(())
        });
        assert!(execute(&mut store, tick(millis + n), &[call(StoreOp::Report, 1)])[0].is_ok());
    }
    assert_eq!(reports(&mut store, millis + 10, 1), Ok(8));
}

fn a_cut_repeats_reads_and_never_counts(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(server, &proxy, "cut", 10_000);
    let mut millis = until_back(&mut store, 0);
    assert!(execute(&mut store, tick(millis), &[call(StoreOp::Report, 1)])[0].is_ok());
    let mut counted = 1;
    for fault in [Fault::CutRequest, Fault::CutReply] {
        proxy.set(fault);
        assert!(execute(&mut store, tick(millis + 1), &[call(StoreOp::Report, 1)])[0].is_err(), "{fault:?}");
        proxy.set(Fault::None);
        millis = until_back(&mut store, millis + 10_000);
        let now = reports(&mut store, millis, 1).unwrap();
        assert!(now <= counted + 1, "{fault:?}: {now} after {counted}");
        counted = now;
    }
}

fn a_cut_counts_once_with_a_mark(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(server, &proxy, "cutmarked", 10_000);
    let mut millis = until_back(&mut store, 0);
    for (place, fault) in (0..).zip([Fault::CutRequest, Fault::CutReply, Fault::CutReply]) {
        let mark = Some(Mark { signature: digest(9), place });
        let marked = StoreCall { mark, ..call(StoreOp::Report, 1) };
        proxy.set(fault);
        let answers = execute(&mut store, tick(millis + 1), &[marked]);
        assert!(matches!(answers[0], Err(StoreError::Unsettled | StoreError::Unavailable)), "{answers:?}");
        proxy.set(Fault::None);
        millis = until_back(&mut store, millis + 10_000);
        let answers = execute(&mut store, tick(millis), &[marked]);
        assert!(matches!(answers[0], Ok(_) | Err(StoreError::AlreadyCounted)), "{fault:?}: {answers:?}");
        assert_eq!(reports(&mut store, millis, 1), Ok(u64::from(place) + 1), "{fault:?}");
    }
}

/// A master that was demoted kept its clients: all reports failed until the server was restarted.
fn a_read_only_server_reads_and_is_left(server: &MariadbServer) {
    let proxy = TcpProxy::to(server.port());
    let mut store = serving(server, &proxy, "demoted", 10_000);
    let millis = until_back(&mut store, 0);
    let calls = [call(StoreOp::Report, 1), call(StoreOp::Read, 2)];
    assert!(execute(&mut store, tick(millis), &calls)[0].is_ok());
    server.query("SET GLOBAL read_only = 1");
    let connections = proxy.accepted();
    for n in 0..3 {
        let answers = execute(&mut store, tick(millis + 5000 + n), &calls);
        assert_eq!(answers[0], Err(StoreError::Unavailable));
        assert!(answers[1].is_ok());
    }
    assert_eq!(proxy.accepted(), connections);
    let mut later = millis + 5200;
    wait_for("another connection", || {
        later += 10;
        assert!(reports(&mut store, later, 2).is_ok());
        (proxy.accepted() > connections).then_some(())
    });
    server.query("SET GLOBAL read_only = 0");
    wait_for("a server that writes", || {
        later += 1000;
        execute(&mut store, tick(later), &calls)[0].ok()
    });
}
