//! The part of an HTTP client that the tests need.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::{Server, wait_for};

/// A response: its head and its body.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Returns the address of the status page, from the log of a server with `--status-address 127.0.0.1:0`.
pub(crate) fn status_address(server: &Server) -> SocketAddr {
    let log = server.log();
    let address = log.split("Status page on http://").nth(1).and_then(|rest| rest.split('/').next());
    address.unwrap_or_else(|| panic!("no status page: {log}")).parse().unwrap()
}

/// Starts a server with a status page and waits until it is healthy.
pub(crate) fn serve(arguments: &[&str]) -> (Server, SocketAddr) {
    let server = Server::start(&[&["--status-address", "127.0.0.1:0"], arguments].concat());
    let address = status_address(&server);
    wait_for("the first worker", || (get(address, "/healthz").code == 200).then_some(()));
    (server, address)
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// Sends these bytes and returns what comes back until the server closes the connection.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read(&mut stream)
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    Answer { code, head: head.to_owned(), body: body.to_owned() }
}
