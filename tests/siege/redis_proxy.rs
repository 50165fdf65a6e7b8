//! A proxy before redis that now and then hands a reply over byte by byte, without an end in sight.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// One reply in so many trickles.
const TRICKLES: u32 = 20_000;

/// A running proxy. Dropping it ends its threads with the next byte of their connections.
pub(crate) struct RedisProxy {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl RedisProxy {
    pub(crate) fn start(redis: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, stop) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let (ends, replies) = (Arc::clone(&stop), Arc::new(AtomicU32::new(0)));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, redis)) else { continue };
                // As proxies do: two small writes must not wait for an acknowledgement of the first.
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || copy(client, server));
                let (ends, replies) = (Arc::clone(&ends), Arc::clone(&replies));
                thread::spawn(move || hand_over(from_server, to_client, &replies, &ends));
            }
        });
        Self { port, stop }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for RedisProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

/// Copies replies. One in so many becomes the beginning of a long string that never ends.
fn hand_over(mut from: TcpStream, mut to: TcpStream, replies: &AtomicU32, ends: &AtomicBool) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if replies.fetch_add(1, Ordering::Relaxed) % TRICKLES == TRICKLES - 1 {
            let mut byte: &[u8] = b"$100000\r\n";
            while !ends.load(Ordering::Relaxed) && to.write_all(byte).is_ok() {
                byte = b"x";
                thread::sleep(Duration::from_millis(100));
            }
            break;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
