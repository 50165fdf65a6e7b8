//! A target of lines with its queue, and the thread that writes them.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

use super::queue::{Pushed, Queue, Wait, Work};
use super::target::{LogError, Target, line_start};

/// The time between two attempts to write to a target that fails, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(125);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// One target of lines. Threads hand lines over and never wait for it; a thread of its own writes them, so that a target
/// that hangs delays no other.
#[derive(Debug)]
pub(super) struct Sink {
    /// What messages call it, `usage log /var/log/pyzord/usage.log` for example.
    name: String,
    limit: usize,
    queue: Queue,
}

/// What the writer of a sink does between its batches. Returns how long it may rest; `None` for any time.
pub(super) type Duties = Box<dyn Fn() -> Option<Duration> + Send>;

impl Sink {
    /// Creates a sink with room for `limit` bytes of lines.
    pub(super) fn new(name: String, limit: usize) -> Self {
        Self { name, limit, queue: Queue::new(limit) }
    }

    /// Starts the writer.
    pub(super) fn start(&'static self, target: Target, duties: Duties) -> Result<(), LogError> {
        // The new thread inherits the mask: it takes no signal from the threads that wait for them.
        let every = SigSet::all();
        let before =
            every.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|error| LogError::Thread(error.into()))?;
        let writer = Writer {
            sink: self,
            target,
            duties,
            batch: Vec::with_capacity(self.limit),
            written: 0,
            lost: 0,
            failing: None,
        };
        let started = std::thread::Builder::new().name("log".into()).spawn(move || writer.run());
        let restored = before.thread_set_mask();
        started.map_err(LogError::Thread)?;
        restored.map_err(|error| LogError::Thread(error.into()))
    }

    /// Takes whole lines in; without room they are lost and counted.
    pub(super) fn push(&self, text: &str, lines: u64) {
        if self.queue.push(text, lines) == Pushed::FirstLost {
            log::error!(
                "{}: {} KiB of lines wait to be written, further ones are lost",
                self.name,
                self.limit >> 10
            );
        }
    }

    pub(super) fn reopen(&self) {
        self.queue.reopen();
    }

    pub(super) fn nudge(&self) {
        self.queue.nudge();
    }

    /// Waits until all lines are written, at most for this time. Logs how many are not, and returns whether all are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let left = self.queue.flush(limit);
        if left > 0 {
            log::error!("{}: the last lines could not be written: {left}", self.name);
        }
        left == 0
    }

    /// Returns how many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

/// The state of the thread that writes.
struct Writer {
    sink: &'static Sink,
    target: Target,
    duties: Duties,
    batch: Vec<u8>,
    /// How much of the batch is written.
    written: usize,
    /// Lines that were lost and not reported.
    lost: u64,
    failing: Option<Failure>,
}

/// Why lines wait, and when the next attempt to write them is due.
struct Failure {
    cause: io::Error,
    retry: Duration,
}

impl Writer {
    fn run(mut self) {
        loop {
            let rest = (self.duties)();
            let wait = self.failing.as_ref().map_or(Wait::Lines(rest), |failure| Wait::Retry(failure.retry));
            let work = self.sink.queue.next(&mut self.batch, wait);
            self.lost += work.lost;
            if work.reopen {
                self.reopen();
            }
            self.write(work);
        }
    }

    fn reopen(&mut self) {
        // A pipe has the start of this line already, and the new file has not.
        self.written = line_start(&self.batch, self.written);
        if let Err(error) = self.target.reopen() {
            log::error!("{error}; still writing to the old file");
        }
    }

    fn write(&mut self, work: Work) {
        let rest = self.batch.get(self.written..).unwrap_or_default();
        // A file system that was full is asked for room first: an attempt that fails leaves no half of a line.
        let room = if self.failing.is_some() { self.target.reserve(rest) } else { Ok(()) };
        let from = self.written;
        let result = room.and_then(|()| self.target.write(&self.batch, &mut self.written));
        let lines =
            self.batch.get(from..self.written).unwrap_or_default().iter().filter(|byte| **byte == b'\n');
        self.sink.queue.wrote(lines.count() as u64, work, result.is_err());
        match result {
            Ok(()) => self.succeeded(),
            Err(cause) => self.failed(cause),
        }
    }

    fn succeeded(&mut self) {
        self.batch.clear();
        self.written = 0;
        let (name, lost) = (&self.sink.name, std::mem::take(&mut self.lost));
        match (self.failing.take(), lost) {
            (None, 0) => (),
            (None, _) => log::error!("{name}: lines were lost because it was too slow: {lost}"),
            (Some(_), 0) => log::warn!("{name}: works again, no line was lost"),
            (Some(failure), _) => {
                log::error!("{name}: works again; lines were lost because of `{}`: {lost}", failure.cause);
            }
        }
    }

    fn failed(&mut self, cause: io::Error) {
        if let Some(failure) = &mut self.failing {
            failure.retry = (failure.retry * 2).min(LONGEST_RETRY);
            return;
        }
        log::error!(
            "{}: {cause}; pyzord tries again; up to {} KiB of lines wait and further ones are lost",
            self.sink.name,
            self.sink.limit >> 10
        );
        self.failing = Some(Failure { cause, retry: FIRST_RETRY });
    }
}
