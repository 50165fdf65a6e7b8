//! The core on a Unix datagram socket: the same requests, from processes of the same machine.
//!
//! `cargo run -p pyzord-core --example unix_datagram` serves one request of its own and prints the reply. A server
//! would loop; the kernel keeps datagrams apart as it does for UDP, so nothing else changes.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::error::Error;
use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

use pyzord_core::{MAX_REQUEST, MemoryStore, Now, Policy, Step, Store, Tick, UnixTime, accept};

/// Answers one datagram, if it is a request.
fn serve_one(socket: &UnixDatagram, policy: &Policy, store: &mut impl Store) -> Result<(), Box<dyn Error>> {
    // One byte more than the largest request, so that a longer one is seen to be longer.
    let mut buffer = [0; MAX_REQUEST + 1];
    let (length, peer) = socket.recv_from(&mut buffer)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let now = Now { wall: UnixTime::from_seconds(i64::try_from(seconds)?), tick: Tick::default() };
    let reply = match accept(policy, buffer.get(..length).unwrap_or_default(), now.wall) {
        Step::Ignore(_reason) => return Ok(()),
        Step::Reply(reply) => reply,
        Step::Store(pending) => {
            let mut answers = Vec::new();
            store.execute(now, pending.calls(), &mut answers);
            pending.resume(&answers)
        }
    };
    let mut out = Vec::new();
    reply.write(&mut out);
    // A client without a name cannot be answered; that is no error of the server's.
    if let Some(path) = peer.as_pathname() {
        socket.send_to(&out, path)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("pyzord-example-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let server = UnixDatagram::bind(folder.join("server"))?;
    let client = UnixDatagram::bind(folder.join("client"))?;
    client.send_to(b"Op: ping\nThread: 1\nPV: 2.1\n\n", folder.join("server"))?;
    serve_one(&server, &Policy::default(), &mut MemoryStore::new())?;
    let mut reply = [0; 1024];
    let length = client.recv(&mut reply)?;
    std::fs::remove_dir_all(&folder)?;
    let reply = std::str::from_utf8(reply.get(..length).unwrap_or_default())?;
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
