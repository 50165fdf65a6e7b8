//! Pyzor over TCP: each request and each reply is a frame, behind its length in two bytes, most significant first.
//!
//! `cargo run -p pyzord-core --example tcp` serves one connection of its own.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyzord_core::{Batch, Guard, Limits, MemoryStore, Now, Policy, Server, Store, Tick, UnixTime};

fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let length = u16::try_from(frame.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], frame].concat())
}

/// Answers requests until the peer closes the connection. A request without a reply closes it, too: the peer of a stream
/// waits for a reply.
fn serve(
    stream: &mut TcpStream,
    peer: SocketAddr,
    server: &Server,
    store: &mut impl Store,
) -> Result<(), Box<dyn Error>> {
    let (mut batch, started) = (Batch::new(), Instant::now());
    while let Ok(request) = read_frame(stream) {
        let wall = UnixTime::from_duration(SystemTime::now().duration_since(UNIX_EPOCH)?);
        let now = Now { wall, tick: Tick::new(started.elapsed()) };
        if batch.accept(server, peer, &request, now).is_err() {
            break;
        }
        let asked = batch.ask();
        let mut answers = Vec::new();
        store.execute(now, asked.calls(), &mut answers);
        let answered = asked.resolve(server, &answers);
        for (_, reply) in answered.replies() {
            write_frame(stream, reply)?;
        }
        batch = answered.clear();
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = thread::spawn(move || {
        // A server takes 16 random bytes as the guard's secret; the example `udp` shows how.
        let server = Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]));
        let accepted = listener.accept().map_err(|error| error.to_string());
        let (mut stream, peer) = accepted?;
        serve(&mut stream, peer, &server, &mut MemoryStore::new()).map_err(|error| error.to_string())
    });
    let mut client = TcpStream::connect(address)?;
    let digest = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let mut replies = Vec::new();
    for op in ["report", "report", "check"] {
        write_frame(
            &mut client,
            format!("Op: {op}\nOp-Digest: {digest}\nThread: 1\nPV: 2.1\n\n").as_bytes(),
        )?;
        replies.push(String::from_utf8(read_frame(&mut client)?)?);
    }
    drop(client);
    serving.join().map_err(|_| "the server ended with a panic")??;
    let last = replies.pop().unwrap_or_default();
    print!("{last}");
    if last.contains("\nCount: 2\n") { Ok(()) } else { Err("not the count".into()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_does_what_it_says() {
        super::main().unwrap();
    }
}
