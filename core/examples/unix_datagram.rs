//! Pyzor on a Unix datagram socket: the same requests, from processes of the same machine.
//!
//! `cargo run -p pyzord-core --example unix_datagram` answers one request of its own and prints the reply.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::error::Error;
use std::net::IpAddr;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyzord_core::{
    Batch, Guard, Limits, MAX_REQUEST, MemoryStore, Now, Peer, Policy, Server, Store, Tick, UnixTime,
};

/// The socket of a client. All of them share one limit, since they have no network.
struct UnixPeer(SocketAddr);

impl Peer for UnixPeer {
    fn network(&self) -> Option<IpAddr> {
        None
    }

    /// A socket without a name cannot be answered.
    fn is_answerable(&self) -> bool {
        self.0.as_pathname().is_some()
    }
}

/// Answers one datagram, if it is a request.
fn serve_one(
    socket: &UnixDatagram,
    server: &Server,
    store: &mut impl Store,
    mut batch: Batch<UnixPeer>,
    started: Instant,
) -> Result<Batch<UnixPeer>, Box<dyn Error>> {
    // One byte more than the largest request, so that a longer one is recognized.
    let mut buffer = [0; MAX_REQUEST + 1];
    let (length, peer) = socket.recv_from(&mut buffer)?;
    let wall = UnixTime::from_duration(SystemTime::now().duration_since(UNIX_EPOCH)?);
    let now = Now { wall, tick: Tick::new(started.elapsed()) };
    // A datagram that is ignored leaves the batch as it is.
    let _ = batch.accept(server, UnixPeer(peer), buffer.split_at(length).0, now);
    let asked = batch.ask();
    let mut answers = Vec::new();
    store.execute(now, asked.calls(), &mut answers);
    let answered = asked.resolve(server, &answers);
    for (UnixPeer(peer), reply) in answered.replies() {
        if let Some(path) = peer.as_pathname() {
            socket.send_to(reply, path)?;
        }
    }
    Ok(answered.clear())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("pyzord-example-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let socket = UnixDatagram::bind(folder.join("server"))?;
    let client = UnixDatagram::bind(folder.join("client"))?;
    client.send_to(b"Op: ping\nThread: 1\nPV: 2.1\n\n", folder.join("server"))?;
    // A server takes 16 random bytes as the guard's secret; the example `udp` shows how.
    let server = Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]));
    let _batch = serve_one(&socket, &server, &mut MemoryStore::new(), Batch::new(), Instant::now())?;
    let mut reply = [0; 1024];
    let length = client.recv(&mut reply)?;
    std::fs::remove_dir_all(&folder)?;
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
