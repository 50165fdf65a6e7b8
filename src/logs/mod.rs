//! The log and the usage log, in the line format of Python's server.
//!
//! The log file, the usage log and standard error are each a [`Sink`]: a bounded queue, and a thread that writes. No
//! other thread waits for them, and a target that hangs stops no other. What finds no room is lost and counted; a file
//! holds whole lines only.
//!
//! fern and tracing know neither one write per batch of usage lines nor reopening both files at a signal, and tracing's
//! writer without waiting takes memory for each line; the format would stay ours.

mod flood;
mod format;
mod queue;
mod recent;
mod sink;
mod target;

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyzord_core::Answered;
use pyzord_runtime::Clock;

use flood::{Flood, LeftOut, Verdict};
pub(crate) use format::OneLine;
use format::{Stamp, level_name, priority};
pub(crate) use recent::LoggedError;
use recent::Recent;
use sink::Sink;
use target::Target;
pub(crate) use target::{LogError, check};

/// The target of warnings about the operator's files: each of them is logged, however many there are.
pub(crate) const FILES: &str = "pyzord::files";
/// The target of summaries of lines that were left out.
const SUMMARY: &str = "pyzord::summary";

/// How many bytes of lines wait for a writer: of the log and of standard error, and of the usage log.
const LOG_ROOM: usize = 256 << 10;
const USAGE_ROOM: usize = 4 << 20;
/// How long a flush waits for the usage log, which may have most to write, and for each of the others.
const USAGE_PATIENCE: Duration = Duration::from_millis(600);
const LOG_PATIENCE: Duration = Duration::from_millis(200);
/// How often summaries are looked for while one is to come.
const SUMMARY_PERIOD: Duration = Duration::from_secs(1);

/// Both logs of this process; the macros of the crate `log` write to it.
#[derive(Debug)]
pub(crate) struct Logs {
    main: Option<Sink>,
    usage: Option<Sink>,
    terminal: Sink,
    /// Standard error is the journal.
    journal: bool,
    pid: u32,
    flood: Flood,
    recent: Recent,
    clock: Clock,
}

impl Logs {
    /// Opens the files and makes this the log of the process. In the `journal` a line on standard error is a priority
    /// and the message.
    pub(crate) fn install(
        main: Option<&Path>,
        usage: Option<&Path>,
        level: LevelFilter,
        journal: bool,
    ) -> Result<&'static Self, LogError> {
        let sink = |kind: &str, room: usize, path: Option<&Path>| {
            path.map(|path| Sink::new(format!("{kind} {}", path.display()), room))
        };
        let targets = [main, usage].map(|path| path.map(Target::open).transpose());
        let logs: &'static Self = Box::leak(Box::new(Self {
            main: sink("log file", LOG_ROOM, main),
            usage: sink("usage log", USAGE_ROOM, usage),
            terminal: Sink::new("standard error".to_owned(), LOG_ROOM),
            journal,
            pid: std::process::id(),
            flood: Flood::default(),
            recent: Recent::default(),
            clock: Clock::start(),
        }));
        for (sink, target) in [&logs.main, &logs.usage].into_iter().zip(targets) {
            if let (Some(sink), Some(target)) = (sink, target?) {
                sink.start(target, Box::new(|| None))?;
            }
        }
        logs.terminal.start(Target::standard_error(), Box::new(|| logs.summarize()))?;
        log::set_logger(logs).map_err(LogError::Installed)?;
        log::set_max_level(level);
        panic::set_hook(Box::new(log_panic));
        Ok(logs)
    }

    /// Returns the least important level that standard error gets.
    fn terminal_level(&self) -> LevelFilter {
        match log::max_level() {
            level @ (LevelFilter::Debug | LevelFilter::Trace) => level,
            // A terminal, a container or a journal shows where the server listens.
            level if self.main.is_none() => level,
            _ => LevelFilter::Error,
        }
    }

    /// Makes the writers open the files again by their names, after logrotate has moved them. A file that cannot be
    /// opened stays as it is.
    pub(crate) fn reopen(&self) {
        [&self.main, &self.usage].into_iter().flatten().for_each(Sink::reopen);
    }

    /// Returns how many lines of each log were lost since the start.
    pub(crate) fn lost(&self) -> [(&'static str, u64); 3] {
        let lost = |sink: &Option<Sink>| sink.as_ref().map_or(0, Sink::lost);
        [("log", lost(&self.main)), ("usage", lost(&self.usage)), ("stderr", self.terminal.lost())]
    }

    /// Returns the last warnings and errors, the newest first.
    pub(crate) fn last_errors(&self) -> Vec<LoggedError> {
        self.recent.newest_first()
    }

    /// Logs one line per request of a batch, all of them in one step.
    pub(crate) fn usage(&self, answered: &Answered<pyzord_runtime::Path>) {
        let debug = log::max_level() >= LevelFilter::Debug;
        if self.usage.is_none() && !debug {
            return;
        }
        with_buffer(|lines| {
            let (stamp, mut count) = (Stamp::now(self.pid), 0);
            for usage in answered.usage() {
                let level = if usage.refusal.is_some() { "ERROR" } else { "INFO" };
                let _ = writeln!(lines, "{stamp} {level} {usage}");
                count += 1;
            }
            if let Some(usage) = &self.usage {
                usage.push(lines, count);
            }
            if debug && self.journal {
                lines.clear();
                for usage in answered.usage() {
                    let level = if usage.refusal.is_some() { Level::Error } else { Level::Info };
                    let _ = writeln!(lines, "<{}>{usage}", priority(level));
                }
            }
            if debug {
                self.terminal.push(lines, count);
            }
        });
    }

    /// Whether a line is logged: those that others can provoke have a bound.
    fn admits(&self, record: &Record<'_>) -> bool {
        if !is_bounded(record.metadata()) {
            return true;
        }
        match self.flood.judge(record, self.clock.tick()) {
            Verdict::Log => true,
            Verdict::LeaveOut { first } => {
                if first {
                    self.flood.keep_example(record);
                    // Its thread reports later how many there were.
                    self.terminal.nudge();
                }
                false
            }
        }
    }

    /// Reports the lines that were left out in periods that have ended. Returns when to look again, if there are more.
    fn summarize(&self) -> Option<Duration> {
        let (left_out, more) = self.flood.take(Some(self.clock.tick()));
        left_out.iter().for_each(log_summary);
        more.then_some(SUMMARY_PERIOD)
    }
}

impl Log for Logs {
    /// Takes all levels of pyzord, and of the libraries what an administrator can act on.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pyzord") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || !self.admits(record) {
            return;
        }
        if record.level() <= Level::Warn {
            self.recent.add(self.clock.now().wall, record.level(), record.args());
        }
        with_buffer(|line| {
            let (stamp, level) = (Stamp::now(self.pid), record.level());
            let _ = writeln!(line, "{stamp} {} {}", level_name(level), OneLine(record.args()));
            if let Some(main) = &self.main {
                main.push(line, 1);
            }
            if level <= self.terminal_level() {
                if self.journal {
                    line.clear();
                    let _ = writeln!(line, "<{}>{}", priority(level), OneLine(record.args()));
                }
                self.terminal.push(line, 1);
            }
        });
    }

    /// Waits until all lines are written, about a second at most. What one target does not take is said in the others.
    fn flush(&self) {
        self.flood.take(None).0.iter().for_each(log_summary);
        if let Some(usage) = &self.usage {
            usage.flush(USAGE_PATIENCE);
        }
        self.terminal.flush(LOG_PATIENCE);
        // The log may have to say that the others are not written, and standard error that the log is not.
        if !self.main.as_ref().is_none_or(|main| main.flush(LOG_PATIENCE)) {
            self.terminal.flush(LOG_PATIENCE);
        }
    }
}

/// Flushes the log at the end of its scope, also after a panic.
#[derive(Debug)]
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        log::logger().flush();
    }
}

/// Returns whether a client, a database or another server can provoke lines of this kind: warnings and errors, and what
/// engines and forwarding report.
fn is_bounded(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    match metadata.level() {
        Level::Error | Level::Warn => ![FILES, SUMMARY].contains(&target),
        Level::Info => ["pyzord_engines::", "pyzord_runtime::"].iter().any(|name| target.starts_with(name)),
        Level::Debug | Level::Trace => false,
    }
}

fn log_summary(LeftOut { level, lines, example, .. }: &LeftOut) {
    log::log!(target: SUMMARY, *level, "left out after ten in a minute: {lines} more like this one: {example}");
}

/// Logs a panic. The message of the standard library would wait for a standard error that is not read.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let (name, message) = (thread.name().unwrap_or("unnamed"), panic_message(panic.payload()));
    match panic.location() {
        Some(location) => log::error!("thread '{name}' panicked at {location}: {message}"),
        None => log::error!("thread '{name}' panicked: {message}"),
    }
}

fn panic_message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Gives `write` an empty buffer that the thread uses again for each line.
fn with_buffer(write: impl FnOnce(&mut String)) {
    thread_local!(static BUFFER: RefCell<String> = const { RefCell::new(String::new()) });
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            write(&mut buffer);
        }
        // The `Display` of a message's argument logs a message itself, or a queue is full.
        Err(_) => write(&mut String::new()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_provoke_is_bounded() {
        for (level, target, bounded) in [
            (Level::Warn, "pyzord_runtime::worker", true),
            (Level::Error, "mysql::conn", true),
            (Level::Info, "pyzord_runtime::forward", true),
            (Level::Info, "pyzord_engines::connection_manager", true),
            (Level::Info, "pyzord::start", false),
            (Level::Info, "pyzord_runtime_std::signals", false),
            (Level::Debug, "pyzord_runtime::worker", false),
            (Level::Warn, FILES, false),
            (Level::Warn, SUMMARY, false),
        ] {
            let metadata = Metadata::builder().level(level).target(target).build();
            assert_eq!(is_bounded(&metadata), bounded, "{level} {target}");
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_message() {
        let text: Box<dyn Any + Send> = Box::new("a bug");
        let formatted: Box<dyn Any + Send> = Box::new(format!("bug {}", 7));
        let other: Box<dyn Any + Send> = Box::new(7);
        let messages = [&text, &formatted, &other].map(|payload| panic_message(payload.as_ref()));
        assert_eq!(messages, ["a bug", "bug 7", "no message"]);
    }
}
