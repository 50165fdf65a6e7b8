//! A TCP proxy between a client and a server, which does what broken networks and servers do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What a proxy does to the bytes that it passes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The next request is answered with these bytes, and then with a byte every 20 ms.
    Trickle(&'static [u8]),
    /// The next request is answered with these bytes, and then with these, again and again.
    Flood(&'static [u8], &'static [u8]),
    /// Each reply is late.
    Slow(Duration),
    /// The first bytes of the server on a new connection are late.
    LateGreeting(Duration),
    /// The next request is not passed on, and its connection is closed.
    CutRequest,
    /// The next request is passed on, and its connection is closed in place of a reply.
    CutReply,
    /// New connections are closed at once.
    Refuse,
}

/// A proxy on a free port of 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    accepted: usize,
    ended: bool,
    streams: Vec<TcpStream>,
}

impl TcpProxy {
    /// Starts a proxy to a port of 127.0.0.1.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let shared = Shared { fault: Fault::None, accepted: 0, ended: false, streams: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, port, &of_thread));
        Self { port: own_port, shared }
    }

    /// Returns the port on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets what happens from now on.
    pub fn set(&self, fault: Fault) {
        lock(&self.shared).fault = fault;
    }

    /// Returns how many connections were made.
    #[must_use]
    pub fn accepted(&self) -> usize {
        lock(&self.shared).accepted
    }

    /// Closes all connections, as a server does that thinks that they are idle.
    pub fn close_all(&self) {
        for stream in lock(&self.shared).streams.drain(..) {
            // The other side may have closed it before.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        lock(&self.shared).ended = true;
        self.close_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn accept(listener: &TcpListener, port: u16, shared: &Arc<Mutex<Shared>>) {
    loop {
        let (client, _) = listener.accept().unwrap();
        let mut inner = lock(shared);
        if inner.ended {
            return;
        }
        inner.accepted += 1;
        let fault = inner.fault;
        let Some(server) =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().filter(|_| fault != Fault::Refuse)
        else {
            continue;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            inner.streams.push(stream.try_clone().unwrap());
        }
        drop(inner);
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let of_thread = Arc::clone(shared);
        thread::spawn(move || replies(from, to, &of_thread));
        let of_thread = Arc::clone(shared);
        thread::spawn(move || requests(client, server, &of_thread));
    }
}

/// Passes on what the server sends, until one side ends.
fn replies(mut server: TcpStream, mut client: TcpStream, shared: &Mutex<Shared>) {
    let mut buffer = [0; 65536];
    let mut first = true;
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        let fault = lock(shared).fault;
        match fault {
            Fault::LateGreeting(late) if first => thread::sleep(late),
            Fault::Slow(late) => thread::sleep(late),
            Fault::CutReply | Fault::Trickle(_) | Fault::Flood(..) if !first => break,
            _ => (),
        }
        first = false;
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

/// Passes on what the client sends, until one side ends.
fn requests(mut client: TcpStream, mut server: TcpStream, shared: &Mutex<Shared>) {
    let mut buffer = [0; 65536];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let fault = lock(shared).fault;
        match fault {
            Fault::Trickle(start) => {
                let mut going = client.write_all(start).is_ok();
                while going {
                    thread::sleep(Duration::from_millis(20));
                    going = client.write_all(b"x").is_ok();
                }
                break;
            }
            Fault::Flood(start, again) => {
                let mut going = client.write_all(start).is_ok();
                while going {
                    going = client.write_all(again).is_ok();
                }
                break;
            }
            Fault::CutRequest => break,
            _ => (),
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
