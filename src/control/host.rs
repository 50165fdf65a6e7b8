//! The server's side: a thread that waits for who calls, and one for each who has.

use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyzord_core::{Digest, Progress, Record, StoreCall, StoreFailure, StoreOp, Task};
use pyzord_engines::{RecordStore, StoredEntry};
use pyzord_runtime::Clock;
use rustix::event::{PollFd, PollFlags, poll};

use super::{GREETING, LONGEST, address, one_line};
use crate::csv::{self, Line};

/// How many may be connected at once.
const MOST: usize = 8;
/// Who says nothing, or takes nothing, for so long is cut off: an operator may read an export page by page.
const PATIENCE: Duration = Duration::from_secs(600);
/// After an error of the listener, which would come again at once: no descriptor is left, say.
const PAUSE: Duration = Duration::from_millis(100);

/// Another handle on the server's database.
pub(crate) type Lend = Box<dyn Fn() -> Box<dyn RecordStore> + Send + Sync>;

/// A socket that is open; its name is removed with it.
pub(crate) struct Host {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's name.
    name: (u64, u64),
    lend: Lend,
}

impl Host {
    /// Listens beside a database that this process has open. Where that cannot be, the server does without.
    pub(crate) fn bind(database: &Path, lend: Lend) -> Option<Self> {
        let path = address(database);
        match listen(&path) {
            Ok((listener, name)) => Some(Self { listener, path, name, lend }),
            Err(error) => {
                log::warn!(
                    "{}: {error}; pyzorctl cannot use the database while it is served",
                    path.display()
                );
                None
            }
        }
    }

    /// Serves until the peer of `end` is closed.
    pub(crate) fn serve(&self, end: &UnixStream, clock: Clock) {
        let guests = &Guests::default();
        thread::scope(|scope| {
            // However this ends.
            let _send_away = SendAway(guests);
            while let Some(stream) = self.accept(end) {
                let Some(place) = stream.and_then(|stream| guests.admit(stream)) else { continue };
                let session = move || {
                    let session =
                        Session { database: (self.lend)(), clock, stored: 0, removed: 0, counted: 0 };
                    // A bug here must not end the server.
                    if catch_unwind(AssertUnwindSafe(|| session.run(&place))).is_err() {
                        log::error!(
                            "{}: a connection was dropped after an internal error",
                            self.path.display()
                        );
                    }
                };
                // Who cannot have a thread is hung up on.
                if let Err(error) = thread::Builder::new().spawn_scoped(scope, session) {
                    log::warn!("{}: {error}", self.path.display());
                }
            }
        });
    }

    /// The next who calls; `None` at the end.
    fn accept(&self, end: &UnixStream) -> Option<Option<UnixStream>> {
        let mut watched = [PollFd::new(end, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        let waited = poll(&mut watched, None);
        let [ended, called] = watched.map(|fd| !fd.revents().is_empty());
        match waited {
            Ok(_) if ended => None,
            Ok(_) if called => Some(self.listener.accept().map_or_else(
                |error| {
                    log::debug!("{}: {error}", self.path.display());
                    thread::sleep(PAUSE);
                    None
                },
                |(stream, _)| Some(stream),
            )),
            _ => Some(None),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Where the database was moved away, another server may have one of that name by now.
        if name_of(&self.path).is_ok_and(|name| name == self.name) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn name_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Whoever had a socket of this name has ended: only one process can have the database. Another file is left alone.
fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok((listener, name_of(path)?))
}

/// Those who are connected.
#[derive(Default)]
struct Guests(Mutex<Vec<(u64, UnixStream)>>);

impl Guests {
    /// A place for who called, if there is one.
    fn admit(&self, stream: UnixStream) -> Option<Place<'_>> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = || -> io::Result<UnixStream> {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.try_clone()
        };
        if guests.len() >= MOST {
            let _ = writeln!(&stream, "failed {MOST} others are connected already");
            return None;
        }
        let number = guests.last().map_or(0, |(number, _)| number + 1);
        guests.push((number, admitted().ok()?));
        Some(Place { guests: self, number, stream })
    }
}

/// Ends all connections when it is dropped, so that none keeps the server from stopping.
struct SendAway<'a>(&'a Guests);

impl Drop for SendAway<'_> {
    fn drop(&mut self) {
        for (_, stream) in &*self.0.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One who is connected.
struct Place<'a> {
    guests: &'a Guests,
    number: u64,
    stream: UnixStream,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|(number, _)| *number != self.number);
    }
}

/// What is done for one who is connected.
struct Session {
    database: Box<dyn RecordStore>,
    clock: Clock,
    stored: u64,
    removed: u64,
    counted: u64,
}

impl Session {
    fn run(mut self, place: &Place<'_>) {
        let ended = self.converse(&place.stream);
        let Self { stored, removed, counted, .. } = self;
        if stored + removed + counted > 0 {
            log::info!(
                "pyzorctl has stored {stored} records, removed {removed} and counted for {counted} while this server ran"
            );
        }
        if let Err(error) = ended {
            log::debug!("control socket: {error}");
        }
    }

    fn converse(&mut self, stream: &UnixStream) -> io::Result<()> {
        let (mut input, mut out) = (BufReader::new(stream), BufWriter::new(stream));
        writeln!(out, "{GREETING}")?;
        let mut line = String::new();
        loop {
            // Who has sent several requests at once gets the replies at once.
            if input.buffer().is_empty() {
                out.flush()?;
            }
            line.clear();
            if input.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some(request) = line.strip_suffix('\n') else {
                writeln!(out, "failed a request is a line of at most {LONGEST} bytes")?;
                return out.flush();
            };
            match self.answer(request, &mut out)? {
                Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
                Ok(answer) => writeln!(out, "ok {answer}")?,
                Err(failure) => writeln!(out, "failed {}", one_line(&failure.to_string()))?,
            }
        }
    }

    /// Does what a request says; the outer error is the connection's.
    fn answer(&mut self, request: &str, out: &mut dyn Write) -> io::Result<Result<String, StoreFailure>> {
        let (verb, rest) = request.split_once(' ').unwrap_or((request, ""));
        Ok(match verb {
            "scan" => return self.scan(out),
            "fetch" => digest(rest).and_then(|digest| self.fetch(digest)),
            "put" => record(rest).and_then(|(digest, record)| self.put(digest, &record)),
            "remove" => digest(rest).and_then(|digest| self.remove(digest)),
            "report" => digest(rest).and_then(|digest| self.count(digest, StoreOp::Report)),
            "whitelist" => digest(rest).and_then(|digest| self.count(digest, StoreOp::Whitelist)),
            "round" => {
                record(rest).map(|(digest, record)| Line(digest, &self.database.rounded(&record)).to_string())
            }
            "estimate" => self
                .database
                .record_count(self.clock.now())
                .map(|count| count.to_string())
                .ok_or_else(|| failure("unknown")),
            "sync" => self.database.upkeep(self.clock.now(), Task::Sync).map(|_| String::new()),
            _ => Err(failure("there is no such request")),
        })
    }

    fn scan(&mut self, out: &mut dyn Write) -> io::Result<Result<String, StoreFailure>> {
        let mut found = Vec::new();
        let progress = self.database.scan(&mut found);
        for StoredEntry { key, record } in found {
            match record {
                Ok((digest, record)) => writeln!(out, "found {}", Line(digest, &record))?,
                Err(cause) => {
                    writeln!(out, "unreadable {}\t{}", one_line(&key), one_line(&cause.to_string()))?
                }
            }
        }
        Ok(progress.map(|progress| if progress == Progress::Done { "done" } else { "more" }.to_owned()))
    }

    fn fetch(&mut self, digest: Digest) -> Result<String, StoreFailure> {
        let mut results = Vec::new();
        self.database.fetch(&[digest], &mut results);
        let record = results.pop().unwrap_or_else(|| Err(failure("no answer")))?;
        Ok(Line(digest, &record).to_string())
    }

    fn put(&mut self, digest: Digest, record: &Record) -> Result<String, StoreFailure> {
        let mut results = Vec::new();
        self.database.put(&[(digest, *record)], &mut results);
        results.pop().unwrap_or_else(|| Err(failure("no answer")))?;
        self.stored += 1;
        log::debug!("pyzorctl stores {}", Line(digest, record));
        Ok(String::new())
    }

    fn remove(&mut self, digest: Digest) -> Result<String, StoreFailure> {
        self.database.remove(&[digest])?;
        self.removed += 1;
        log::debug!("pyzorctl removes {digest}");
        Ok(String::new())
    }

    fn count(&mut self, digest: Digest, op: StoreOp) -> Result<String, StoreFailure> {
        let mut answers = Vec::new();
        self.database.execute(self.clock.now(), &[StoreCall { digest, op }], &mut answers);
        let counted = answers.pop().ok_or_else(|| failure("no answer"))?;
        counted.map_err(StoreFailure::new)?;
        self.counted += 1;
        Ok(String::new())
    }
}

fn digest(text: &str) -> Result<Digest, StoreFailure> {
    Digest::parse(text.as_bytes()).ok_or_else(|| failure("a digest is 40 hex digits"))
}

fn record(text: &str) -> Result<(Digest, Record), StoreFailure> {
    csv::parse(text).map_err(StoreFailure::new)
}

fn failure(cause: &str) -> StoreFailure {
    StoreFailure::new(cause)
}

#[cfg(all(test, feature = "gdbm"))]
mod tests {
    use proptest::prelude::*;
    use pyzord_engines::Gdbm;

    use super::*;

    /// A request, or what somebody takes for one.
    fn request() -> impl Strategy<Value = String> {
        let verb = "scan|fetch|put|remove|report|whitelist|round|estimate|sync|[a-z]{0,9}";
        let record = "[0-9a-fA-F]{40}(,-?[0-9]{0,20}(\\.[0-9]{0,7})?){5,7}";
        let rest = prop_oneof!["[0-9a-fA-F]{40}", record, "\\PC{0,60}"];
        (verb, rest).prop_map(|(verb, rest)| format!("{verb} {rest}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_requests_have_one_reply_each(requests in proptest::collection::vec(request(), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let database = Box::new(Gdbm::open(&folder.path().join("pyzord.db")).unwrap());
            let clock = Clock::start();
            let mut session = Session { database, clock, stored: 0, removed: 0, counted: 0 };
            let (ours, theirs) = UnixStream::pair().unwrap();
            let text: String = requests.iter().map(|request| one_line(request) + "\n").collect();
            (&theirs).write_all(text.as_bytes()).unwrap();
            theirs.shutdown(Shutdown::Write).unwrap();
            session.converse(&ours).unwrap();
            drop(ours);
            let mut replies = String::new();
            (&theirs).read_to_string(&mut replies).unwrap();
            let mut lines = replies.lines();
            prop_assert_eq!(lines.next(), Some(GREETING));
            let found = |line: &&str| line.starts_with("found ") || line.starts_with("unreadable ");
            let replied: Vec<&str> = lines.filter(|line| !found(line)).collect();
            prop_assert_eq!(replied.len(), requests.len(), "{}", replies);
            let form = |line: &&str| *line == "ok" || line.starts_with("ok ") || line.starts_with("failed ");
            prop_assert!(replied.iter().all(form), "{}", replies);
        }
    }
}
