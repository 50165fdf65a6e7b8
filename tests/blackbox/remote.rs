//! Servers with a real redis-server and a real mariadbd: shared, absent, suspended and killed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use pyzord_testkit::{MariadbServer, RedisServer};

use crate::harness::{
    Client, Home, Server, digest, field, request, run_python, wait_for, with_python_server,
};

/// A database server of any kind.
trait Database {
    fn engine(&self) -> &'static str;
    fn dsn(&self) -> String;
    /// The same for Python's server, with the environment variables that its client library needs.
    fn python_dsn(&self) -> String;
    fn environment(&self) -> Vec<(&'static str, String)>;
    fn hang(&self);
    fn go_on(&self);
    fn kill(&mut self);
    fn restart(&mut self);
}

struct Redis(RedisServer);

impl Database for Redis {
    fn engine(&self) -> &'static str {
        "redis"
    }

    fn dsn(&self) -> String {
        format!("127.0.0.1,{},,0", self.0.port())
    }

    fn python_dsn(&self) -> String {
        self.dsn()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn hang(&self) {
        self.0.hang();
    }

    fn go_on(&self) {
        self.0.go_on();
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

struct Mysql(MariadbServer);

impl Database for Mysql {
    fn engine(&self) -> &'static str {
        "mysql"
    }

    fn dsn(&self) -> String {
        self.0.dsn("digests")
    }

    /// Python's DSN has no place for a port.
    fn python_dsn(&self) -> String {
        self.dsn().replacen(&format!(":{}", self.0.port()), "", 1)
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("MYSQL_TCP_PORT", self.0.port().to_string())]
    }

    fn hang(&self) {
        self.0.hang();
    }

    fn go_on(&self) {
        self.0.go_on();
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn restart(&mut self) {
        self.0.restart();
    }
}

/// A redis-server that writes each change to the disk before it acknowledges it.
fn redis() -> Redis {
    Redis(RedisServer::durable())
}

/// A mariadbd with the table, created as an administrator creates it.
fn mysql() -> Mysql {
    let database = Mysql(MariadbServer::start());
    let output = Home::new().run(&["-e", "mysql", "--dsn", &database.dsn(), "--create-table"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    database
}

fn serve(database: &dyn Database) -> Server {
    Server::start(&["-e", database.engine(), "--dsn", &database.dsn()])
}

fn code(client: &Client, op: &str, digest: &str) -> String {
    field(&client.ask(request(op, &[digest])), "Code").to_owned()
}

/// Waits until every connection of a server is open: many requests in a row are answered.
fn settle(client: &Client) {
    wait_for("the database", || (0..50).all(|_| code(client, "check", &digest(0)) == "200").then_some(()));
}

/// Reports a digest until the report is acknowledged.
fn report(client: &Client, digest: &str) {
    wait_for("a report", || (code(client, "report", digest) == "200").then_some(()));
}

/// Python's pre-fork server stored 716 of 2000.
fn no_increment_is_lost(database: &dyn Database) {
    let servers = [serve(database), serve(database)];
    let spam = digest(77);
    servers.iter().for_each(|server| settle(&server.client()));
    thread::scope(|scope| {
        for number in 0..8 {
            let (server, spam) = (&servers[number % 2], &spam);
            scope.spawn(move || {
                let client = server.client();
                (0..250).for_each(|_| assert_eq!(code(&client, "report", spam), "200"));
            });
        }
    });
    for server in &servers {
        assert_eq!(server.client().check(&spam), (2000, 0));
    }
}

fn python_reads_and_writes_the_same(database: &dyn Database) {
    let home = Home::new();
    let (engine, dsn) = (database.engine(), database.dsn());
    home.write("config", format!("[server]\nEngine = {engine}\nDigestDB = {dsn}\nCleanupAge = 1000000\n"));
    home.write("pyzord.access", "all : anonymous : allow\n");
    let (theirs, ours) = (digest(101), digest(102));
    with_python_server(&home, &["--dsn", &database.python_dsn()], &database.environment(), |client| {
        (0..3).for_each(|_| assert_eq!(code(client, "report", &theirs), "200"));
        assert_eq!(code(client, "whitelist", &theirs), "200");
    });
    let server = Server::on(home, &[]);
    let client = server.client();
    settle(&client);
    assert_eq!(client.check(&theirs), (3, 1));
    report(&client, &theirs);
    report(&client, &ours);
    assert_eq!(code(&client, "whitelist", &ours), "200");
    let before = client.ask(request("info", &[&theirs]));
    let home = server.stop();
    with_python_server(&home, &["--dsn", &database.python_dsn()], &database.environment(), |client| {
        assert_eq!(client.check(&theirs), (4, 1));
        assert_eq!(client.check(&ours), (1, 1));
        let after = client.ask(request("info", &[&theirs]));
        for name in ["Entered", "Updated", "WL-Entered", "WL-Updated"] {
            assert_eq!(field(&after, name), field(&before, name), "{name}");
        }
        assert_eq!(code(client, "report", &ours), "200");
    });
}

/// Without its database the server starts, answers pings and refuses the rest; it recovers soon after the database.
fn an_absent_database_is_waited_for(database: &mut dyn Database) {
    database.kill();
    let server = serve(database);
    let client = server.client();
    let spam = digest(201);
    assert_eq!(code(&client, "ping", &spam), "200");
    let refused = client.ask(request("check", &[&spam]));
    assert_eq!(field(&refused, "Diag"), "Internal Server Error: Database temporarily unavailable.");
    assert_eq!(code(&client, "pong", &spam), "200");
    database.restart();
    report(&client, &spam);
    settle(&client);
    assert_eq!(client.check(&spam), (1, 0));
    // The loss of a connection that lasted for a second is logged with the next request.
    wait_for("the log", || {
        settle(&client);
        server.log().contains("is back; failed attempts: ").then_some(())
    });
}

/// A database that hangs stops no ping and fills no memory; acknowledged reports are there when it continues.
fn a_database_that_hangs_stops_no_ping(database: &dyn Database) {
    let server = serve(database);
    let client = server.client();
    let spam = digest(301);
    report(&client, &spam);
    let before = server.memory();
    database.hang();
    for _ in 0..200 {
        let checker = server.client();
        for _ in 0..20 {
            checker.send(request("report", &[&spam]));
        }
        assert_eq!(code(&client, "ping", &spam), "200");
    }
    let refused = wait_for("a refusal", || {
        let reply = client.ask(request("check", &[&spam]));
        (field(&reply, "Code") == "500").then_some(reply)
    });
    assert!(refused.contains("temporarily unavailable"));
    let after = server.memory();
    assert!(after < before + 8192, "from {before} KiB to {after} KiB");
    database.go_on();
    settle(&client);
    assert!(client.check(&spam).0 >= 1);
}

/// Sets a flag when it goes out of scope.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills the database under load: every acknowledged report is there afterwards.
fn acknowledged_reports_survive_a_kill(database: &mut dyn Database) {
    let server = serve(database);
    let spam = digest(401);
    report(&server.client(), &spam);
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(1));
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = server.client();
            while !stop.load(Ordering::Relaxed) {
                let counted = code(&client, "report", &spam) == "200";
                acknowledged.fetch_add(u64::from(counted), Ordering::Relaxed);
            }
        });
        // The load ends with this block, also after a panic.
        let _stop = Set(&stop);
        let pings = server.client();
        for _ in 0..3 {
            let before = acknowledged.load(Ordering::Relaxed);
            let under_load = || (acknowledged.load(Ordering::Relaxed) > before + 50).then_some(());
            wait_for("acknowledged reports", under_load);
            database.kill();
            (0..50).for_each(|_| assert_eq!(code(&pings, "ping", &spam), "200"));
            database.restart();
            settle(&pings);
        }
    });
    let acknowledged = acknowledged.into_inner();
    let (counted, _) = server.client().check(&spam);
    // A report may be counted without its acknowledgement: once for each kill and batch.
    assert!(counted >= acknowledged, "{counted} of {acknowledged}");
    assert!(counted <= acknowledged + 100, "{counted} of {acknowledged}");
}

fn suite(mut database: impl Database) {
    no_increment_is_lost(&database);
    python_reads_and_writes_the_same(&database);
    a_database_that_hangs_stops_no_ping(&database);
    acknowledged_reports_survive_a_kill(&mut database);
    an_absent_database_is_waited_for(&mut database);
}

#[test]
fn redis_serves() {
    suite(redis());
}

#[test]
fn mysql_serves() {
    suite(mysql());
}

#[test]
fn old_redis_records_are_logged() {
    let database = RedisServer::start();
    let script =
        "import redis, sys\nredis.Redis(port=int(sys.argv[1])).set('pyzord.digest.' + '0' * 40, '1,,,0,,')";
    run_python(script, &[&database.port().to_string()]);
    let server = Server::start(&["-e", "redis", "--dsn", &format!("127.0.0.1,{},,0", database.port())]);
    server.wait_for_log("pyzor-migrate --delete --se redis_v0");
    let old = Server::start(&["-e", "redis_v0", "--dsn", &format!("127.0.0.1,{},,0", database.port())]);
    let client = old.client();
    report(&client, &digest(0));
    assert_eq!(client.check(&digest(0)), (2, 0));
}

#[test]
fn a_table_that_is_missing_is_one_clear_error() {
    let database = Mysql(MariadbServer::start());
    let server = serve(&database);
    let client = server.client();
    assert_eq!(code(&client, "check", &digest(1)), "500");
    server.wait_for_log("--create-table");
    assert_eq!(code(&client, "ping", &digest(1)), "200");
    let output = Home::new().run(&["-e", "mysql", "--dsn", &database.dsn(), "--create-table"]);
    assert!(output.status.success());
    report(&client, &digest(1));
}
