//! Copies of signed counts that reach two servers on one database: each digest counts once.

use std::net::UdpSocket;
use std::sync::Barrier;
use std::thread;

use pyzord_core::MAX_CLOCK_DIFFERENCE;
use pyzord_testkit::{Fault, MariadbServer, RedisServer, TcpProxy};

use crate::bob::{BOBS_KEY, Signed, home_of_bob, now, signed};
use crate::harness::{Home, Server, digest, field, request, wait_for};

/// A database that servers share.
pub(crate) enum Shared {
    Redis(RedisServer, &'static str),
    Mysql(MariadbServer),
}

impl Shared {
    pub(crate) fn redis(engine: &'static str) -> Self {
        Self::Redis(RedisServer::start(), engine)
    }

    pub(crate) fn mysql() -> Self {
        let this = Self::Mysql(MariadbServer::start());
        let arguments = this.arguments(this.port());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = Home::new().run(&[&arguments[..], &["--create-table"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        this
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Redis(server, _) => server.port(),
            Self::Mysql(server) => server.port(),
        }
    }

    /// Returns the arguments of a server that finds the database at this port.
    pub(crate) fn arguments(&self, port: u16) -> Vec<String> {
        let (engine, dsn) = match self {
            Self::Redis(_, engine) => (*engine, format!("127.0.0.1,{port},,0")),
            Self::Mysql(_) => ("mysql", format!("127.0.0.1:{port},pyzor,secret,pyzor,digests")),
        };
        vec!["-e".to_owned(), engine.to_owned(), "--dsn".to_owned(), dsn]
    }

    /// Starts a server on a home directory, which finds the database at this port.
    fn serve(&self, home: Home, port: u16) -> Server {
        self.serve_with(home, port, &[])
    }

    /// Starts a server with more arguments.
    pub(crate) fn serve_with(&self, home: Home, port: u16, more: &[&str]) -> Server {
        let arguments = self.arguments(port);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::on(home, &[&arguments[..], more].concat());
        settle(&server);
        server
    }

    /// Starts two servers.
    pub(crate) fn two(&self) -> [Server; 2] {
        [home_of_bob(), home_of_bob()].map(|home| self.serve(home, self.port()))
    }

    fn hang(&self) {
        match self {
            Self::Redis(server, _) => server.hang(),
            Self::Mysql(server) => server.hang(),
        }
    }

    fn go_on(&self) {
        match self {
            Self::Redis(server, _) => server.go_on(),
            Self::Mysql(server) => server.go_on(),
        }
    }
}

/// Waits until every connection of a server is open: many requests in a row are answered.
fn settle(server: &Server) {
    let client = server.client();
    let answered = || field(&client.ask(request("check", &[&digest(0)])), "Code") == "200";
    wait_for("the database", || (0..50).all(|_| answered()).then_some(()));
}

/// Sends copies until one is answered with 200: a copy gets no answer while another one waits for the database.
fn acknowledged(server: &Server, signed: &Signed) {
    wait_for("an acknowledged copy", || {
        let client = server.client();
        client.send(&signed.datagram);
        client.receive_within(200).filter(|reply| field(reply, "Code") == "200").map(drop)
    });
}

/// Checks that each digest of these requests was counted once for each time that it is in one, as each server sees it.
fn counted_once(servers: &[Server], requests: &[Signed]) {
    let times = |op: &str, digest: &String| {
        let digests = requests.iter().filter(|request| request.op == op).flat_map(|request| &request.digests);
        digests.filter(|other| *other == digest).count() as u64
    };
    for server in servers {
        let client = server.client();
        for digest in requests.iter().flat_map(|request| &request.digests) {
            assert_eq!(client.check(digest), (times("report", digest), times("whitelist", digest)), "{digest}");
        }
    }
}

/// Reports and whitelistings of one digest and of many, some of which share digests and some have one twice.
fn requests(first: u32) -> Vec<Signed> {
    let time = now();
    let many: Vec<u32> = (first + 100..first + 120).collect();
    (0..40)
        .map(|number| {
            let op = if number % 3 == 0 { "whitelist" } else { "report" };
            let own = first + number;
            match number % 4 {
                0 => signed(op, &[own], 2000 + number, time),
                1 => signed(op, &[own, first + 99, first + 99], 2000 + number, time),
                2 => signed(op, &many, 2000 + number, time),
                _ => signed(op, &[first + 99], 2000 + number, time),
            }
        })
        .collect()
}

fn copies_at_once(database: &Shared) {
    let servers = database.two();
    let sent = requests(1000);
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, sent, start) = (&servers[number % 2], &sent, &start);
            scope.spawn(move || {
                let client = server.client();
                start.wait();
                sent.iter().for_each(|copy| client.send(&copy.datagram));
            });
        }
    });
    let acknowledge = |servers: &[Server]| {
        servers.iter().for_each(|server| sent.iter().for_each(|copy| acknowledged(server, copy)));
    };
    acknowledge(&servers);
    counted_once(&servers, &sent);
    // Neither server's memory knows them.
    let servers = servers.map(|server| database.serve(server.stop(), database.port()));
    acknowledge(&servers);
    counted_once(&servers, &sent);
    // Without a signature each copy is a request of its own.
    for server in &servers {
        assert_eq!(field(&server.client().ask(request("report", &[&digest(999)])), "Code"), "200");
    }
    assert_eq!(servers[0].client().check(&digest(999)), (2, 0));
}

/// The first server has asked the database and got no reply: the count is made, or is not.
fn a_copy_after_a_failed_trip(database: &Shared) {
    let proxy = TcpProxy::to(database.port());
    let servers = [proxy.port(), database.port()].map(|port| database.serve(home_of_bob(), port));
    for (first, fault) in [(2000, Fault::CutReply), (3000, Fault::CutRequest)] {
        let sent = requests(first);
        proxy.set(fault);
        for copy in &sent {
            assert_eq!(field(&servers[0].client().ask(&copy.datagram), "Code"), "500", "{fault:?}");
        }
        sent.iter().for_each(|copy| acknowledged(&servers[1], copy));
        counted_once(&servers[1..], &sent);
        proxy.set(Fault::None);
        settle(&servers[0]);
        sent.iter().for_each(|copy| acknowledged(&servers[0], copy));
        counted_once(&servers, &sent);
    }
}

/// Both servers have asked a database that hangs. What they sent is executed when it goes on, after they gave up.
fn copies_while_the_database_hangs(database: &Shared) {
    let servers = database.two();
    let sent = requests(4000);
    database.hang();
    for server in &servers {
        let client = server.client();
        sent.iter().for_each(|copy| client.send(&copy.datagram));
        // The first refusal comes when the first trip has failed.
        assert_eq!(field(&client.receive(), "Code"), "500");
    }
    database.go_on();
    servers.iter().for_each(settle);
    servers.iter().for_each(|server| sent.iter().for_each(|copy| acknowledged(server, copy)));
    counted_once(&servers, &sent);
}

/// One address leads to both servers, and what a server forwards to it reaches both. A forwarded report is a request of
/// its own: it counts beside the client's own one.
fn a_forwarded_report(database: &Shared) {
    let servers = database.two();
    let shared = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = shared.local_addr().unwrap();
    let forward = Home::new();
    forward.write("servers", format!("{address}\n"));
    forward.write("accounts", format!("127.0.0.1 : {} : bob : 5a17,{BOBS_KEY}\n", address.port()));
    let relay = Server::on(home_of_bob(), &["--forward-client-homedir", forward.dir().to_str().unwrap()]);
    let sent = signed("report", &[5000], 2000, now());
    acknowledged(&relay, &sent);
    acknowledged(&servers[0], &sent);
    let mut forwarded = [0; 8192];
    let (length, _) = shared.recv_from(&mut forwarded).unwrap();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (server, start, copy) = (&servers[number % 2], &start, &forwarded[..length]);
            scope.spawn(move || {
                let client = server.client();
                start.wait();
                client.send(copy);
            });
        }
    });
    for server in &servers {
        acknowledged(server, &Signed { datagram: forwarded[..length].to_vec(), ..signed("report", &[], 0, 0) });
        assert_eq!(server.client().check(&digest(5000)), (2, 0));
    }
}

/// Two servers that forward to a third one forward what each has counted, and no copy.
fn what_is_counted_once_is_forwarded_once(database: &Shared) {
    let third = Server::on(home_of_bob(), &[]);
    let forward = Home::new();
    forward.write("servers", format!("{}\n", third.address));
    let forward = ["--forward-client-homedir".to_owned(), forward.dir().display().to_string()];
    let arguments = [&forward[..], &database.arguments(database.port())].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let servers = [home_of_bob(), home_of_bob()].map(|home| Server::on(home, &arguments));
    servers.iter().for_each(settle);
    let sent: Vec<Signed> = requests(8000).into_iter().filter(|sent| sent.op == "report").collect();
    for copies in 1..=2 {
        for (number, copy) in sent.iter().enumerate() {
            acknowledged(&servers[(number + copies) % 2], copy);
        }
    }
    let client = third.client();
    let digests = || sent.iter().flat_map(|sent| &sent.digests);
    wait_for("all counts", || digests().all(|digest| client.check(digest).0 > 0).then_some(()));
    // A stop sends what waits: a copy among it would count now.
    for server in servers {
        let log = server.stop().read("stderr");
        assert!(log.contains(" digests accepted") && !log.contains(": 0 digests accepted"), "{log}");
    }
    counted_once(&[third], &sent);
}

/// What an eavesdropper sends later has a signature that has expired, at every server.
fn an_old_copy(database: &Shared) {
    let servers = database.two();
    for (number, age) in [(6000, 86_400), (6001, 310), (6002, -310)] {
        let old = signed("report", &[number], 2000, now() - age);
        for server in &servers {
            assert_eq!(field(&server.client().ask(&old.datagram), "Code"), "401", "{age}");
            assert_eq!(server.client().check(&digest(number)), (0, 0));
        }
    }
}

fn suite(database: &Shared) {
    copies_at_once(database);
    a_copy_after_a_failed_trip(database);
    copies_while_the_database_hangs(database);
    a_forwarded_report(database);
    what_is_counted_once_is_forwarded_once(database);
    an_old_copy(database);
    a_copy_at_a_server_whose_clock_is_behind(database);
}

#[test]
fn redis_counts_copies_once() {
    suite(&Shared::redis("redis"));
}

#[test]
fn redis_v0_counts_copies_once() {
    suite(&Shared::redis("redis_v0"));
}

#[test]
fn mysql_counts_copies_once() {
    suite(&Shared::mysql());
}

/// Makes all marks of a request so many seconds older.
fn age_marks(database: &Shared, signed: &Signed, seconds: u64) {
    match database {
        Shared::Redis(server, engine) => {
            let record = if *engine == "redis" { "pyzord.digest_v1." } else { "pyzord.digest." };
            for (place, digest) in signed.digests.iter().enumerate() {
                let key = format!("pyzord.digest_marks.{{{record}{digest}}}.{}.{place}", signed.signature);
                let left = server.ask(&["TTL", &key]);
                let left = left.trim_start_matches(':').parse::<i64>().unwrap();
                assert!(left > 0, "{key}");
                let _ = server.ask(&["EXPIRE", &key, &(left - seconds.cast_signed()).to_string()]);
            }
        }
        Shared::Mysql(server) => {
            server.query(&format!("UPDATE pyzor.digests_marks SET made = made - {seconds}"));
        }
    }
}

/// The client's clock may be ahead of the first server's, and the second server's behind it, each by as much as a signature
/// allows. A copy is then valid at the second server for 900 seconds after the count, and a mark has to live as long.
fn a_copy_at_a_server_whose_clock_is_behind(database: &Shared) {
    let server = database.serve(home_of_bob(), database.port());
    let sent = signed("report", &[7000, 7000, 7001], 2000, now());
    acknowledged(&server, &sent);
    age_marks(database, &sent, 3 * MAX_CLOCK_DIFFERENCE.as_secs() - 20);
    let behind = database.serve(home_of_bob(), database.port());
    acknowledged(&behind, &sent);
    counted_once(&[server, behind], &[sent]);
}
