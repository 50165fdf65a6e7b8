//! What the tools write to standard output and standard error. `println!` and `eprintln!` panic if that fails: a pager that
//! was quit, or a full disk, would end a tool in the middle of its work.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Write as _};

/// Writes a line to standard error, as `eprintln!` does.
macro_rules! complain {
    ($($argument:tt)*) => { $crate::output::write_error(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use complain;

/// Writes a text to standard error. There is no other place to tell of a failure.
pub(crate) fn write_error(text: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}

/// Standard output for a tool whose work goes on if its lines cannot be written.
#[derive(Debug)]
pub(crate) struct Lines {
    program: &'static str,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// The reader is gone, as it has all that it wants.
    Closed,
    Failed,
}

impl Lines {
    pub(crate) const fn new(program: &'static str) -> Self {
        Self { program, state: Cell::new(State::Open) }
    }

    /// Writes a line. After the first failure, which standard error names unless the reader is gone, writes nothing.
    pub(crate) fn write(&self, line: fmt::Arguments<'_>) {
        if self.state.get() != State::Open {
            return;
        }
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            Ok(()) => (),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.state.set(State::Closed),
            Err(error) => {
                complain!("{}: standard output: {error}; nothing more is written to it", self.program);
                self.state.set(State::Failed);
            }
        }
    }

    /// Returns whether a line could not be written for another reason than that the reader is gone.
    pub(crate) fn have_failed(&self) -> bool {
        self.state.get() == State::Failed
    }
}
