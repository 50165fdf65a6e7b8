//! The log and the usage log, line by line as the Python server wrote them.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Zoned;
use log::{Level, LevelFilter, Log, Metadata, Record};
use pyzord_core::Answered;

/// Both logs. There is one for the process; it is the target of the `log` crate's macros.
#[derive(Debug)]
pub(crate) struct Logs {
    main: Option<LogFile>,
    usage: Option<LogFile>,
    /// The least important level that standard error gets.
    terminal: LevelFilter,
    /// Standard error is the journal.
    journal: bool,
    debug: bool,
}

impl Logs {
    /// Opens the files and makes this the process's log. In the `journal`, lines on standard error are a priority and
    /// the message.
    pub(crate) fn install(
        main: Option<&Path>,
        usage: Option<&Path>,
        debug: bool,
        journal: bool,
    ) -> Result<&'static Self, String> {
        let terminal = match (debug, main) {
            (true, _) => LevelFilter::Debug,
            // "So that a terminal, a container or a journal shows where the server listens."
            (false, None) => LevelFilter::Info,
            (false, Some(_)) => LevelFilter::Error,
        };
        let open = |path: Option<&Path>| path.map(LogFile::open).transpose();
        let logs: &'static Self =
            Box::leak(Box::new(Self { main: open(main)?, usage: open(usage)?, terminal, journal, debug }));
        log::set_logger(logs).map_err(|error| format!("log: {error}"))?;
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
        Ok(logs)
    }

    /// Opens the files again, by their names: logrotate has moved them. One that cannot be opened stays as it is.
    pub(crate) fn reopen(&self) {
        for file in [&self.main, &self.usage].into_iter().flatten() {
            if let Err(error) = file.reopen() {
                log::error!("{error}; still writing to the old file");
            }
        }
    }

    /// Logs what a batch did: one line a request, in one write.
    pub(crate) fn usage(&self, answered: &Answered<pyzord_runtime::Path>) {
        if self.usage.is_none() && !self.debug {
            return;
        }
        with_buffer(|lines| {
            let stamp = Stamp::now();
            for usage in answered.usage() {
                let level = if usage.refusal.is_some() { "ERROR" } else { "INFO" };
                let _ = writeln!(lines, "{stamp} {level} {usage}");
            }
            if let Some(file) = &self.usage {
                file.write(lines);
            }
            if self.debug && self.journal {
                lines.clear();
                for usage in answered.usage() {
                    let level = if usage.refusal.is_some() { Level::Error } else { Level::Info };
                    let _ = writeln!(lines, "<{}>{usage}", priority(level));
                }
            }
            if self.debug {
                to_terminal(lines);
            }
        });
    }
}

impl Log for Logs {
    /// Ours at any level; of the libraries', what an administrator could act on.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pyzord") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        with_buffer(|line| {
            let _ =
                writeln!(line, "{} {} {}", Stamp::now(), level_name(record.level()), OneLine(record.args()));
            if let Some(file) = &self.main {
                file.write(line);
            }
            if record.level() <= self.terminal {
                if self.journal {
                    line.clear();
                    let _ = writeln!(line, "<{}>{}", priority(record.level()), OneLine(record.args()));
                }
                to_terminal(line);
            }
        });
    }

    fn flush(&self) {}
}

/// Nobody is left to tell when standard error is gone.
fn to_terminal(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A buffer that each thread uses again and again.
fn with_buffer(write: impl FnOnce(&mut String)) {
    thread_local!(static BUFFER: RefCell<String> = const { RefCell::new(String::new()) });
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            write(&mut buffer);
        }
        Err(_) => write(&mut String::new()),
    });
}

/// The journal's numbers of the levels.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Python's names of the levels.
const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The start of a line: `2026-11-22 10:11:12,345 (pid)`, in local time.
struct Stamp {
    time: Zoned,
    pid: u32,
}

impl Stamp {
    #[expect(clippy::disallowed_methods, reason = "a log line says when it was written, and decides nothing")]
    fn now() -> Self {
        Self { time: Zoned::now(), pid: std::process::id() }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.datetime();
        let (date, clock, millis) = (time.date(), time.time(), time.time().millisecond());
        let (hour, minute, second) = (clock.hour(), clock.minute(), clock.second());
        write!(f, "{date} {hour:02}:{minute:02}:{second:02},{millis:03} ({})", self.pid)
    }
}

/// Text whose line breaks are shown instead of made: one message is one line.
struct OneLine<'a>(&'a fmt::Arguments<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let escape = |c: char| {
                    if c.is_control() {
                        c.escape_default().try_for_each(|c| self.0.write_char(c))
                    } else {
                        self.0.write_char(c)
                    }
                };
                text.chars().try_for_each(escape)
            }
        }
        write!(Escape(f), "{}", self.0)
    }
}

/// A file that lines are appended to.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, String> {
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(append(path)?) })
    }

    fn reopen(&self) -> Result<(), String> {
        let file = append(&self.path)?;
        *self.lock() = file;
        Ok(())
    }

    /// Appends whole lines. A full disk must not stop the server; the lines are lost.
    fn write(&self, lines: &str) {
        let _ = self.lock().write_all(lines.as_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> Result<File, String> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| format!("log file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(OneLine(&format_args!("a\nb\r\x1bc é")).to_string(), "a\\nb\\r\\u{1b}c é");
    }

    #[test]
    fn a_stamp_is_pythons() {
        let time: Zoned = "2026-11-22T03:04:05.006[UTC]".parse().unwrap();
        assert_eq!(Stamp { time, pid: 7 }.to_string(), "2026-11-22 03:04:05,006 (7)");
    }
}
