//! Pyzor over HTTP: the body of a POST is a request, and the body of the response is its reply.
//!
//! The HTTP status says whether the core answers a request. The reply's `Code` says whether the server did what the
//! request asks for. Each connection carries one request.
//!
//! `cargo run -p pyzord-core --example http` serves on 127.0.0.1:24441, or on the address in its argument.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{env, num::NonZeroU32, str, sync, thread};

use httparse::{EMPTY_HEADER, Request, Status};
use pyzord_core::{Batch, Guard, GuardMemory, Ignored, Limits, Lock, MAX_REQUEST, MemoryStore, Now};
use pyzord_core::{Operation, Policy, Rate, Server, Store, Tick, UnixTime};

/// How long a client may take to send its request, and then to receive the response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The key of the account `bob`.
const KEY: &[u8] = b"da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// A lock for the memory that the threads share.
struct Mutex<T>(sync::Mutex<T>);

impl<T> Lock<T> for Mutex<T> {
    fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    fn with<R>(&self, access: impl FnOnce(&mut T) -> R) -> R {
        access(&mut self.0.lock().unwrap_or_else(sync::PoisonError::into_inner))
    }
}

/// What the threads share.
struct Http {
    listener: TcpListener,
    server: Server<Mutex<GuardMemory>>,
    store: Mutex<MemoryStore>,
    started: Instant,
}

impl Http {
    /// Answers one connection after another, without end. Each thread calls it.
    fn serve(&self) {
        loop {
            let served = self.listener.accept().and_then(|(stream, peer)| self.respond(stream, peer));
            served.unwrap_or_else(|error| eprintln!("{error}"));
        }
    }

    /// Writes the response to the request of one connection.
    fn respond(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_write_timeout(Some(TIMEOUT))?;
        let reply = self.receive(&mut stream).and_then(|request| self.reply(peer, &request));
        let (status, reply) = reply.map_or_else(|status| (status, Vec::new()), |reply| ("200 OK", reply));
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", reply.len());
        stream.write_all(&[head.as_bytes(), &reply].concat())
    }

    /// Reads the body of a POST. An error is an HTTP status.
    fn receive(&self, stream: &mut TcpStream) -> Result<Vec<u8>, &'static str> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; MAX_REQUEST]);
        let deadline = self.started.elapsed() + TIMEOUT;
        while bytes.len() <= 2 * MAX_REQUEST {
            let left = deadline.saturating_sub(self.started.elapsed());
            let read = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut chunk));
            let read = read.ok().filter(|read| *read > 0).ok_or("408 Request Timeout")?;
            bytes.extend(chunk.iter().take(read));
            let mut headers = [EMPTY_HEADER; 64];
            let mut request = Request::new(&mut headers);
            if let Status::Complete(start) = request.parse(&bytes).map_err(|_| "400 Bad Request")? {
                if request.method != Some("POST") {
                    return Err("405 Method Not Allowed\r\nAllow: POST");
                }
                let length = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("Content-Length"));
                let length = length.and_then(|h| str::from_utf8(h.value).ok()?.parse().ok());
                let end = start.saturating_add(length.ok_or("411 Length Required")?);
                if let Some(body) = bytes.get(start..end) {
                    return Ok(body.to_vec());
                }
            }
        }
        Err("413 Content Too Large")
    }

    /// Returns the reply to a request. An error is an HTTP status.
    fn reply(&self, peer: SocketAddr, request: &[u8]) -> Result<Vec<u8>, &'static str> {
        let wall = UnixTime::from_duration(UNIX_EPOCH.elapsed().unwrap_or_default());
        let now = Now { wall, tick: Tick::new(self.started.elapsed()) };
        let mut batch = Batch::new();
        let accepted = batch.accept(&self.server, peer, request, now);
        self.server.guard().take_exceeded().iter().for_each(|limit| eprintln!("{limit}"));
        accepted.map_err(|ignored| match ignored {
            Ignored::NotARequest => "400 Bad Request",
            Ignored::DeniedNetwork => "403 Forbidden",
            Ignored::TooManyRequests | Ignored::TooManyFailures => "429 Too Many Requests",
            // Another thread counts a copy at this moment.
            Ignored::InFlight | Ignored::Overloaded => "503 Service Unavailable\r\nRetry-After: 1",
            _ => "500 Internal Server Error",
        })?;
        let (asked, mut answers) = (batch.ask(), Vec::new());
        self.store.with(|store| store.execute(now, asked.calls(), &mut answers));
        let answered = asked.resolve(&self.server, &answers);
        answered.usage().for_each(|usage| println!("{usage}"));
        Ok(answered.replies().flat_map(|(_, reply)| reply).copied().collect())
    }
}

/// Starts the threads of a server in which the user `bob` has an account.
fn start(address: &str) -> io::Result<SocketAddr> {
    let mut limits = Limits::default();
    limits.requests = NonZeroU32::new(10).map(Rate::per_second);
    let secret = [(); 2].map(|()| RandomState::new().hash_one(()).to_ne_bytes()).concat();
    let guard = Guard::new(limits, secret.try_into().unwrap_or_default());
    let policy = Policy::builder().anonymous([Operation::Ping, Operation::Check, Operation::Report]).account(
        b"bob",
        KEY,
        Operation::ALL,
    );
    let (server, store) = (Server::new(policy.build(), guard), Lock::new(MemoryStore::new()));
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr();
    let http = sync::Arc::new(Http { listener, server, store, started: Instant::now() });
    let threads = [(); 16].map(|()| sync::Arc::clone(&http));
    threads.into_iter().for_each(|http| drop(thread::spawn(move || http.serve())));
    address
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:24441".to_owned());
    eprintln!("listening at http://{}", start(&address)?);
    loop {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::Digest;
    use pyzord_core::client::{Credentials, Message, Thread};

    #[test]
    fn a_signed_report_counts_once_and_others_each_time() {
        let address = start("127.0.0.1:0").unwrap();
        let post = |body: &[u8]| {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            let (mut stream, mut response) = (TcpStream::connect(address).unwrap(), String::new());
            stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
            stream.read_to_string(&mut response).unwrap();
            response
        };
        let ask =
            |op, digest| post(format!("Op: {op}\nOp-Digest: {digest}\nThread: 1\nPV: 2.1\n\n").as_bytes());
        let [plain, signed] = [1, 2].map(|byte| Digest::new([byte; 20]));
        let time = UnixTime::from_seconds(UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed());
        let (thread, bob, mut report) = (Thread::from_random(1), Credentials::new(b"bob", KEY), Vec::new());
        let message = Message { operation: Operation::Report, digests: &[signed], thread, forwarded: None };
        message.write(&bob, time, &mut report);

        (0..2).for_each(|_| assert!(ask("report", plain).contains("Code: 200\n")));
        (0..3).for_each(|_| assert!(post(&report).contains("Code: 200\n")));
        assert!(ask("check", plain).contains("\nCount: 2\n"));
        assert!(ask("check", signed).contains("\nCount: 1\n"));
        assert!(post(b"garbage").starts_with("HTTP/1.1 400 "));
        assert!((0..500).any(|_| post(b"garbage").starts_with("HTTP/1.1 429 ")));
    }
}
