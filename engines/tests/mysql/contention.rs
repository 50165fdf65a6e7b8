//! Statements that are in each other's way: locked rows, and nodes of a Galera cluster.

use std::thread;

use pyzord_core::{Mark, Store, StoreAnswer, StoreCall, StoreError, StoreOp};
use pyzord_engines::mysql::{Mysql, Timeouts};
use pyzord_testkit::{GaleraCluster, MariadbServer, wait_for};

use crate::common::digest;
use crate::support::{CALM, Case, call, engine, execute, mysql, tick};

pub(crate) const CASES: &[Case] =
    &[("only_the_digest_whose_row_is_locked_fails", only_the_digest_whose_row_is_locked_fails)];

fn failures(answers: &[StoreAnswer]) -> Vec<usize> {
    answers.iter().enumerate().filter(|(_, answer)| answer.is_err()).map(|(n, _)| n).collect()
}

/// A client that hung within a transaction failed all batches with its digest, of up to 128.
fn only_the_digest_whose_row_is_locked_fails(server: &MariadbServer) {
    let mut calm = engine(server, "locked");
    let calls: Vec<StoreCall> = (0..128).map(|n| call(StoreOp::Report, n)).collect();
    assert_eq!(failures(&execute(&mut calm, tick(0), &calls)), [0_usize; 0]);
    let locked = digest(77);
    thread::scope(|scope| {
        let holder = scope.spawn(move || {
            server.query(&format!(
                "BEGIN; UPDATE pyzor.locked SET wl_count = 5 WHERE digest = '{locked}'; SELECT SLEEP(20); ROLLBACK"
            ));
        });
        let holders = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(20)%'";
        wait_for("the lock", || (!server.rows(holders).is_empty()).then_some(()));
        let mut store = mysql(&server.dsn("locked"), Timeouts { connect: CALM.connect, ..Timeouts::SERVING });
        let mut millis = 0;
        wait_for("a batch of which one digest fails", || {
            millis += 1000;
            let failed = failures(&execute(&mut store, tick(millis), &calls));
            assert!(failed.contains(&77));
            (failed == [77]).then_some(())
        });
        // Signed counts likewise, and each of them once.
        let marked = |(place, call): (u8, &StoreCall)| {
            let mark = Some(Mark { signature: digest(1), place });
            StoreCall { mark, ..*call }
        };
        let marked: Vec<StoreCall> = (0..128).zip(&calls).map(marked).collect();
        wait_for("signed counts of which one fails", || {
            millis += 100;
            let answers = execute(&mut store, tick(millis), &marked);
            let open: Vec<usize> = failures(&answers)
                .into_iter()
                .filter(|n| answers[*n] != Err(StoreError::AlreadyCounted))
                .collect();
            assert!(open.contains(&77));
            (open == [77]).then_some(())
        });
        drop(store);
        let ids = server.rows(holders);
        ids.lines().for_each(|id| server.query(&format!("KILL {id}")));
        // The client of the administrator fails.
        drop(holder.join());
    });
    let counts = server.rows("SELECT COUNT(*) FROM pyzor.locked WHERE r_count >= 3 AND wl_count = 0");
    assert_eq!(counts.trim(), "127");
    assert_eq!(server.rows("SELECT COUNT(*) FROM pyzor.locked_marks").trim(), "127");
}

/// Reports 40 batches of hot digests, signed and not, and returns how many were acknowledged.
fn report_hot(store: &mut Mysql, signer: u64) -> (u64, u64) {
    let (mut counted, mut failed) = (0, 0);
    for batch in 0..40 {
        let calls: Vec<StoreCall> = (0..24)
            .map(|n| {
                let mark = Mark { signature: digest(signer * 1000 + batch), place: u8::try_from(n).unwrap() };
                let mark = Some(mark).filter(|_| n % 3 == 0);
                StoreCall { mark, ..call(StoreOp::Report, (n * 7 + batch * 5) % 50) }
            })
            .collect();
        for answer in execute(store, tick(1000 + batch), &calls) {
            *if answer.is_ok() { &mut counted } else { &mut failed } += 1;
        }
    }
    (counted, failed)
}

/// On two nodes 3 % of the reports of hot digests failed, and a node that was cut off kept its clients.
#[test]
fn nodes_of_a_cluster_count_hot_digests_and_are_left_when_they_are_not_ready() {
    let cluster = GaleraCluster::start();
    let on = |nodes: &[usize]| mysql(&cluster.dsn(nodes, "digests"), CALM);
    on(&[0]).create_table().unwrap();
    let (mut first, mut second) = (on(&[0]), on(&[1]));
    let [one, two] = thread::scope(|scope| {
        [scope.spawn(|| report_hot(&mut first, 1)), scope.spawn(|| report_hot(&mut second, 2))]
            .map(|reports| reports.join().unwrap())
    });
    assert_eq!((one.1, two.1), (0, 0));
    assert_eq!(one.0 + two.0, 2 * 40 * 24);
    let sum = cluster.rows(0, "SET SESSION wsrep_sync_wait = 1; SELECT SUM(r_count) FROM pyzor.digests");
    assert_eq!(sum.trim(), (one.0 + two.0).to_string());

    // A node that says 1047: the batch is counted on the next one.
    let mut both = mysql(&cluster.dsn(&[0, 1], "digests"), Timeouts { answer: CALM.connect, ..CALM });
    let users =
        |node| cluster.rows(node, "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'pyzor'");
    drop((first, second));
    assert!(execute(&mut both, tick(0), &[call(StoreOp::Report, 1)])[0].is_ok());
    wait_for("connections that are closed", || (users(0).trim() == "1").then_some(()));
    cluster.query(0, "SET GLOBAL wsrep_reject_queries = 'ALL'");
    let answers = execute(&mut both, tick(1), &[call(StoreOp::Read, 1), call(StoreOp::Report, 1)]);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(users(1).trim(), "1");
    let state = on(&[0, 1]).check().unwrap();
    assert!(
        state.contains(&format!("127.0.0.1:{} cannot be used: WSREP has not yet prepared", cluster.port(0))),
        "{state}"
    );
    cluster.query(0, "SET GLOBAL wsrep_reject_queries = 'NONE'");
    // A donor is used only for want of another one.
    cluster.query(0, "SET GLOBAL wsrep_desync = ON");
    let mut next = on(&[0, 1]);
    assert!(next.prepare(tick(0)) || execute(&mut next, tick(1), &[call(StoreOp::Report, 1)])[0].is_ok());
    wait_for("a connection to the second node", || {
        assert!(execute(&mut next, tick(2), &[call(StoreOp::Read, 1)])[0].is_ok());
        (users(1).trim() == "2").then_some(())
    });
    let mut only = mysql(&cluster.dsn(&[0], "digests"), CALM);
    assert!(execute(&mut only, tick(1), &[call(StoreOp::Report, 1)])[0].is_ok());
    cluster.query(0, "SET GLOBAL wsrep_desync = OFF");
}
