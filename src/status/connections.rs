//! Connections, all of them in one thread: a bounded number, each for a bounded time.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use pyzord_core::Tick;
use pyzord_runtime::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::http::{Parsed, Request, Response, parse};

/// Connections at once. One more costs the oldest of them, so who holds them open keeps nobody out.
const MOST: usize = 64;
/// How long a request may take to come in, a response to go out, and the peer to close the connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an error of the listener, which would come again at once: no descriptor is left, say.
const PAUSE: Duration = Duration::from_millis(100);
/// What a peer may send beyond its request before the connection is cut, in bytes.
const MOST_IGNORED: usize = 64 << 10;

/// Answers requests until the peer of `end` is closed. The listener must not block.
pub(super) fn serve(
    listener: &TcpListener,
    end: &UnixStream,
    clock: Clock,
    answer: &mut dyn FnMut(Request<'_>) -> Response,
) {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let ready = match wait(listener, end, &connections, clock.tick()) {
            Ok(ready) => ready,
            Err(error) => {
                log::debug!("status page: waiting failed: {error}");
                thread::sleep(PAUSE);
                continue;
            }
        };
        let mut ready = ready.into_iter();
        let [ended, called] = [ready.next().unwrap_or(false), ready.next().unwrap_or(false)];
        if ended {
            return;
        }
        connections.retain_mut(|connection| {
            let now = clock.tick();
            let go_on = !ready.next().unwrap_or(false) || connection.go_on(clock, answer);
            go_on && connection.deadline > now
        });
        if called {
            accept(listener, &mut connections, clock.tick());
        }
    }
}

/// Waits until something can be done, or a deadline has come. Says of `end`, the listener and each connection, in
/// this order, whether something happened to it.
fn wait(
    listener: &TcpListener,
    end: &UnixStream,
    connections: &[Connection],
    now: Tick,
) -> io::Result<Vec<bool>> {
    let mut watched = vec![PollFd::new(end, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
    watched
        .extend(connections.iter().map(|connection| PollFd::new(&connection.stream, connection.waits_for())));
    let nearest = connections.iter().map(|connection| connection.deadline.since(now)).min();
    // A little late rather than a little early, when nothing would be over yet.
    let timeout =
        nearest.map(|left| left + Duration::from_millis(1)).and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) => (),
        Err(rustix::io::Errno::INTR) => return Ok(vec![false; watched.len()]),
        Err(error) => return Err(error.into()),
    }
    Ok(watched.iter().map(|fd| !fd.revents().is_empty()).collect())
}

fn accept(listener: &TcpListener, connections: &mut Vec<Connection>, now: Tick) {
    match listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
        Ok(stream) => {
            if connections.len() >= MOST {
                connections.remove(0);
            }
            connections.push(Connection {
                stream,
                deadline: now.after(PATIENCE),
                state: State::Reading(Vec::new()),
            });
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => (),
        Err(error) => {
            log::debug!("status page: {error}");
            thread::sleep(PAUSE);
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    deadline: Tick,
    state: State,
}

#[derive(Debug)]
enum State {
    /// What there is of the request.
    Reading(Vec<u8>),
    /// The response, and how much of it has been sent.
    Writing(Vec<u8>, usize),
    /// All was sent and the peer knows it. Closing now would take the response from a peer that still sends.
    Closing { ignored: usize },
}

impl Connection {
    const fn waits_for(&self) -> PollFlags {
        match self.state {
            State::Reading(_) | State::Closing { .. } => PollFlags::IN,
            State::Writing(..) => PollFlags::OUT,
        }
    }

    /// Does what can be done now. Whether anything is left to do.
    fn go_on(&mut self, clock: Clock, answer: &mut dyn FnMut(Request<'_>) -> Response) -> bool {
        loop {
            match self.step(clock, answer) {
                Ok(true) => (),
                Ok(false) => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn step(&mut self, clock: Clock, answer: &mut dyn FnMut(Request<'_>) -> Response) -> io::Result<bool> {
        let mut chunk = [0; 2048];
        match &mut self.state {
            State::Reading(head) => {
                let length = self.stream.read(&mut chunk)?;
                head.extend_from_slice(chunk.get(..length).unwrap_or_default());
                let (response, head_only) = match parse(head) {
                    Parsed::Incomplete => return Ok(length > 0),
                    Parsed::Complete(request) => (answer(request), request.head_only),
                    Parsed::Refused(code) => (Response::bare(code), false),
                };
                self.state = State::Writing(response.to_bytes(&date(clock), head_only), 0);
                self.deadline = clock.tick().after(PATIENCE);
            }
            State::Writing(response, sent) => {
                *sent += self.stream.write(response.get(*sent..).unwrap_or_default())?;
                if *sent >= response.len() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.state = State::Closing { ignored: 0 };
                }
            }
            State::Closing { ignored } => {
                let length = self.stream.read(&mut chunk)?;
                *ignored += length;
                return Ok(length > 0 && *ignored < MOST_IGNORED);
            }
        }
        Ok(true)
    }
}

/// Now, as HTTP writes it.
fn date(clock: Clock) -> String {
    let now = jiff::Timestamp::from_second(clock.now().wall.seconds()).unwrap_or_default();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
