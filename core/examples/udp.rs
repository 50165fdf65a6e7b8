//! A whole Pyzor server over UDP, with its records in memory.
//!
//! `cargo run -p pyzord-core --example udp` answers one report of its own and ends; a server loops.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher as _;
use std::net::UdpSocket;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyzord_core::{
    Batch, Guard, Limits, MAX_REQUEST, MemoryStore, Now, Policy, Server, Store, Tick, UnixTime,
};

/// Reads both clocks. `started` is when the monotonic one began.
fn now(started: Instant) -> Result<Now, Box<dyn Error>> {
    let wall = UnixTime::from_duration(SystemTime::now().duration_since(UNIX_EPOCH)?);
    Ok(Now { wall, tick: Tick::new(started.elapsed()) })
}

/// Answers one datagram, if it is a request.
fn serve_one(
    socket: &UdpSocket,
    server: &Server,
    store: &mut impl Store,
    mut batch: Batch,
    started: Instant,
) -> Result<Batch, Box<dyn Error>> {
    // One byte more than the largest request, so that a longer one is recognized.
    let mut buffer = [0; MAX_REQUEST + 1];
    let (length, peer) = socket.recv_from(&mut buffer)?;
    let (datagram, _) = buffer.split_at(length);
    let now = now(started)?;
    if let Err(reason) = batch.accept(server, peer, datagram, now) {
        eprintln!("ignored a datagram of {peer}: {reason:?}");
    }
    let asked = batch.ask();
    let mut answers = Vec::new();
    store.execute(now, asked.calls(), &mut answers);
    let answered = asked.resolve(server, &answers);
    for (peer, reply) in answered.replies() {
        socket.send_to(reply, peer)?;
    }
    answered.usage().for_each(|usage| eprintln!("{usage}"));
    Ok(answered.clear())
}

fn main() -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let random = || RandomState::new().hash_one(()).to_ne_bytes();
    let mut secret = [0; 16];
    secret.as_chunks_mut().0.iter_mut().for_each(|half| *half = random());
    let server = Server::new(Policy::default(), Guard::new(Limits::default(), secret));
    let (socket, client) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let report = b"Op: report\nOp-Digest: da39a3ee5e6b4b0d3255bfef95601890afd80709\nThread: 1\nPV: 2.1\n\n";
    client.send_to(report, socket.local_addr()?)?;
    let _batch = serve_one(&socket, &server, &mut MemoryStore::new(), Batch::new(), started)?;
    let mut reply = [0; 1024];
    let length = client.recv(&mut reply)?;
    let reply = std::str::from_utf8(reply.split_at(length).0)?;
    print!("{reply}");
    if reply == "Code: 200\nDiag: OK\nPV: 2.1\nThread: 1\n\n" { Ok(()) } else { Err("not the reply".into()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_does_what_it_says() {
        super::main().unwrap();
    }
}
