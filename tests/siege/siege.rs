//! One siege: a server, its attackers and the honest client.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::attackers::{ATTACKERS, Target};
use crate::harness::{Home, LISTEN, Server};
use crate::honest;
use crate::{LONG, length};

/// The longest stop.
const STOP: Duration = Duration::from_secs(6);
/// How much anonymous memory may grow after the first tenth of a siege, in KiB.
const GROWTH: u64 = 32 * 1024;
/// Networks in the deny list.
const DENIED: u32 = 200_000;

/// Besieges a server with these options.
pub(crate) fn withstand(options: &[&str]) {
    let (server, _stalled) = start(options);
    let (over, captured) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let status = &*status_address(&server);
    let target = Target { server: server.address, status, over: &over, captured: &captured };
    let (mut seen, memory) = thread::scope(|scope| {
        let attackers = ATTACKERS.map(|attack| scope.spawn(move || attack(target)));
        let memory = scope.spawn(|| {
            pause(length() / 10, &over);
            anonymous_memory(&server)
        });
        let seen = honest::ask(server.address, length(), &captured);
        over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            attacker.join().unwrap();
        }
        (seen, memory.join().unwrap())
    });
    let after = anonymous_memory(&server);
    let (checked, echoed) = seen.p99();
    println!(
        "{options:?}: {} checks, {:.3} % right, p99 {checked:?} (echo {echoed:?}); {} reports acknowledged; \
         memory {memory} to {after} KiB",
        seen.checks(),
        seen.share() * 100.0,
        seen.acknowledged(),
    );
    assert!(seen.share() >= 0.99, "{}: {:?}: {}", seen.share(), seen.wrong, server.log());
    assert!(after <= memory + GROWTH, "memory grew from {memory} to {after} KiB");
    seen.verify(server.address);
    if length() >= LONG {
        assert!(checked <= Duration::from_millis(50).max(echoed * 10), "p99 {checked:?}, echo {echoed:?}");
    }
    stop(server);
}

/// Starts a server whose standard error is a pipe that is not read.
fn start(options: &[&str]) -> (Server, fs::File) {
    let home = Home::new();
    home.write("pyzord.passwd", "alice : 1111\nbob : 2222\n");
    home.write(
        "pyzord.access",
        "check report ping pong info : anonymous : allow\nall : alice : allow\nreport check : bob : allow\n  \
         # all : all anonymous : allow\n",
    );
    home.write("config", format!("[server]\nDenyNetworks = {}\n", denied()));
    let pipe = home.path("stalled");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    // Open for both, so that neither end waits for the other.
    let stalled = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let fixed =
        ["--log-file", "pyzord.log", "--status-address", "127.0.0.1:0", "--remembered-reports", "1000000"];
    let server = home.command(&[&LISTEN, &fixed[..], options].concat());
    let mut command = Command::new("sh");
    command.arg("-c").arg("exec \"$0\" \"$@\" 2>\"$STALLED\"").env("STALLED", &pipe).stdin(Stdio::null());
    command.arg(server.get_program()).args(server.get_args());
    (Server::launch(home, command), stalled)
}

/// Returns a long list of networks, none of them of this machine.
fn denied() -> String {
    let network =
        |number: u32| format!("10.{}.{}.{}/32", number >> 16 & 255, number >> 8 & 255, number & 255);
    (0..DENIED).map(network).collect::<Vec<_>>().join(" ")
}

fn status_address(server: &Server) -> String {
    let log = server.home.read("pyzord.log");
    let line = log.lines().find(|line| line.contains("http://")).unwrap_or_else(|| panic!("{log}"));
    let address = line.split("http://").nth(1).unwrap();
    address.split(['/', ' ']).next().unwrap().to_owned()
}

/// Returns the anonymous memory of a server, in KiB.
fn anonymous_memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a stop has a deadline")]
fn stop(server: Server) {
    let started = Instant::now();
    server.stop();
    let took = started.elapsed();
    println!("stopped in {took:?}");
    if length() >= LONG {
        assert!(took <= STOP, "a stop took {took:?}");
    }
}

/// Waits for this time, or until the siege is over.
#[expect(clippy::disallowed_methods, reason = "a part of the siege is measured")]
fn pause(time: Duration, over: &AtomicBool) {
    let started = Instant::now();
    wait_for_long(|| over.load(Ordering::Relaxed) || started.elapsed() >= time);
}

fn wait_for_long(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::sleep(Duration::from_millis(20));
    }
}
