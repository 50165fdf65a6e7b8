//! A stream to a server, plain or in TLS.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::socket::{Limits, Socket};

/// The first bytes of what a TLS server says: an alert, or a part of the handshake.
#[cfg(feature = "redis")]
pub(crate) const TLS_RECORDS: [u8; 2] = [21, 22];

/// A stream to a server.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Stream {
    /// Begins TLS; the handshake is done by the first exchange.
    pub(crate) fn tls(socket: Socket, host: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Sends the first message of TLS. Returns what the server says if it does not answer in TLS.
    #[cfg(feature = "redis")]
    pub(crate) fn greet(&mut self) -> io::Result<Option<String>> {
        let Self::Tls(stream) = self else { return Ok(None) };
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock)?;
        }
        let mut start = [0; 200];
        let read = stream.sock.peek(&mut start)?;
        let said = start.get(..read).unwrap_or_default();
        if said.first().is_none_or(|kind| TLS_RECORDS.contains(kind)) {
            return Ok(None);
        }
        // The server chooses its text: it must not forge lines of the log.
        Ok(Some(String::from_utf8_lossy(said).trim_end().replace(char::is_control, " ")))
    }

    /// Begins an exchange.
    pub(crate) fn begin(&mut self, limits: Limits) {
        match self {
            Self::Plain(socket) => socket.begin(limits),
            Self::Tls(stream) => stream.sock.begin(limits),
        }
    }

    /// Returns the socket.
    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Returns whether the connection is open and in step between two exchanges: the server has neither closed it
    /// nor sent anything that was not asked for.
    pub(crate) fn is_idle(&mut self) -> bool {
        let mut byte = [0];
        loop {
            let read = match self {
                Self::Plain(socket) => socket.read_now(&mut byte),
                // A server may renew keys at any time, which is no data.
                Self::Tls(stream) => match stream.conn.read_tls(&mut stream.sock.now()) {
                    Ok(0) => Ok(0),
                    Ok(_) => match stream.conn.process_new_packets() {
                        Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {
                            continue;
                        }
                        _ => Ok(0),
                    },
                    Err(error) => Err(error),
                },
            };
            return matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock);
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(self.socket()).finish()
    }
}
