//! `--check-config` and the command line.

use std::net::{TcpListener, UdpSocket};
use std::process::Output;

use pyzord_testkit::RedisServer;

use crate::harness::{Home, LISTEN, Server};
use crate::pyzorctl::{ctl, feed};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_good_configuration_is_printed_with_its_sources_and_nothing_is_created() {
    let home = Home::new();
    home.write("config", "# comment\n[server]\nPort = 25000\nCleanupAge = 0\n");
    let output = home.run(&["--check-config", "--all", "--workers", "3", "--cleanup-age=5"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    for line in
        ["Port = 25000 (line 3)", "CleanupAge = 5 (--cleanup-age)", "Engine = gdbm (default)", "workers: 3"]
    {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    }
    assert!(text.contains("does not exist yet and will be created"));
    assert!(!home.path("pyzord.db").exists());
    let missing = home.path("none");
    assert!(home.run(&["--homedir", missing.to_str().unwrap(), "--check-config"]).status.code().is_some());
    assert!(!missing.exists());
}

#[test]
fn warnings_name_the_file_the_line_and_the_cause() {
    let home = Home::new();
    home.write("config", "[server]\nAcessFile = other\nPreFork = 4\nPort = 1\nPort = 2\n");
    home.write("pyzord.passwd", "bob : 1234\nnonsense\n");
    home.write("pyzord.access", "check : bob : deny\nall : all : allow\n");
    let text = stdout(&home.run(&["--check-config"]));
    for cause in [
        "config, line 2: there is no setting AcessFile; did you mean AccessFile?",
        "config, line 5: Port is also on line 4; this line counts",
        "pyzord.passwd, line 2: skipped: a line is `user : key`",
        "pyzord.access, line 1: this line denies check to `bob` and line 2 allows it",
        "PreFork: served by",
    ] {
        assert!(text.contains(cause), "{cause} is not in {text}");
    }
}

#[test]
fn files_that_are_empty_or_marked_or_links_to_nothing_yield_warnings() {
    let home = Home::new();
    home.write("pyzord.access", " \n");
    std::os::unix::fs::symlink(home.path("none"), home.path("pyzord.passwd")).unwrap();
    let text = stdout(&home.run(&["--check-config"]));
    assert!(text.contains("pyzord.access is empty: every request is refused"), "{text}");
    assert!(text.contains("pyzord.passwd: the link points to no file, so there is none"), "{text}");
    let home = Home::new();
    home.write("pyzord.passwd", "\u{feff}alice : 1234\n");
    home.write("config", "\u{feff}[server]\nPort = 25001\n");
    let text = stdout(&home.run(&["--check-config"]));
    assert!(text.contains("Port = 25001 (line 2)") && text.contains("accounts: 1"), "{text}");
    assert!(text.contains("pyzord.passwd: it has a byte order mark"), "{text}");
    assert!(text.contains("config, line 1: a byte order mark"), "{text}");
    assert!(text.contains("pyzord.passwd, line 1: the key is not 40 hex digits"), "{text}");
}

/// The block of the user guide, copied with its tab, was one value: the server ran gdbm on all addresses. In the other
/// files, settings had no effect without a word.
#[test]
fn settings_are_read_as_python_reads_them_or_have_a_warning() {
    for (config, expected) in [
        ("\t[server]\n\tEngine = redis\n\tDigestDB = localhost,1,,0\n", "Engine = redis (line 2)"),
        ("[DEFAULT]\nbase = /a%(b)s\nb = %(port)s\n[server]\nPort = 7\nLogFile = %(base)s\n", "LogFile = /a7 (line 6)"),
        ("[DEFAULT]\nloglevel = x\n[server]\nLogFile = /%(LogLevel)s\n", "LogFile = /x (line 4)"),
        ("[Server]\nEngine = redis\n", "warning: configuration file"),
        ("[server]\nPort = 24441\n\n[client]\nEngine = mysql\n", "line 5: Engine below [client] is ignored"),
        ("[server]\nLogFile = pyzord.log # log\n", "line 2: `#` and what follows it is part of the value of LogFile"),
        ("[server]\nPort = 1\n  Engine = redis\n", "line 3: this line continues the value of Port"),
        ("[server]\nThreads = True ; yes\n", "line 2: the value of Threads is not True"),
        ("[server]\nLogFile = ${LOG}\n", "line 2: the value of LogFile has a placeholder"),
    ] {
        let home = Home::new();
        home.write("config", config);
        let output = home.run(&["--check-config"]);
        let text = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    // An option counts in references, too.
    let home = Home::new();
    home.write("config", "[server]\nLogFile = pyzord-%(Port)s.log\n");
    let text = stdout(&home.run(&["--check-config", "-p", "25001"]));
    assert!(text.contains("LogFile = pyzord-25001.log (line 2)"), "{text}");
}

#[test]
fn errors_end_with_status_1_and_name_their_source() {
    for (config, arguments, cause) in [
        ("[server]\nPort = many\n", &[][..], "config, line 2: Port: `many` is not a port from 0 to 65535"),
        ("[server]\nPort = 65536\n", &[], "is not a port"),
        ("Port = 1\n", &[], "config, line 1: there is no `[section]` above this line"),
        ("[server]\nnonsense\n", &[], "config, line 2: this is neither"),
        ("[server]\nCleanupAge = -1\n", &[], "is not a whole number of seconds"),
        (
            "",
            &["--access-order", "middle"],
            "option --access-order: `middle` is not first-match or last-match",
        ),
        ("", &["--runtime", "gevent"], "is not a runtime of this build"),
        ("[server]\nEngine = dbase\n", &[], "config, line 2: Engine: this build has no engine `dbase`"),
        ("[server]\nEngine = redis\nDigestDB = a,b\n", &[], "config, line 3: DigestDB: its second field is not a port"),
        ("", &["-e", "mysql", "--dsn", "x"], "option --dsn: "),
        ("[server]\nListenAddress = 192.0.2.1\n", &[], "config, line 2: ListenAddress: cannot listen on"),
        ("[server]\nDigestDB = /no-such-folder/db\n", &[], "database /no-such-folder/db cannot be opened"),
        ("", &["--log-file", "/no-such-folder/log"], "log file /no-such-folder/log: No such file"),
        ("", &["--detach", "/no-such-folder/out"], "output file /no-such-folder/out: No such file"),
        ("", &["--detach", "/dev/null", "--pid-file", "/no-such-folder/pid"], "pid file /no-such-folder/pid: No such"),
        ("", &["--status-address", "192.0.2.1:80"], "option --status-address: cannot listen on 192.0.2.1:80"),
    ] {
        let home = Home::new();
        home.write("config", config);
        let listen = if config.contains("ListenAddress") { &["-p", "0"][..] } else { &LISTEN };
        let listen = if config.contains("Port") { &["-a", "127.0.0.1"] } else { listen };
        for check in [&["--check-config"][..], &[]] {
            let output = home.run(&[listen, arguments, check].concat());
            assert_eq!(output.status.code(), Some(1), "{config:?} {arguments:?}");
            let text = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(cause), "{cause} is not in {text}");
        }
    }
}

#[test]
fn a_file_that_is_no_database_is_an_error() {
    let home = Home::new();
    home.write("pyzord.db", vec![0x55; 10_000]);
    let output = home.run(&["--check-config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("pyzord.db"));
}

#[test]
fn the_configuration_of_a_running_server_can_be_checked() {
    let server = Server::start(&[]);
    let output = server.home.run(&["--check-config"]);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.contains("is in use by another process"), "{text}");
    // Its port is in use, too, but not by a stranger.
    let output = server.home.run(&["--check-config", "-a", "127.0.0.1", "-p", &server.address.port().to_string()]);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains("; a start fails while it runs"), "{text}");
}

/// A promise that the engine does not make must not be taken for one that it makes.
#[test]
fn a_promise_of_another_engine_is_an_error_or_a_warning() {
    for (engine, cause) in [
        ("gdbm", "only after a sync"),
        ("redis", "`appendfsync always`"),
        ("REDIS_V0", "wait-replicas=N"),
        ("mysql", "innodb_flush_log_at_trx_commit=1"),
    ] {
        let home = Home::new();
        let dsn = if engine == "gdbm" { "pyzord.db" } else { "127.0.0.1:1,user,secret,db,table" };
        let dsn = if engine.to_lowercase().starts_with("redis") { "127.0.0.1,1" } else { dsn };
        home.write("config", format!("[server]\nEngine = {engine}\nDurability = Strict\nDigestDB = {dsn}\n"));
        let place = format!("config, line 3: Durability: strict is a promise of the engine sqlite; with {}", {
            engine.split('_').next().unwrap().to_lowercase()
        });
        for check in [&["--check-config"][..], &[]] {
            let output = home.run(&[&LISTEN, check].concat());
            let text = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(&place) && text.contains(cause), "{place}, {cause}: {text}");
        }
        let text = stdout(&home.run(&[&LISTEN[..], &["--check-config", "--durability", "deferred"]].concat()));
        let warning = "warning: Durability: deferred is a promise of the engine sqlite; with ";
        assert!(text.contains(warning) && text.contains(cause) && text.contains("a start succeeds"), "{text}");
        let text = stdout(&home.run(&[&LISTEN[..], &["--check-config", "-e", "oracle"]].concat()));
        assert!(text.contains("this build has no engine `oracle`"), "{text}");
    }
    // The tools open the database all the same.
    let home = Home::new();
    home.write("config", "[server]\nDurability = strict\n");
    assert!(ctl(&home, &["check-database"]).status.success());
    let server = Server::start(&["--durability", "deferred"]);
    assert!(server.log().contains("WARNING Durability: deferred is a promise"), "{}", server.log());
}

/// The check was content with a port that another program has.
#[test]
fn the_port_of_another_program_is_an_error() {
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, status) = (udp.local_addr().unwrap().port().to_string(), tcp.local_addr().unwrap().to_string());
    for (arguments, cause) in [
        (["-p", &port, "--status-address", ""], format!("option --port: cannot listen on 127.0.0.1 port {port}: ")),
        (["-p", "0", "--status-address", &status], format!("option --status-address: cannot listen on {status}: ")),
    ] {
        let home = Home::new();
        let arguments = [&["-a", "127.0.0.1"], &arguments[..]].concat();
        for check in [&["--check-config"][..], &[]] {
            let output = home.run(&[&arguments, check].concat());
            let text = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && text.contains(&cause), "{check:?}: {text}");
        }
    }
}

#[test]
fn warnings_and_the_verdict_come_first_and_defaults_only_when_asked_for() {
    let home = Home::new();
    home.write("config", "[server]\nAcessFile = other\nWorkers = 3\nListenAddress = 127.0.0.1\n");
    let lines = |arguments: &[&str]| {
        let text = stdout(&home.run(&[&["--check-config", "-p", "0"], arguments].concat()));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let few = lines(&[]);
    assert!(few[0].starts_with("warning: ") && few[0].contains("AcessFile"), "{few:?}");
    assert_eq!(few[1], "verdict: a start succeeds; errors: 0, warnings: 1");
    assert!(few.iter().any(|line| line == "Workers = 3 (line 3)"), "{few:?}");
    assert!(!few.iter().any(|line| line.ends_with("(default)")), "{few:?}");
    let all = lines(&["--all"]);
    assert!(all.iter().any(|line| line == "CleanupAge = 10368000 (default)"), "{all:?}");
    let failing = lines(&["--log-file", "."]);
    assert!(failing.contains(&"verdict: a start fails; errors: 1, warnings: 1".to_owned()), "{failing:?}");
}

/// A table that lacks a default, and a redis without scripts, were found by the first report.
#[test]
fn what_a_remote_database_refuses_is_a_warning_and_is_logged_by_a_start() {
    let server = RedisServer::with(&["--rename-command", "EVAL", ""]);
    let arguments = ["-a", "127.0.0.1", "-p", "0", "-e", "redis", "--dsn", &format!("127.0.0.1,{}", server.port())];
    let text = stdout(&Home::new().run(&[&arguments[..], &["--check-config"]].concat()));
    assert!(text.starts_with("warning: redis ") && text.contains("nothing is counted, reports get 500: "), "{text}");
    assert!(text.contains("\nverdict: a start succeeds; errors: 0, warnings: 1\n"), "{text}");
    let started = Server::spawn(Home::new(), &arguments);
    started.wait_for_log("nothing is counted, reports get 500: ");
    started.stop();
}

#[test]
fn the_version_and_the_help_are_printed() {
    let home = Home::new();
    assert!(stdout(&home.run(&["-V"])).starts_with("pyzord 0."));
    assert!(stdout(&home.run(&["--help"])).contains("--usage-log-file"));
    assert_eq!(home.run(&["--no-such-option"]).status.code(), Some(2));
}

/// A file that a start creates anew was an error, and the next start succeeded.
#[test]
fn a_database_whose_creation_was_cut_short_is_a_warning() {
    let home = Home::new();
    assert!(feed(&home, &["import"], "").status.success());
    let path = home.path("pyzord.db");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..4096]).unwrap();
    let output = home.run(&["--check-config"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains("pyzord creates it anew when it starts"), "{text}");
    let checked = ctl(&home, &["check-database"]);
    assert!(stdout(&checked).contains("needs recovery"), "{}", stdout(&checked));
    assert_eq!(std::fs::read(&path).unwrap().len(), 4096, "nothing is written");
    let server = Server::on(home, &[]);
    assert!(server.log().contains("is created anew"), "{}", server.log());
}
