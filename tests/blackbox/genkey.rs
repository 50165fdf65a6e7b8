//! `pyzorctl genkey`: the keys that it makes, and the passphrase that it reads.

use crate::harness::{Home, Server, python, run_python};
use crate::pyzorctl::{ctl, feed, printed, stderr, stdout};

/// Computes the key with Python's own function from our salt.
const GENKEY: &str = "
import getpass, hashlib, importlib.machinery, importlib.util, sys
loader = importlib.machinery.SourceFileLoader('pyzor_client', sys.argv[1])
client = importlib.util.module_from_spec(importlib.util.spec_from_loader('pyzor_client', loader))
loader.exec_module(client)
getpass.getpass = lambda prompt: sys.argv[3]
class Salt:
    hexdigest = lambda self: sys.argv[2]
    digest = lambda self: bytes.fromhex(sys.argv[2])
calls = []
def hash_func(data):
    calls.append(data)
    return Salt() if len(calls) == 2 else hashlib.sha1(data)
client.genkey(None, None, None, hash_func)
";

#[test]
fn a_key_equals_that_of_pythons_client_and_the_server_accepts_it() {
    let home = Home::new();
    let passphrase = "correct h\u{f6}rse ";
    let server = Server::on(home, &[]);
    let port = server.address.port().to_string();
    let arguments = ["genkey", "alice", "--address", "127.0.0.1", "--port", &port];
    let made = printed(&feed(&server.home, &arguments, &format!("{passphrase}\n{passphrase}\n")));
    let lines: Vec<&str> = made.lines().collect();
    let [head, keys, .., client, _, _, account] = lines[..] else { panic!("{made}") };
    let salt = keys.split(',').next().unwrap();
    let program = python("pyzor").get_args().next().unwrap().to_str().unwrap().to_owned();
    assert_eq!(run_python(GENKEY, &[&program, salt, passphrase]), format!("{head}\n{keys}\n"));

    // Each printed line goes unchanged into its file.
    let person = Home::new();
    person.write("accounts", client);
    person.write("servers", format!("127.0.0.1:{port}\n"));
    server.home.write("pyzord.passwd", account);
    server.home.write("pyzord.access", "ping : alice : allow\n");
    let server = Server::spawn(server.stop(), &["-a", "127.0.0.1", "-p", &port]);
    let ping = || python("pyzor").arg("--homedir").arg(person.dir()).arg("ping").output().unwrap();
    assert!(stdout(&ping()).contains("(200, 'OK')"), "{:?}", ping());
    drop(server);

    let other = Home::new();
    let twice = printed(&feed(&other, &["genkey"], "a\na\n"));
    assert_ne!(twice, printed(&feed(&other, &["genkey"], "a\na\n")), "each run has a salt of its own");
    assert_eq!(twice.lines().count(), 2);
    assert_eq!(printed(&ctl(&other, &["genkey", "--random"])).lines().count(), 2);
    for (input, cause) in [("a\nb\n", "do not match"), ("\n\n", "is empty"), ("", "is empty")] {
        let output = feed(&other, &["genkey"], input);
        assert!(output.status.code() == Some(1) && stderr(&output).contains(cause), "{output:?}");
    }
    assert_eq!(ctl(&other, &["genkey", "a:b"]).status.code(), Some(2));
}

/// Types on a terminal; returns its output, the exit status, and whether the terminal echoes again.
const TERMINAL: &str = "
import os, pty, sys, termios
typed = sys.argv[1].encode().decode('unicode_escape').encode().split(b'|')
leader, follower = pty.openpty()
child = os.fork()
if child == 0:
    os.setsid()
    for descriptor in (0, 1, 2):
        os.dup2(follower, descriptor)
    os.execv(sys.argv[2], sys.argv[2:])
shown = b''
for number, text in enumerate(typed, 1):
    while shown.count(b'passphrase') < number:
        shown += os.read(leader, 1000)
    os.write(leader, text)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os.set_blocking(leader, False)
try:
    while True:
        shown += os.read(leader, 1000)
except BlockingIOError:
    pass
print(status, bool(termios.tcgetattr(follower)[3] & termios.ECHO), shown)
";

#[test]
fn a_passphrase_is_not_shown_and_the_terminal_is_left_as_it_was() {
    let home = Home::new();
    let on_terminal = |typed: &str| {
        let program = env!("CARGO_BIN_EXE_pyzorctl");
        run_python(TERMINAL, &[typed, program, "--homedir", home.dir().to_str().unwrap(), "genkey"])
    };
    let made = on_terminal("hunter2\\n|hunter2\\n");
    assert!(made.starts_with("0 True ") && made.contains("salt,key:"), "{made}");
    let interrupted = on_terminal("hunter2\\n|hun\\x03");
    assert!(interrupted.starts_with("1 True ") && interrupted.contains("interrupted"), "{interrupted}");
    assert!(!made.contains("hun") && !interrupted.contains("hun"), "{made} {interrupted}");
}
