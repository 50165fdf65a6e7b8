//! The core over TCP, each request and each reply behind its length in two bytes, most significant first.
//!
//! TCP has no datagrams, so the transport brings a frame; the core does not know. A request that is longer than the
//! core takes is read to its end and refused in its words. `cargo run -p pyzord-core --example tcp` serves one
//! connection of its own.
#![expect(clippy::disallowed_methods, reason = "an example is its own runtime, and reads the clock here")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use pyzord_core::{MemoryStore, Now, Policy, Step, Store, Tick, UnixTime, accept};

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

/// Answers requests until the peer closes the connection. What is no request closes it, too: over TCP a peer waits
/// for a reply that would never come.
fn serve(stream: &mut TcpStream, policy: &Policy, store: &mut impl Store) -> Result<(), Box<dyn Error>> {
    while let Ok(request) = read_frame(stream) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let now = Now { wall: UnixTime::from_seconds(i64::try_from(seconds)?), tick: Tick::default() };
        let reply = match accept(policy, &request, now.wall) {
            Step::Ignore(_reason) => break,
            Step::Reply(reply) => reply,
            Step::Store(pending) => {
                let mut answers = Vec::new();
                store.execute(now, pending.calls(), &mut answers);
                pending.resume(&answers)
            }
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        write_frame(stream, &out)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        let served = listener.accept().map(|(mut stream, _)| {
            serve(&mut stream, &Policy::default(), &mut MemoryStore::new()).map_err(|error| error.to_string())
        });
        served.map_err(|error| error.to_string()).and_then(|result| result)
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
    server.join().map_err(|_| "the server ended with a panic")??;
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
