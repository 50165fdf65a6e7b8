//! The protocol over a real socket.

use crate::harness::{Client, Home, Server, digest, field, request};

#[test]
fn each_operation_is_answered_over_the_wire() {
    let server = Server::start(&["--access-file", "access"]);
    let client = server.client();
    let spam = digest(0xbeef);
    assert_eq!(client.ask(request("ping", &[])), "Code: 200\nDiag: OK\nPV: 2.1\nThread: 12345\n\n");
    assert_eq!(field(&client.ask(request("pong", &[&spam])), "Count"), "9223372036854775807");
    assert_eq!(client.check(&spam), (0, 0));
    assert_eq!(field(&client.ask(request("report", &[&spam, &spam, &digest(1)])), "Code"), "200");
    assert_eq!(client.check(&spam), (2, 0));
    let info = client.ask(request("info", &[&spam]));
    assert_eq!((field(&info, "Count"), field(&info, "WL-Entered")), ("2", "0"));
    assert!(field(&info, "Entered").parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(field(&client.ask(request("whitelist", &[&spam])), "Code"), "403");
}

#[test]
fn counts_survive_a_restart_and_a_kill() {
    let server = Server::start(&[]);
    let spam = digest(7);
    for _ in 0..10 {
        server.client().ask(request("report", &[&spam]));
    }
    let server = Server::on(server.stop(), &[]);
    assert_eq!(server.client().check(&spam), (10, 0));
    server.client().ask(request("report", &[&spam]));
    let server = Server::on(server.kill(), &[]);
    assert_eq!(server.client().check(&spam), (11, 0));
}

#[test]
fn one_socket_serves_both_families() {
    let server = Server::spawn(Home::new(), &["-a", "::", "-p", "0", "--usage-log-file", "usage"]);
    let port = server.address.port();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let client = Client::new(address.parse().unwrap());
        assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
    }
    let usage = server.stop().read("usage");
    assert!(usage.contains("INFO anonymous,127.0.0.1,ping,None,200\n"), "{usage}");
    assert!(usage.contains("INFO anonymous,::1,ping,None,200\n"), "{usage}");
}

#[test]
fn parallel_reports_are_all_counted() {
    let server = Server::start(&["--workers", "4"]);
    let spam = digest(42);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let client = server.client();
                for _ in 0..250 {
                    assert_eq!(field(&client.ask(request("report", &[&spam])), "Code"), "200");
                }
            });
        }
    });
    assert_eq!(server.client().check(&spam), (2000, 0));
}
