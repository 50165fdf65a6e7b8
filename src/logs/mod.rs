//! The log and the usage log, in the line format of Python's server.
//!
//! fern and tracing know neither one write per batch of usage lines nor reopening both files at a signal; the format
//! would stay ours.

mod file;
mod format;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyzord_core::Answered;

pub(crate) use file::LogError;
use file::LogFile;
use format::{OneLine, Stamp, level_name, priority};

/// Both logs of this process; the macros of the crate `log` write to it.
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
    /// Opens the files and makes this the log of the process. In the `journal` a line on standard error is a priority
    /// and the message.
    pub(crate) fn install(
        main: Option<&Path>,
        usage: Option<&Path>,
        debug: bool,
        journal: bool,
    ) -> Result<&'static Self, LogError> {
        let terminal = match (debug, main) {
            (true, _) => LevelFilter::Debug,
            // A terminal, a container or a journal shows where the server listens.
            (false, None) => LevelFilter::Info,
            (false, Some(_)) => LevelFilter::Error,
        };
        let open = |path: Option<&Path>| path.map(LogFile::open).transpose();
        let logs: &'static Self =
            Box::leak(Box::new(Self { main: open(main)?, usage: open(usage)?, terminal, journal, debug }));
        log::set_logger(logs).map_err(LogError::Installed)?;
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
        Ok(logs)
    }

    /// Opens the files again by their names, after logrotate has moved them. A file that cannot be opened stays as it
    /// is.
    pub(crate) fn reopen(&self) {
        for file in [&self.main, &self.usage].into_iter().flatten() {
            if let Err(error) = file.reopen() {
                log::error!("{error}; still writing to the old file");
            }
        }
    }

    /// Logs one line per request of a batch, in one write.
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
    /// Takes all levels of pyzord, and of the libraries what an administrator can act on.
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

fn to_terminal(text: &str) {
    // If standard error is closed, there is no other place for the message.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Gives `write` an empty buffer that the thread uses again for each line.
fn with_buffer(write: impl FnOnce(&mut String)) {
    thread_local!(static BUFFER: RefCell<String> = const { RefCell::new(String::new()) });
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            write(&mut buffer);
        }
        // The `Display` of a message's argument logs a message itself.
        Err(_) => write(&mut String::new()),
    });
}
