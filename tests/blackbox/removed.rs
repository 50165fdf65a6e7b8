//! A gdbm file that is removed while the server has it open.

use std::fs;

use crate::harness::{Server, digest, request, wait_for};
use crate::http::{get, serve};

fn count(server: &Server, number: u32) -> String {
    server.client().ask(request("report", &[&digest(number)]))
}

/// The server acknowledged counts into the removed file, said nothing, and created an empty database at the next start.
#[test]
fn counts_are_refused_until_the_file_is_back() {
    let (server, page) = serve(&[]);
    assert!(count(&server, 1).starts_with("Code: 200"));
    let path = server.home.path("pyzord.db");
    fs::remove_file(&path).unwrap();
    wait_for("a refusal", || count(&server, 2).starts_with("Code: 500").then_some(()));
    wait_for("the health check", || (get(page, "/healthz").code != 200).then_some(()));
    server.wait_for_log("its file was removed or renamed while pyzord had it open");
    server.wait_for_log("its records are saved in");
    assert!(!path.exists());
    fs::rename(server.home.path("pyzord.db.removed"), &path).unwrap();
    wait_for("a count", || count(&server, 3).starts_with("Code: 200").then_some(()));
    wait_for("the health check", || (get(page, "/healthz").code == 200).then_some(()));
    let home = server.stop();
    let log = Server::on(home, &[]).log();
    assert!(!log.contains("does not exist and is created"), "{log}");
}
