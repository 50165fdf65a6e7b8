//! A socket whose reads and writes obey the limits of an exchange.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

use super::deadline::Deadline;

/// How much longer than its deadline a wait may take: the time-out of the socket is not set again for less.
const GRAIN: Duration = Duration::from_millis(20);
/// How many addresses of one name are tried.
const MOST_ADDRESSES: usize = 4;
/// How long the connection to one address may take, without what is said on it.
const ONE_ADDRESS: Duration = Duration::from_secs(3);

/// The limits of one exchange: a request, and its complete reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// When it must end.
    pub(crate) deadline: Deadline,
    /// The longest wait for the next bytes.
    pub(crate) pause: Duration,
    /// The largest size of the reply, in bytes.
    pub(crate) reply: usize,
}

/// The server sends more than any reply has.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server's reply is too large")]
struct TooLarge;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: Io,
    limits: Limits,
    /// The bytes that the exchange may still read.
    left: usize,
    /// Bytes of the exchange have been handed to the system.
    sent: bool,
    /// What has arrived is read once more after the deadline: this process, not the server, may have stood still.
    grace: bool,
    /// The time-outs that the socket has.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Returns the addresses of a name, a few at most.
pub(crate) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() { Err(io::Error::other("its name has no address")) } else { Ok(addresses) }
}

/// Connects to an address.
pub(crate) fn connect_tcp(address: SocketAddr, limits: Limits) -> io::Result<Socket> {
    let left = limits.deadline.left().ok_or(ErrorKind::TimedOut)?;
    let stream = TcpStream::connect_timeout(&address, left.min(ONE_ADDRESS))?;
    // With Nagle's algorithm the last commands of a batch wait until the server has acknowledged the others.
    stream.set_nodelay(true)?;
    Ok(Socket::new(Io::Tcp(stream), limits))
}

/// Connects to a local socket.
pub(crate) fn connect_unix(path: &Path, limits: Limits) -> io::Result<Socket> {
    Ok(Socket::new(Io::Unix(UnixStream::connect(path)?), limits))
}

impl Socket {
    fn new(io: Io, limits: Limits) -> Self {
        Self {
            io,
            limits,
            left: limits.reply,
            sent: false,
            grace: true,
            read_timeout: None,
            write_timeout: None,
        }
    }

    /// Begins an exchange.
    pub(crate) fn begin(&mut self, limits: Limits) {
        (self.limits, self.left, self.sent, self.grace) = (limits, limits.reply, false, true);
    }

    /// Returns whether the server may have received bytes of this exchange.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent
    }

    /// Returns whether the server is on this machine, behind a local socket.
    #[cfg(feature = "mysql")]
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.io, Io::Unix(_))
    }

    /// Reads what has arrived, without a wait. The mode of the socket stays as it is: to change it takes two more
    /// system calls.
    pub(crate) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, read) = match &self.io {
            Io::Tcp(stream) => recv(stream, buffer, RecvFlags::DONTWAIT)?,
            Io::Unix(stream) => recv(stream, buffer, RecvFlags::DONTWAIT)?,
        };
        Ok(read)
    }

    /// Returns a reader of what has arrived, as [`read_now`](Self::read_now) reads it.
    pub(crate) fn now(&mut self) -> impl Read + '_ {
        Now(self)
    }

    /// Returns how long to wait for the server.
    fn wait(&mut self) -> io::Result<Duration> {
        if let Some(left) = self.limits.deadline.left() {
            return Ok(left.min(self.limits.pause));
        }
        if std::mem::take(&mut self.grace) {
            self.limits.deadline = Deadline::after(GRAIN);
            return Ok(GRAIN);
        }
        Err(ErrorKind::TimedOut.into())
    }

    /// Returns the error that ends the exchange, or `None` if the call is made again.
    fn failed(&self, error: io::Error, waited: Duration) -> Option<io::Error> {
        match error.kind() {
            // A signal, or the process was stopped and goes on: a socket with a time-out then returns.
            ErrorKind::Interrupted => None,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let over = waited >= self.limits.pause || self.limits.deadline.left().is_none();
                over.then(|| ErrorKind::TimedOut.into())
            }
            _ => Some(error),
        }
    }
}

/// Reads without a wait.
struct Now<'a>(&'a mut Socket);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(buffer)
    }
}

/// Returns whether a time-out of the socket serves for a wait.
fn serves(timeout: Option<Duration>, wait: Duration) -> bool {
    timeout.is_some_and(|timeout| timeout <= wait + GRAIN && wait <= timeout + GRAIN)
}

impl Socket {
    /// Waits for bytes, and returns them without taking them; for TCP.
    #[cfg(feature = "redis")]
    pub(crate) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer, |io, buffer| match io {
            Io::Tcp(stream) => stream.peek(buffer),
            Io::Unix(_) => Err(ErrorKind::Unsupported.into()),
        })
    }

    /// Calls `receive` until it returns bytes or the time is over.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        receive: impl Fn(&mut Io, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let wait = self.wait()?;
            if !serves(self.read_timeout, wait) {
                self.read_timeout = Some(wait);
                match &self.io {
                    Io::Tcp(stream) => stream.set_read_timeout(self.read_timeout)?,
                    Io::Unix(stream) => stream.set_read_timeout(self.read_timeout)?,
                }
            }
            match receive(&mut self.io, buffer) {
                Ok(read) => return Ok(read),
                Err(error) => {
                    if let Some(error) = self.failed(error, wait) {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left);
        let room = buffer.get_mut(..most).unwrap_or_default();
        if room.is_empty() {
            return Err(io::Error::other(TooLarge));
        }
        let read = self.receive(room, |io, room| match io {
            Io::Tcp(stream) => stream.read(room),
            Io::Unix(stream) => stream.read(room),
        })?;
        self.left = self.left.saturating_sub(read);
        Ok(read)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let wait = self.wait()?;
            if !serves(self.write_timeout, wait) {
                self.write_timeout = Some(wait);
                match &self.io {
                    Io::Tcp(stream) => stream.set_write_timeout(self.write_timeout)?,
                    Io::Unix(stream) => stream.set_write_timeout(self.write_timeout)?,
                }
            }
            let written = match &mut self.io {
                Io::Tcp(stream) => stream.write(bytes),
                Io::Unix(stream) => stream.write(bytes),
            };
            match written {
                Ok(written) => {
                    self.sent |= written > 0;
                    return Ok(written);
                }
                Err(error) => {
                    if let Some(error) = self.failed(error, wait) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pair(limits: Limits) -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Socket::new(Io::Unix(ours), limits), theirs)
    }

    fn limits(millis: u64, reply: usize) -> Limits {
        let limit = Duration::from_millis(millis);
        Limits { deadline: Deadline::after(limit), pause: Duration::from_secs(600), reply }
    }

    /// The time-out of a socket begins again with each byte: a reply that trickled kept its clients waiting.
    #[test]
    fn bytes_that_trickle_do_not_prolong_an_exchange() {
        let (mut socket, mut server) = pair(limits(200, 1 << 20));
        let trickle = thread::spawn(move || {
            let mut sent = 0;
            while server.write_all(b"x").is_ok() {
                sent += 1;
                thread::sleep(Duration::from_millis(5));
            }
            sent
        });
        let mut reply = Vec::new();
        let error = socket.read_to_end(&mut reply).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(socket);
        assert!(trickle.join().unwrap() >= reply.len());
    }

    #[test]
    fn a_reply_has_a_largest_size() {
        let (mut socket, mut server) = pair(limits(60_000, 1000));
        let flood = thread::spawn(move || while server.write_all(&[b'x'; 4096]).is_ok() {});
        let mut reply = Vec::new();
        let error = socket.read_to_end(&mut reply).unwrap_err();
        assert_eq!(error.to_string(), TooLarge.to_string());
        assert_eq!(reply.len(), 1000);
        drop(socket);
        flood.join().unwrap();
    }

    /// The look at a connection before each exchange switched its mode to and fro.
    #[test]
    fn a_look_at_what_has_arrived_does_not_wait_and_a_read_still_does() {
        let (mut socket, mut server) = pair(limits(60_000, 1000));
        let mut reply = [0; 5];
        assert_eq!(socket.read_now(&mut reply).unwrap_err().kind(), ErrorKind::WouldBlock);
        let answer = thread::spawn(move || {
            server.write_all(b"reply").unwrap();
            server
        });
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"reply");
        let mut server = answer.join().unwrap();
        server.write_all(b"x").unwrap();
        assert_eq!(socket.read_now(&mut reply).unwrap(), 1);
        drop(server);
        assert_eq!(socket.read_now(&mut reply).unwrap(), 0);
    }

    /// After a stop of the process the deadline has passed, but the reply is there.
    #[test]
    fn what_has_arrived_is_read_after_the_deadline() {
        let (mut socket, mut server) = pair(limits(0, 1000));
        server.write_all(b"reply").unwrap();
        let mut reply = [0; 5];
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"reply");
        assert_eq!(socket.read(&mut reply).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
