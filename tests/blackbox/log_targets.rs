//! Logs whose disk is full, whose reader has stopped, and what strangers write into them.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::harness::{Guarded, Home, LISTEN, Server, digest, field, request, run_python, wait_for};
use crate::http;

/// The size limit of files, in bytes: `ulimit -f` takes blocks of 512.
const LIMIT: u64 = 64 * 512;

/// A request whose usage line has more than 6 KiB.
fn large() -> String {
    let digests: Vec<String> = (0..140).map(digest).collect();
    request("ping", &digests.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether a line of the usage log is whole.
fn is_whole(line: &str) -> bool {
    let Some((stamp, rest)) = line.split_at_checked(23) else { return false };
    stamp.chars().all(|c| c.is_ascii_digit() || " -:,".contains(c))
        && rest.starts_with(" (")
        && rest.ends_with(") INFO anonymous,127.0.0.1,ping,None,200")
}

/// Makes a FIFO with a reader that reads nothing by itself.
fn fifo(path: &Path) -> File {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).unwrap()
}

/// A full disk cut a line, and glued the next one to it; nothing said so.
#[test]
fn a_full_disk_leaves_whole_lines_and_is_said() {
    let home = Home::new();
    let server = home.command(&[&LISTEN[..], &["--usage-log-file", "usage"]].concat());
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -S -f {}; exec \"$0\" \"$@\"", LIMIT / 512)).stdin(Stdio::null());
    command.arg(server.get_program()).args(server.get_args());
    let server = Server::launch(home, command);
    let client = server.client();
    let mut pings = 0;
    let mut ping = || {
        assert_eq!(field(&client.ask(request("ping", &[])), "Code"), "200");
        pings += 1;
    };
    wait_for("a full file", || {
        ping();
        server.log().contains("usage: File too large").then_some(())
    });
    (0..100).for_each(|_| ping());
    let lines = server.home.read("usage");
    assert!(lines.ends_with('\n') && lines.lines().all(is_whole), "{lines}");
    let pid = rustix::process::Pid::from_raw(server.pid().as_raw());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    server.wait_for_log("works again, no line was lost");
    let home = server.stop();
    let lines = home.read("usage");
    assert!(lines.lines().all(is_whole), "{lines}");
    assert_eq!(lines.lines().count(), pings);
}

/// A server whose usage log hung answered no request and did not end.
#[test]
fn a_reader_that_does_not_read_costs_lines_only() {
    let home = Home::new();
    let path = home.path("usage");
    let mut reader = fifo(&path);
    let (server, status) = http::serve(&["--usage-log-file", path.to_str().unwrap()]);
    let lost = || {
        let metrics = http::get(status, "/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("pyzord_log_lines_lost_total{log=\"usage\"} "));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(lost(), 0);
    let (client, large) = (server.client(), large());
    wait_for("a loss", || {
        (0..50).for_each(|_| assert_eq!(field(&client.ask(&large), "Code"), "200"));
        (lost() > 0).then_some(())
    });
    server.wait_for_log("usage: 4096 KiB of lines wait to be written, further ones are lost");
    let mut read = Vec::new();
    wait_for("an end of the loss", || {
        let _ = reader.read_to_end(&mut read);
        server.log().contains("lines were lost because").then_some(())
    });
    let text = String::from_utf8(read).unwrap();
    assert!(text.lines().all(|line| line.ends_with("'],200")), "whole lines");
    (0..50).for_each(|_| assert_eq!(field(&client.ask(&large), "Code"), "200"));
    let home = server.stop();
    assert!(home.read("stderr").contains("the last lines could not be written"), "{}", home.read("stderr"));
}

/// Starts a server whose standard error is a pipe that is not read.
fn with_full_pipe(home: &Home, arguments: &[&str]) -> (Child, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let child = home.command(&[&LISTEN, arguments].concat()).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    (child, reader)
}

/// 54,000 wrong signatures filled the pipe; then no ping was answered, and TERM had no effect.
#[test]
fn a_full_pipe_of_standard_error_stops_no_worker() {
    let home = Home::new();
    let (child, reader) = with_full_pipe(&home, &["-d", "--log-file", "pyzord.log", "--workers", "1"]);
    let mut child = Guarded(child);
    let address = wait_for("listening", || {
        let log = home.read("pyzord.log");
        let line = log.lines().find(|line| line.contains("Listening on "))?;
        line.split("Listening on ").nth(1)?.split(' ').next()?.parse().ok()
    });
    let client = crate::harness::Client::new(address);
    // Twice what the pipe and the queue take.
    (0..110).for_each(|_| assert_eq!(field(&client.ask(large()), "Code"), "200"));
    wait_for("a loss", || {
        client.ask(large());
        home.read("pyzord.log").contains("standard error: 256 KiB of lines wait").then_some(())
    });
    kill(Pid::from_raw(i32::try_from(child.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = wait_for("the end", || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let log = home.read("pyzord.log");
    assert!(log.contains("Server shutdown.") && log.contains("standard error: the last lines"), "{log}");
    drop(reader);
}

#[test]
fn a_standard_error_without_a_reader_is_survived() {
    let home = Home::new();
    let (child, reader) = with_full_pipe(&home, &["-d", "--log-file", "pyzord.log"]);
    let mut child = Guarded(child);
    drop(reader);
    // A stop of a start that is under way has no line in the log.
    wait_for("a word of it", || {
        let log = home.read("pyzord.log");
        (log.contains("standard error: Broken pipe") && log.contains("Listening on ")).then_some(())
    });
    kill(Pid::from_raw(i32::try_from(child.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = wait_for("the end", || child.0.try_wait().unwrap());
    assert!(status.success() && home.read("pyzord.log").contains("Server shutdown."), "{status}");
}

/// Opening a FIFO waited for its reader: for ever at a start, and at a reload no signal was heard any more.
#[test]
fn a_fifo_without_a_reader_is_no_log() {
    let home = Home::new();
    drop(fifo(&home.path("fifo")));
    for option in ["--log-file", "--usage-log-file"] {
        let failed = home.run(&[&LISTEN[..], &[option, "fifo"]].concat());
        let error = String::from_utf8(failed.stderr).unwrap();
        assert!(!failed.status.success() && error.contains("fifo: it is a FIFO or socket, and no program reads it"));
        assert!(home.run(&["--check-config", option, "fifo"]).status.success(), "its reader may come");
        assert!(home.path("fifo").symlink_metadata().unwrap().file_type().is_fifo());
        assert!(!home.run(&["--check-config", option, "."]).status.success(), "a directory");
        assert!(!home.run(&["--check-config", option, "absent/log"]).status.success(), "no directory");
    }
    let server = Server::on(home, &["--usage-log-file", "usage"]);
    fs::rename(server.home.path("fifo"), server.home.path("usage")).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_log("no program reads it; still writing to the old file");
    assert_eq!(field(&server.client().ask(request("ping", &[])), "Code"), "200");
    server.stop();
}

#[test]
fn lines_follow_a_file_that_is_truncated_and_the_half_line_of_a_crash() {
    let home = Home::new();
    home.write("usage", "2026-11-22 10:11:12,345 (1) INFO anonym");
    let server = Server::on(home, &["--usage-log-file", "usage", "--workers", "1"]);
    let ping = |lines: usize| {
        server.client().ask(request("ping", &[]));
        wait_for("a line", || {
            let text = server.home.read("usage");
            (text.lines().filter(|line| is_whole(line)).count() == lines).then_some(text)
        })
    };
    assert!(ping(1).starts_with("2026-11-22 10:11:12,345 (1) INFO anonym\n2"));
    // As logrotate's copytruncate does.
    File::create(server.home.path("usage")).unwrap();
    assert!(is_whole(ping(1).strip_suffix('\n').unwrap()));
    assert_eq!(ping(2).lines().count(), 2);
}

/// 400 addresses gave 400 lines in 0.9 s.
#[test]
fn many_addresses_beyond_a_limit_are_few_lines() {
    let server = Server::start(&["--failure-rate", "1", "--failure-burst", "1"]);
    let port = server.address.port();
    let wrong = "Op: ping\nPV: 2.1\nUser: eve\nTime: 1\nSig: 0\n\n";
    for host in 1..=100 {
        let socket = UdpSocket::bind(format!("127.0.0.{host}:0")).unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        (0..3).for_each(|_| assert_eq!(socket.send(wrong.as_bytes()).unwrap(), wrong.len()));
    }
    server.wait_for_log("wrong signatures a second");
    let home = server.stop();
    let log = home.read("stderr");
    let lines = log.lines().filter(|line| line.contains("wrong signatures a second"));
    let (told, summaries): (Vec<_>, Vec<_>) = lines.partition(|line| !line.contains("left out after ten in a minute: "));
    assert_eq!((told.len(), summaries.len()), (10, 1), "{log}");
}

/// `User: root,203.0.113.66` had fail2ban ban an address that the sender chose.
#[test]
fn a_forged_name_bans_its_own_sender_only() {
    let server = Server::start(&["--usage-log-file", "usage", "--failure-rate", "0", "--workers", "1"]);
    let client = server.client();
    let names = [
        "eve",
        "root,203.0.113.66",
        "root,203.0.113.66,ping)",
        "x) (root,203.0.113.66,ping",
        "x. (root,203.0.113.66,ping)",
        "e\\,203.0.113.66,ping) ",
        "ERROR 401: Unauthorized: Signature Error: Unknown user. (root,203.0.113.66,ping)",
    ];
    for name in names {
        client.ask(format!("Op: check\nPV: 2.1\nUser: {name}\nTime: 1\nSig: 0\n\n"));
        client.ask(format!("Op: {name}\nPV: 2.1\nUser: eve\nTime: 1\nSig: 0\n\n"));
        client.ask(format!("Op: {name}\nPV: 2.1\n\n"));
    }
    let home = server.stop();
    let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/fail2ban/filter.d/pyzord.conf");
    // fail2ban removes the date, and puts an expression for addresses in the place of <ADDR>.
    let script = "import configparser,re,sys\n\
        p=configparser.ConfigParser(); p.read(sys.argv[1])\n\
        rule=re.compile(p['Definition']['failregex'].replace('<ADDR>', r'(?P<ip>[0-9a-fA-F.:]+)'))\n\
        for line in open(sys.argv[2]):\n\
        \x20 found=rule.search(line.rstrip('\\n')[23:]); print(found.group('ip') if found else '-')\n";
    let arguments = [filter.as_os_str(), home.path("usage").as_os_str()].map(|text: &OsStr| text.to_str().unwrap().to_owned());
    let banned = run_python(script, &[&arguments[0], &arguments[1]]);
    let expected = "127.0.0.1\n127.0.0.1\n-\n".repeat(names.len());
    assert_eq!(banned, expected, "{}", home.read("usage"));
}

/// Control characters of a path or a value went raw to the terminal.
#[test]
fn an_error_before_the_log_is_open_is_one_line() {
    let home = Home::new();
    for arguments in [
        ["--log-file", "absent\u{1b}]0;x\u{7}\n/log"],
        ["--cleanup-age", "no\nne\u{202e}"],
        ["--port", "1\n2"],
        ["--runtime", "a\r\nb"],
    ] {
        let failed = home.run(&[&["-a", "127.0.0.1"], &arguments[..]].concat());
        let error = String::from_utf8(failed.stderr).unwrap();
        assert!(!failed.status.success() && error.lines().count() == 1, "{error:?}");
        assert!(!error.trim_end_matches('\n').contains(|c: char| c.is_control() || c == '\u{202e}'), "{error:?}");
    }
}
