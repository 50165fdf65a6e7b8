//! All connections in one thread: a bounded number, each for a bounded time.

use std::io::{self, BufRead as _, Cursor, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyzord_core::Tick;
use pyzord_runtime::Clock;

use super::http::{HttpRequest, HttpResponse, Parsed, parse};

/// The largest number of connections. One more closes the oldest: idle connections keep no client out.
const MOST_CONNECTIONS: usize = 64;
/// The time limit for a request, for a response, and for the peer to close the connection.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of the listener that would come again at once, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How much is read at once, in bytes.
const CHUNK: usize = 2048;
/// How many bytes after its request a peer may send before the connection is cut.
const MOST_IGNORED: usize = 64 << 10;

/// Returns the response to a request.
type Respond<'a> = dyn FnMut(HttpRequest<'_>) -> HttpResponse + 'a;

/// What events come from, beside the connections.
pub(super) struct Sources<'a> {
    /// Its peer is closed when the server stops.
    pub(super) end: &'a UnixStream,
    /// Gets a byte when there are other settings.
    pub(super) changed: &'a UnixStream,
    /// Must not block; `None` while the page is closed.
    pub(super) listener: Option<&'a TcpListener>,
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Vec<HttpConnection>);

impl Connections {
    /// Answers requests until the server stops or its settings have changed. Returns whether it stops.
    pub(super) fn serve(&mut self, sources: &Sources<'_>, clock: Clock, answer: &mut Respond<'_>) -> bool {
        loop {
            match wait(sources, &mut self.0, clock.tick()) {
                Ok(Ready { ended: true, .. }) => return true,
                Ok(Ready { changed: true, .. }) => return false,
                Ok(Ready { incoming, .. }) => {
                    self.0.retain_mut(|connection| {
                        let open = !connection.ready || connection.proceed(clock, answer);
                        open && connection.deadline > clock.tick()
                    });
                    if let Some(listener) = sources.listener.filter(|_| incoming) {
                        accept(listener, &mut self.0, clock.tick());
                    }
                }
                Err(error) => {
                    log::debug!("status page: waiting failed: {error}");
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// The events that do not belong to a connection.
struct Ready {
    /// The server stops.
    ended: bool,
    /// There are other settings.
    changed: bool,
    /// A client wants to connect.
    incoming: bool,
}

/// Waits until something happens or a deadline has come, and marks the connections that are ready.
fn wait(sources: &Sources<'_>, connections: &mut [HttpConnection], now: Tick) -> io::Result<Ready> {
    let nearest = connections.iter().map(|connection| connection.deadline.since(now)).min();
    // `poll` counts whole milliseconds: with one more, a wait does not end before its deadline.
    let timeout = nearest.map(|left| PollTimeout::try_from(left + Duration::from_millis(1)));
    let timeout = timeout.transpose().map_err(io::Error::other)?;
    let streams = connections.iter().map(|open| PollFd::new(open.stream.as_fd(), open.waits_for()));
    let others =
        [Some(sources.end.as_fd()), Some(sources.changed.as_fd()), sources.listener.map(AsFd::as_fd)];
    let others = others.into_iter().flatten().map(|source| PollFd::new(source, PollFlags::POLLIN));
    let mut watched: Vec<_> = streams.chain(others).collect();
    match poll(&mut watched, timeout) {
        Ok(_) | Err(Errno::EINTR) => (),
        Err(error) => return Err(error.into()),
    }
    // An interrupted call leaves all events empty.
    let mut events = watched.iter().map(|fd| fd.any() != Some(false)).collect::<Vec<_>>().into_iter();
    for (connection, ready) in connections.iter_mut().zip(&mut events) {
        connection.ready = ready;
    }
    let [ended, changed, incoming] = [(); 3].map(|()| events.next() == Some(true));
    Ok(Ready { ended, changed, incoming })
}

fn accept(listener: &TcpListener, connections: &mut Vec<HttpConnection>, now: Tick) {
    match listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
        Ok(stream) => {
            if connections.len() >= MOST_CONNECTIONS {
                connections.remove(0);
            }
            let phase = Phase::Reading(Vec::new());
            connections.push(HttpConnection { stream, deadline: now.after(TIMEOUT), ready: false, phase });
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => (),
        Err(error) => {
            log::debug!("status page: {error}");
            thread::sleep(PAUSE);
        }
    }
}

#[derive(Debug)]
struct HttpConnection {
    stream: TcpStream,
    deadline: Tick,
    /// The last wait has found something to do.
    ready: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The part of the request that has been received.
    Reading(Vec<u8>),
    /// The response, and the position up to which it has been sent.
    Writing(Cursor<Vec<u8>>),
    /// The response has been sent. Closing the connection now would discard it at a peer that still sends.
    Closing { ignored: usize },
}

impl HttpConnection {
    const fn waits_for(&self) -> PollFlags {
        match self.phase {
            Phase::Reading(_) | Phase::Closing { .. } => PollFlags::POLLIN,
            Phase::Writing(_) => PollFlags::POLLOUT,
        }
    }

    /// Does everything that does not block; returns whether the connection stays open.
    fn proceed(&mut self, clock: Clock, answer: &mut Respond<'_>) -> bool {
        loop {
            match self.step(clock, answer) {
                Ok(true) => (),
                Ok(false) => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn step(&mut self, clock: Clock, answer: &mut Respond<'_>) -> io::Result<bool> {
        match &mut self.phase {
            Phase::Reading(head) => {
                let mut chunk = [0; CHUNK];
                let length = self.stream.read(&mut chunk)?;
                let (received, _) = chunk.split_at(length);
                head.extend_from_slice(received);
                let (response, head_only) = match parse(head) {
                    Parsed::Incomplete => return Ok(length > 0),
                    Parsed::Complete(request) => (answer(request), request.head_only),
                    Parsed::Refused(code) => (HttpResponse::bare(code), false),
                };
                self.phase =
                    Phase::Writing(Cursor::new(response.to_bytes(date(clock).as_deref(), head_only)));
                self.deadline = clock.tick().after(TIMEOUT);
            }
            Phase::Writing(response) => {
                let sent = self.stream.write(response.fill_buf()?)?;
                response.consume(sent);
                if response.fill_buf()?.is_empty() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.phase = Phase::Closing { ignored: 0 };
                }
            }
            Phase::Closing { ignored } => {
                let length = self.stream.read(&mut [0; CHUNK])?;
                *ignored += length;
                return Ok(length > 0 && *ignored < MOST_IGNORED);
            }
        }
        Ok(true)
    }
}

/// Returns the current time in the form of HTTP; `None` if the clock is beyond the years of that form.
fn date(clock: Clock) -> Option<String> {
    let now = jiff::Timestamp::from_second(clock.now().wall.seconds()).ok()?;
    Some(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}
