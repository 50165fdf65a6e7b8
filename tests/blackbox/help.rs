//! What `-h` and `--help` show.

use std::process::Command;

fn help(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the options of a text, in its order.
fn options(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| line.trim_start().starts_with('-'));
    lines.filter_map(|line| line.split([' ', ',']).find(|word| word.starts_with("--"))).collect()
}

#[test]
fn the_short_help_of_the_server_has_the_ten_options_that_matter_first() {
    let program = env!("CARGO_BIN_EXE_pyzord");
    let short = help(program, &["-h"]);
    let expected = [
        "--homedir",
        "--check-config",
        "--version",
        "--address",
        "--port",
        "--database-engine",
        "--dsn",
        "--password-file",
        "--access-file",
        "--log-file",
        "--status-address",
        "--help",
    ];
    assert_eq!(options(&short), expected);
    let long = help(program, &["--help"]);
    let headings: Vec<&str> =
        long.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    assert_eq!(headings.first(), Some(&"Options:"));
    assert_eq!(headings.last(), Some(&"For compatibility with Python's server:"));
    // Each other option is below a heading of its own.
    let (first, rest) = long.split_once("\nProcess:").unwrap();
    assert_eq!(options(first), expected);
    assert!(options(rest).len() > 30, "{rest}");
}

#[test]
fn the_short_help_of_a_command_has_its_own_options() {
    let program = env!("CARGO_BIN_EXE_pyzorctl");
    let short = help(program, &["lookup", "-h"]);
    assert_eq!(options(&short), ["--json", "--help", "--homedir"], "{short}");
    assert!(short.lines().count() < 20, "{short}");
    for arguments in [&["lookup", "--help"][..], &["--help"]] {
        let long = help(program, arguments);
        assert!(long.contains("--database-engine") && long.contains("The server's settings:"), "{long}");
    }
    let commands = help(program, &["-h"]);
    assert!(commands.contains("lookup") && !commands.contains("--database-engine"), "{commands}");
}
