//! `--check-config` and the command line.

use std::process::Output;

use crate::harness::{Home, Server};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_good_configuration_is_printed_with_its_sources_and_nothing_is_created() {
    let home = Home::new();
    home.write("config", "# comment\n[server]\nPort = 25000\nCleanupAge = 0\n");
    let output = home.run(&["--check-config", "--workers", "3", "--cleanup-age=5"]);
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
        ("[server]\nEngine = dbase\n", &[], "this build has no engine `dbase`"),
    ] {
        let home = Home::new();
        home.write("config", config);
        for check in [&["--check-config"][..], &[]] {
            let output = home.run(&[&["-a", "127.0.0.1"], arguments, check].concat());
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
}

#[test]
fn the_version_and_the_help_are_printed() {
    let home = Home::new();
    assert!(stdout(&home.run(&["-V"])).starts_with("pyzord 0."));
    assert!(stdout(&home.run(&["--help"])).contains("--usage-log-file"));
    assert_eq!(home.run(&["--no-such-option"]).status.code(), Some(2));
}
