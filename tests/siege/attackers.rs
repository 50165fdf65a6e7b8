//! Attackers. Each runs until the siege is over.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{digest, request};
use crate::signer::Signer;

/// Signed reports of the honest client that were counted.
pub(crate) type Captured = Mutex<Vec<Vec<u8>>>;

/// What an attacker knows.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) server: SocketAddr,
    /// Host and port of the status page.
    pub(crate) status: &'a str,
    pub(crate) over: &'a AtomicBool,
    pub(crate) captured: &'a Captured,
}

/// The attackers.
pub(crate) const ATTACKERS: [fn(Target<'_>); 9] = [
    collide,
    send_large_requests,
    sign_wrong,
    drain_slowly,
    fill_the_memory_of_copies,
    replay,
    forge_names,
    whitelist_by_a_comment,
    poll_the_status_page,
];

/// Digests in a large request: as many as a datagram holds.
const MOST_DIGESTS: u32 = 156;

impl Target<'_> {
    /// Sends what `next` makes from a socket at `local`, so many times a second, and reads no reply.
    fn flood(self, local: &str, per_second: u32, mut next: impl FnMut(u32) -> Vec<u8>) {
        let socket = UdpSocket::bind((local, 0)).unwrap();
        socket.connect(self.server).unwrap();
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            drop(socket.send(&next(number)));
            thread::sleep(Duration::from_secs(1) / per_second);
        }
    }
}

/// Reports digests that share one value of gdbm's hash: it is a sum in which characters 24 apart weigh the same.
fn collide(target: Target<'_>) {
    target.flood("127.0.0.1", 100, |number| {
        let mut digest = [b'0'; 40];
        for bit in 0..16 {
            let (low, high) = if number >> bit & 1 == 1 { (b'1', b'2') } else { (b'2', b'1') };
            (digest[bit], digest[bit + 24]) = (low, high);
        }
        request("report", &[std::str::from_utf8(&digest).unwrap()]).into_bytes()
    });
}

fn send_large_requests(target: Target<'_>) {
    target.flood("127.0.0.1", 300, |number| {
        let digests: Vec<_> =
            (0..MOST_DIGESTS).map(|at| digest((number * MOST_DIGESTS + at) % 20_000)).collect();
        let digests: Vec<_> = digests.iter().map(String::as_str).collect();
        // The shortest request that counts.
        let lines: String = digests.iter().map(|digest| format!("Op-Digest:{digest}\n")).collect();
        format!("Op:report\nPV:2\n{lines}\n").into_bytes()
    });
}

fn sign_wrong(target: Target<'_>) {
    let mut mallory = Signer::new("alice", "3333");
    target.flood("127.0.0.1", 1000, |number| mallory.request("report", &digest(number)));
}

/// With `make soak`, what goes to this address leaves at 8 kbit/s.
fn drain_slowly(target: Target<'_>) {
    target.flood("127.0.0.9", 200, |_| request("ping", &[]).into_bytes());
}

fn fill_the_memory_of_copies(target: Target<'_>) {
    let mut bob = Signer::new("bob", "2222");
    target.flood("127.0.0.1", 200, |number| bob.request("report", &digest(number % 1000)));
}

fn replay(target: Target<'_>) {
    target.flood("127.0.0.1", 100, |number| {
        let captured = target.captured.lock().unwrap();
        let count = u32::try_from(captured.len()).unwrap();
        // Half of the time one of the newest, else any.
        let reach = if number % 2 == 0 { count.min(10) } else { count };
        let at = number.wrapping_mul(7919).checked_rem(reach).map(|back| count - 1 - back);
        at.map_or_else(Vec::new, |at| captured[usize::try_from(at).unwrap()].clone())
    });
}

fn forge_names(target: Target<'_>) {
    let names = ["root,203.0.113.66", "a\tb", "\u{feff}# all", "']),200", "(anonymous"];
    target.flood("127.0.0.1", 100, |number| {
        let name = names[usize::try_from(number).unwrap() % names.len()];
        request("ping", &[]).replace("anonymous", name).into_bytes()
    });
}

/// A comment in the access file grants nothing.
fn whitelist_by_a_comment(target: Target<'_>) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(target.server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 1000];
    while !target.over.load(Ordering::Relaxed) {
        drop(socket.send(request("whitelist", &[&digest(1)]).as_bytes()));
        if let Ok(length) = socket.recv(&mut buffer) {
            let reply = String::from_utf8_lossy(&buffer[..length]);
            assert!(reply.contains("Code: 403"), "{reply}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn poll_the_status_page(target: Target<'_>) {
    while !target.over.load(Ordering::Relaxed) {
        for path in ["healthz", "metrics", "status.json", ""] {
            let Ok(mut stream) = TcpStream::connect(target.status) else { continue };
            drop(stream.set_read_timeout(Some(Duration::from_secs(2))));
            drop(write!(stream, "GET /{path} HTTP/1.0\r\nHost: {}\r\n\r\n", target.status));
            drop(stream.read_to_end(&mut Vec::new()));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
