//! The thread that forwards counted digests to other servers.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyzord_core::client::{Action, Condition, Forwarder, Remote, ServerEvent, Standing, Totals};
use pyzord_core::{Answered, Counted, MAX_REQUEST, Origin, Tick, UnixTime};

use crate::clock::Clock;
use crate::datagrams::Path;
use crate::guard::random_secret;
use crate::undelivered;

/// What is shown of each server after a bug has ended the thread.
const ENDED: &str = "an internal error has ended forwarding: restart the server";
/// The most digests that wait for the thread. It takes all of them at each turn, so they are few; the bound keeps a
/// thread that is held up from filling the memory.
const ROOM: usize = 10_000;
/// How long a stop waits for replies, at most: a stop that has used its time for requests still ends within six seconds.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// The most replies that are read from a socket before the thread sends again.
const MOST_REPLIES: usize = 256;
/// How often a send is tried again that may have failed because of an earlier datagram.
const MOST_RETRIES: usize = 2;

/// A digest that was never sent to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// The number of the server.
    pub server: usize,
    /// The digest.
    pub counted: Counted,
}

/// How forwarding to one server fares. Numbers are digests since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardTarget {
    /// The server, as its file names it.
    pub server: String,
    /// Whether it takes what it is sent.
    pub state: ForwardState,
    /// When this began; `None` while the server was sent nothing.
    pub since: Option<UnixTime>,
    /// When the server last counted a request.
    pub last_delivered: Option<UnixTime>,
    /// What became of the digests. Those that found no room on their way to the forwarding thread are among the dropped.
    pub totals: Totals,
}

/// Whether a server takes what it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForwardState {
    /// It was sent nothing yet.
    Idle,
    /// It counts what it is sent.
    Ok,
    /// It does not take what it is sent, for this cause.
    Failing(String),
}

/// The forwarding of counted digests, for readers: another thread may ask it at any time.
#[derive(Clone, Debug)]
pub struct ForwardingView {
    shared: Arc<Shared>,
    clock: Clock,
}

impl ForwardingView {
    /// Returns how forwarding fares, a server each: one short lock.
    #[must_use]
    pub fn targets(&self) -> Vec<ForwardTarget> {
        let now = self.clock.now();
        // The age of a time is monotonic: a clock that is set moves it with all others.
        let wall = |tick: Tick| now.wall.before(now.tick.since(tick));
        let post = self.shared.lock();
        let target = |shown: &Shown| {
            let (state, since) = match &shown.condition {
                _ if post.ended => (ForwardState::Failing(ENDED.to_owned()), None),
                Condition::Idle => (ForwardState::Idle, None),
                Condition::Delivering { since } => (ForwardState::Ok, Some(*since)),
                Condition::Failing { since, cause } => {
                    (ForwardState::Failing(cause.to_string()), Some(*since))
                }
            };
            ForwardTarget {
                server: shown.server.clone(),
                state,
                since: since.map(wall),
                last_delivered: shown.delivered.map(wall),
                totals: post.with_drops(shown.totals),
            }
        };
        post.shown.iter().map(target).collect()
    }
}

/// The forwarding of counted digests. The threads that answer requests hand batches over, and never wait for it.
#[derive(Debug)]
pub struct Forwarding {
    shared: Arc<Shared>,
    origin: Origin,
    clock: Clock,
    thread: JoinHandle<()>,
}

impl Forwarding {
    /// Starts the thread. A server that has not replied after `timeout` counts as not having answered.
    ///
    /// # Errors
    /// When a socket cannot be opened or the thread cannot be started.
    pub fn start(remotes: Vec<Remote>, timeout: Duration) -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let clock = Clock::start();
        let forwarder = Forwarder::new(remotes, timeout, random_secret()?, clock.tick());
        let origin = forwarder.origin();
        let shared = Arc::new(Shared { waker, post: Mutex::new(Post::new(&forwarder)) });
        let driver = Driver {
            shared: Arc::clone(&shared),
            woken,
            sockets: sockets()?,
            forwarder,
            clock,
            counts: Vec::with_capacity(ROOM),
            datagram: Vec::new(),
            stop_at: None,
        };
        let thread = thread::Builder::new().name("forward".into()).spawn(move || driver.run())?;
        Ok(Self { shared, origin, clock, thread })
    }

    /// Returns what marks the requests, by which the [server](pyzord_core::Server::with_origin) knows them as its own.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Takes the counted digests of an answered batch: one short lock, and one byte to wake the thread if it has no others
    /// to take. Digests that find no room are dropped, and the drops are counted.
    pub fn hand_over(&self, answered: &Answered<Path>) {
        let mut counted = answered.counted().peekable();
        if counted.peek().is_none() {
            return;
        }
        let mut post = self.shared.lock();
        let was_empty = post.counts.is_empty();
        let room = ROOM.saturating_sub(post.counts.len());
        post.counts.extend(counted.by_ref().take(room));
        post.dropped += counted.count() as u64;
        drop(post);
        if was_empty {
            self.shared.wake();
        }
    }

    /// Returns what other threads read of it.
    #[must_use]
    pub fn view(&self) -> ForwardingView {
        ForwardingView { shared: Arc::clone(&self.shared), clock: self.clock }
    }

    /// Returns the results so far, as a line for each server.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        self.shared.report()
    }

    /// Returns the servers as their file names them, in the order of their numbers.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.shared.lock().shown.iter().map(|shown| shown.server.clone()).collect()
    }

    /// Takes digests that an earlier [stop](Self::stop) has left.
    pub fn restore(&self, unsent: Vec<Unsent>) {
        self.shared.lock().unsent = unsent;
        self.shared.wake();
    }

    /// Sends the digests that wait, gives the servers a second to reply, and ends the thread. Returns the last
    /// [report](Self::report), and the digests that were never sent: no server has confirmed the others that the report
    /// shows as waiting.
    #[must_use]
    pub fn stop(self) -> (Vec<String>, Vec<Unsent>) {
        self.shared.lock().stop = true;
        self.shared.wake();
        // The thread catches and logs its own panics.
        drop(self.thread.join());
        let unsent = std::mem::take(&mut self.shared.lock().unsent);
        (self.shared.report(), unsent)
    }
}

/// The state that the thread shares with the others.
#[derive(Debug)]
struct Shared {
    waker: UnixStream,
    post: Mutex<Post>,
}

/// Messages to the thread, and its results.
#[derive(Debug)]
struct Post {
    counts: Vec<Counted>,
    dropped: u64,
    found: Vec<(usize, Vec<SocketAddr>)>,
    stop: bool,
    shown: Vec<Shown>,
    /// Whether a bug has ended the thread.
    ended: bool,
    /// Digests of an earlier run, on their way to the thread; at the end those that it has left.
    unsent: Vec<Unsent>,
}

/// What the thread shows of a server.
#[derive(Debug)]
struct Shown {
    server: String,
    totals: Totals,
    condition: Condition,
    delivered: Option<Tick>,
}

impl Shown {
    fn new(standing: Standing<'_>) -> Self {
        let (server, totals) = (standing.remote.to_string(), standing.totals);
        Self { server, totals, condition: standing.condition.clone(), delivered: standing.delivered }
    }

    fn update(&mut self, standing: Standing<'_>) {
        self.totals = standing.totals;
        self.delivered = standing.delivered;
        // Compared first: a cause is a copied text.
        if self.condition != *standing.condition {
            self.condition.clone_from(standing.condition);
        }
    }
}

impl Post {
    fn new(forwarder: &Forwarder) -> Self {
        Self {
            counts: Vec::with_capacity(ROOM),
            dropped: 0,
            found: Vec::new(),
            stop: false,
            shown: forwarder.standings().map(Shown::new).collect(),
            ended: false,
            unsent: Vec::new(),
        }
    }

    /// Adds the digests that found no room.
    const fn with_drops(&self, mut totals: Totals) -> Totals {
        totals.dropped += self.dropped;
        totals
    }
}

impl Shared {
    /// Ends the thread's wait. A full pipe is no error: the thread has not yet read the bytes that woke it.
    fn wake(&self) {
        let _ = (&self.waker).write(&[0]);
    }

    fn report(&self) -> Vec<String> {
        let post = self.lock();
        let line =
            |shown: &Shown| format!("forwarding to {}: {}", shown.server, post.with_drops(shown.totals));
        post.shown.iter().map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Post> {
        // Nothing panics while it holds this lock, and if it did, what waits would still be whole.
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the thread.
struct Driver {
    shared: Arc<Shared>,
    woken: UnixStream,
    /// One for each address family that this machine has.
    sockets: Vec<UdpSocket>,
    forwarder: Forwarder,
    clock: Clock,
    counts: Vec<Counted>,
    datagram: Vec<u8>,
    /// When a stop ends its wait for replies.
    stop_at: Option<Tick>,
}

impl Driver {
    fn run(mut self) {
        // A bug here must not end the server, which can answer its clients without this thread.
        if catch_unwind(AssertUnwindSafe(|| while self.turn() {})).is_err() {
            self.shared.lock().ended = true;
            log::error!("nothing is forwarded any more, after an internal error");
        }
    }

    /// Does all actions that are due, then waits. Returns whether to go on.
    fn turn(&mut self) -> bool {
        self.take_post();
        self.take_reports();
        self.receive();
        let now = self.clock.now();
        while let Some(action) = self.forwarder.poll(now, &mut self.datagram) {
            match action {
                Action::Send(to) => self.send(to),
                Action::LookUp(server) => self.look_up(server),
                Action::Log(event) => log_event(&event),
            }
        }
        let mut post = self.shared.lock();
        post.shown.iter_mut().zip(self.forwarder.standings()).for_each(|(shown, now)| shown.update(now));
        drop(post);
        if self.stop_at.is_some_and(|at| self.forwarder.is_idle() || at <= now.tick) {
            let unsent = self.forwarder.unsent().map(|(server, counted)| Unsent { server, counted });
            self.shared.lock().unsent = unsent.collect();
            return false;
        }
        self.wait();
        true
    }

    fn take_post(&mut self) {
        // The bytes are read before the messages: a message that comes in between wakes the thread again.
        while matches!((&self.woken).read(&mut [0; 64]), Ok(1..)) {}
        let now = self.clock.tick();
        let mut post = self.shared.lock();
        std::mem::swap(&mut self.counts, &mut post.counts);
        let (found, stop) = (std::mem::take(&mut post.found), post.stop);
        let restored = std::mem::take(&mut post.unsent);
        drop(post);
        for Unsent { server, counted } in restored {
            self.forwarder.restore(server, counted, now);
        }
        self.counts.drain(..).for_each(|count| self.forwarder.count(count, now));
        for (server, addresses) in found {
            self.forwarder.found(server, &addresses, now);
        }
        if stop && self.stop_at.is_none() {
            self.stop_at = Some(now.after(LAST_WAIT));
            self.forwarder.stop();
        }
    }

    /// Takes what the network reports of datagrams that did not arrive.
    fn take_reports(&mut self) {
        for socket in &self.sockets {
            for _ in 0..MOST_REPLIES {
                let Some((to, error)) = undelivered::next(socket) else { break };
                log::debug!("sending to {to} failed: {error}");
                if let Some(why) = undelivered::cause(&error) {
                    self.forwarder.unreachable(to, why, self.clock.tick());
                }
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; MAX_REQUEST];
        for socket in &self.sockets {
            for _ in 0..MOST_REPLIES {
                // The socket is empty, or a datagram could not be delivered: its reply does not come, as the
                // forwarder will notice.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
                let datagram = buffer.get(..length).unwrap_or_default();
                self.forwarder.received(from, datagram, self.clock.tick());
            }
        }
    }

    fn send(&mut self, to: SocketAddr) {
        let same_family =
            |socket: &&UdpSocket| socket.local_addr().is_ok_and(|local| local.is_ipv4() == to.is_ipv4());
        let sent = match self.sockets.iter().find(same_family) {
            Some(socket) => {
                // A socket tells of an earlier datagram, perhaps to another server, instead of sending this one.
                let mut again = (0..MOST_RETRIES).map(|_| socket.send_to(&self.datagram, to));
                socket
                    .send_to(&self.datagram, to)
                    .or_else(|error| again.find(Result::is_ok).unwrap_or(Err(error)))
            }
            // The machine lacks the whole family.
            None => Err(io::ErrorKind::NetworkUnreachable.into()),
        };
        if let Err(error) = sent {
            log::debug!("sending to {to} failed: {error}");
            if let Some(why) = undelivered::cause(&error) {
                self.forwarder.unreachable(to, why, self.clock.tick());
            }
        }
    }

    /// Looks up a name on a thread of its own, since it can take any time.
    fn look_up(&mut self, server: usize) {
        let Some((remote, _)) = self.forwarder.totals().nth(server) else { return };
        let (name, shared) = ((remote.host.to_string(), remote.port), Arc::clone(&self.shared));
        let lookup = move || {
            let found = name.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            shared.lock().found.push((server, found));
            shared.wake();
        };
        if let Err(error) = thread::Builder::new().name("lookup".into()).spawn(lookup) {
            log::error!("no thread to look up a name: {error}");
            self.forwarder.found(server, &[], self.clock.tick());
        }
    }

    /// Waits for a reply, for a message, or for the next deadline.
    fn wait(&self) {
        let deadline = self.forwarder.next_deadline().into_iter().chain(self.stop_at).min();
        // `poll` counts whole milliseconds: with one more, a wait does not end before its deadline.
        let timeout = deadline.map(|at| at.since(self.clock.tick()) + Duration::from_millis(1));
        // The longest wait is 24 days; the next turn waits for the rest.
        let timeout = timeout.map(|left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let sources = self.sockets.iter().map(UdpSocket::as_fd).chain([self.woken.as_fd()]);
        let mut ready: Vec<_> = sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        // A signal came, or the error repeats: in either case the next turn does what is due.
        if poll(&mut ready, timeout).is_err() {
            thread::yield_now();
        }
    }
}

fn log_event(event: &ServerEvent) {
    let level = if event.event.is_warning() { log::Level::Warn } else { log::Level::Info };
    log::log!(level, "{event}");
}

/// Opens a socket for each address family. A machine without one of the families has the other.
fn sockets() -> io::Result<Vec<UdpSocket>> {
    let open = |local: IpAddr| {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        undelivered::subscribe(&socket);
        Ok(socket)
    };
    let ipv4 = open(Ipv4Addr::UNSPECIFIED.into());
    let ipv6 = open(Ipv6Addr::UNSPECIFIED.into());
    match (ipv4, ipv6) {
        (Err(error), Err(_)) => Err(error),
        (ipv4, ipv6) => Ok(ipv4.into_iter().chain(ipv6).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyzord_core::{Batch, Guard, Limits, MemoryStore, Policy, Server, Store as _};

    /// An answered batch of one report of this many digests.
    fn batch(digests: usize) -> Answered<Path> {
        let server: Server = Server::new(Policy::default(), Guard::new(Limits::default(), [7; 16]));
        let mut batch = Batch::new();
        let report = format!("Op: report\n{}PV: 2.1\n\n", format!("Op-Digest: {:040}\n", 7).repeat(digests));
        let now = Clock::start().now();
        let path = Path { peer: "192.0.2.1:9".parse().unwrap(), local: None };
        batch.accept(&server, path, report.as_bytes(), now).unwrap();
        let asked = batch.ask();
        let mut answers = Vec::new();
        MemoryStore::new().execute(now, asked.calls(), &mut answers);
        asked.resolve(&server, &answers)
    }

    /// A server's socket on this address, and how it is named in `servers`.
    fn server(address: &str, name: &str) -> (UdpSocket, Remote) {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let remote = Remote::new(name, socket.local_addr().unwrap().port());
        (socket, remote)
    }

    /// Receives a request, and answers it if `answer` is set.
    fn serve(socket: &UdpSocket, answer: bool) -> String {
        let mut buffer = [0; MAX_REQUEST];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        let request = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let thread = request.lines().find(|line| line.starts_with("Thread: ")).unwrap();
        if answer {
            let reply = format!("Code: 200\nDiag: OK\nPV: 2.1\n{thread}\n\n");
            socket.send_to(reply.as_bytes(), from).unwrap();
        }
        request
    }

    #[test]
    fn what_is_handed_over_is_sent_and_a_stop_sends_the_rest() {
        for address in ["127.0.0.1", "::1"] {
            let (socket, remote) = server(address, address);
            let forwarding = Forwarding::start(vec![remote], Duration::from_secs(5)).unwrap();
            forwarding.hand_over(&batch(20));
            for _ in 0..2 {
                let request = serve(&socket, true);
                assert!(request.starts_with("Op: report\n"), "{request}");
                assert_eq!(request.matches("Op-Digest").count(), 10);
            }
            forwarding.hand_over(&batch(1));
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(serve(&socket, true).matches("Op-Digest").count(), 1));
                let (report, unsent) = forwarding.stop();
                assert!(report[0].contains(": 21 digests accepted, 0 refused"), "{report:?}");
                assert_eq!(unsent, []);
            });
        }
    }

    /// `localhost` may have two addresses and the server listens on one: the other one is tried, too.
    #[test]
    fn a_name_is_looked_up() {
        let (socket, remote) = server("127.0.0.1", "localhost");
        let forwarding = Forwarding::start(vec![remote], Duration::from_millis(200)).unwrap();
        forwarding.hand_over(&batch(10));
        while !serve(&socket, true).starts_with("Op: report\n") {}
        let (report, _) = forwarding.stop();
        assert!(report[0].starts_with("forwarding to localhost:"), "{report:?}");
    }

    /// The state of a server whose port is closed, as a reader sees it, and the end of that.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_closed_port_is_seen_at_once_and_an_open_one_again() {
        let (socket, remote) = server("127.0.0.1", "127.0.0.1");
        let address = socket.local_addr().unwrap();
        drop(socket);
        let (other, other_remote) = server("127.0.0.1", "127.0.0.1");
        let forwarding = Forwarding::start(vec![remote, other_remote], Duration::from_millis(200)).unwrap();
        let view = forwarding.view();
        let states = || view.targets().into_iter().map(|target| target.state).collect::<Vec<_>>();
        assert_eq!(states(), [ForwardState::Idle, ForwardState::Idle]);
        forwarding.hand_over(&batch(10));
        serve(&other, true);
        let wanted = [ForwardState::Failing("no program listens on its port".into()), ForwardState::Ok];
        wait_for(|| states() == wanted);
        let [closed, open] = &view.targets()[..] else { panic!() };
        assert!(closed.since.is_some() && closed.last_delivered.is_none());
        assert!(open.last_delivered.is_some() && open.totals.accepted == 10, "{open:?}");
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(serve(&socket, true).starts_with("Op: ping\n"));
        wait_for(|| states()[0] == ForwardState::Ok);
        drop(forwarding.stop());
    }

    fn wait_for(mut happened: impl FnMut() -> bool) {
        let clock = Clock::start();
        while !happened() {
            assert!(clock.tick() < Tick::new(Duration::from_secs(20)), "it does not happen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_server_that_does_not_answer_holds_nobody_up_and_fills_no_memory() {
        let (socket, remote) = server("127.0.0.1", "127.0.0.1");
        let forwarding = Forwarding::start(vec![remote], Duration::from_secs(600)).unwrap();
        for _ in 0..300 {
            forwarding.hand_over(&batch(100));
        }
        serve(&socket, false);
        let (report, unsent) = forwarding.stop();
        let number = |what: &str| -> u64 {
            let before = report[0].split(&format!(" {what}")).next().unwrap();
            before.rsplit([' ', ',']).next().unwrap().parse().unwrap()
        };
        assert_eq!(number("digests accepted"), 0, "{report:?}");
        assert_eq!(number("dropped") + number("waiting"), 30_000, "{report:?}");
        assert!(number("waiting") <= 10_000 + 320, "{report:?}");
        // What was sent may have been counted; the rest is for the next start.
        let sent = number("waiting") - unsent.len() as u64;
        assert!((10..=320).contains(&sent), "{sent} {report:?}");
        let (socket, remote) = server("127.0.0.1", "127.0.0.1");
        let forwarding = Forwarding::start(vec![remote], Duration::from_secs(600)).unwrap();
        forwarding.restore(unsent[..25].to_vec());
        let digests: usize = (0..3).map(|_| serve(&socket, true).matches("Op-Digest").count()).sum();
        assert_eq!(digests, 25);
        assert_eq!(forwarding.stop().1, []);
    }
}
