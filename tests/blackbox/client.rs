//! Python's own client, `pyzor`, against our server.

use std::io::Write as _;
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Home, Server, python, run_python, wait_for};

const MESSAGE: &str = "From: a@example.com\nTo: b@example.com\nSubject: offer\n\n\
    Dear friend, this is an offer that you have been waiting for.\n\
    It will not last, so please reply before the end of the week.\n";

/// The home directory of a client that uses this server.
fn client_of(server: &Server) -> Home {
    let home = Home::new();
    home.write("servers", format!("{}\n", server.address));
    home
}

fn pyzor(home: &Home, arguments: &[&str], input: &str) -> Output {
    let mut command = python("pyzor");
    command.arg("--homedir").arg(home.dir()).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no input may end before the input is written.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// Returns what the client prints of the server's reply, without the server's address.
fn answer(home: &Home, arguments: &[&str]) -> String {
    let output = pyzor(home, arguments, MESSAGE);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, answer) = text.split_once('\t').unwrap_or_else(|| panic!("{output:?}"));
    answer.trim_end().to_owned()
}

#[test]
fn every_command_of_the_client_works() {
    let server = Server::start(&[]);
    let home = client_of(&server);
    assert_eq!(answer(&home, &["ping"]), "(200, 'OK')");
    assert_eq!(answer(&home, &["pong"]), "(200, 'OK')\t9223372036854775807\t0");
    assert_eq!(answer(&home, &["-s", "msg", "check"]), "(200, 'OK')\t0\t0");
    assert_eq!(answer(&home, &["report"]), "(200, 'OK')");
    assert_eq!(answer(&home, &["report"]), "(200, 'OK')");
    assert_eq!(answer(&home, &["-s", "msg", "check"]), "(200, 'OK')\t2\t0");
    let info = answer(&home, &["info"]);
    assert!(info.contains("\tCount: 2\n") && info.contains("\tWL-Count: 0\n"), "{info}");
    assert!(info.contains("WL-Entered: Thu Jan  1 00:00:00 1970") || info.contains("1969"), "{info}");
    assert_eq!(
        answer(&home, &["whitelist"]),
        "(403, 'Forbidden: User is not authorized to request the operation.')"
    );
    assert!(pyzor(&home, &["check"], MESSAGE).status.success(), "a hit is success to the client");
}

/// Returns a salt and a key of `pyzor genkey`, with the passphrase as an argument instead of typed.
fn genkey() -> (String, String) {
    let script = "import getpass, runpy, sys\n\
        getpass.getpass = lambda prompt='': 'a passphrase'\n\
        sys.argv = ['pyzor', '--homedir', sys.argv[2], 'genkey']\n\
        runpy.run_path(sys.argv[0] if False else __import__('os').path.join(sys.prefix, 'bin', 'pyzor'), run_name='__main__')";
    let home = Home::new();
    let printed = run_python(script, &["genkey", home.dir().to_str().unwrap()]);
    let (salt, key) = printed.lines().last().unwrap().split_once(',').unwrap();
    (salt.to_owned(), key.to_owned())
}

#[test]
fn accounts_made_with_genkey_have_the_rights_of_the_access_file() {
    let (salt, key) = genkey();
    let home = Home::new();
    home.write("pyzord.passwd", format!("bob : {key}\n"));
    home.write("pyzord.access", "check ping : anonymous : allow\nall : bob : allow\n");
    let server = Server::on(home, &[]);
    let (anonymous, bob, forger) = (client_of(&server), client_of(&server), client_of(&server));
    let account = |key: &str| format!("127.0.0.1 : {} : bob : {salt},{key}\n", server.address.port());
    bob.write("accounts", account(&key));
    forger.write("accounts", account(&key.replace(|digit| digit != '0', "0")));

    assert_eq!(answer(&bob, &["ping"]), "(200, 'OK')");
    assert_eq!(answer(&bob, &["report"]), "(200, 'OK')");
    assert_eq!(answer(&bob, &["whitelist"]), "(200, 'OK')");
    assert_eq!(answer(&bob, &["-s", "msg", "check"]), "(200, 'OK')\t1\t1");
    assert_eq!(answer(&anonymous, &["-s", "msg", "check"]), "(200, 'OK')\t1\t1");
    assert!(answer(&anonymous, &["report"]).starts_with("(403, "));
    assert_eq!(answer(&forger, &["ping"]), "(401, 'Unauthorized: Signature Error: Invalid signature.')");

    // A reload removes an account that is no longer in the file.
    server.home.write("pyzord.passwd", "eve : 1234\n");
    server.signal(Signal::SIGUSR1);
    let refused = "(401, 'Unauthorized: Signature Error: Unknown user.')";
    wait_for("the new accounts", || (answer(&bob, &["ping"]) == refused).then_some(()));
    assert!(!server.log().contains(&key), "keys never reach a log");
}

#[test]
fn many_digests_are_reported_one_by_one() {
    let server = Server::start(&[]);
    let home = client_of(&server);
    let digests: String = (0..20).map(|number| format!("{number:040x}\n")).collect();
    let output = pyzor(&home, &["-s", "digests", "report"], &digests);
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("(200, 'OK')").count(), 20);
    let output = pyzor(&home, &["-s", "digests", "check"], &digests);
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("(200, 'OK')\t1\t0").count(), 20);
}
