//! The logger of the operator's tools: warnings and errors of the engines go to standard error.

use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

use crate::logs::OneLine;
use crate::output::complain;

/// Writes each message with the name of the program in front. A message that repeats the one before it is not written:
/// an engine can give the same warning at every attempt to open a file.
struct StderrLogger {
    program: &'static str,
    last: Mutex<String>,
}

/// Installs the logger of this process.
pub(crate) fn install(program: &'static str) -> Result<(), SetLoggerError> {
    static LOGGER: OnceLock<StderrLogger> = OnceLock::new();
    log::set_max_level(LevelFilter::Warn);
    log::set_logger(LOGGER.get_or_init(|| StderrLogger { program, last: Mutex::default() }))
}

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            complain!("{}: {}", self.program, OneLine(&line));
            *last = line;
        }
    }

    fn flush(&self) {}
}
