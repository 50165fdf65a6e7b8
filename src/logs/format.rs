//! The parts of a log line: `2026-11-22 10:11:12,345 (pid) LEVEL message`, as Python's server writes it.

use std::fmt::{self, Write as _};

use jiff::Zoned;
use log::Level;

/// Returns the journal's number of a level.
pub(super) const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Returns Python's name of a level.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The start of a line, in local time: `2026-11-22 10:11:12,345 (pid)`.
pub(super) struct Stamp {
    time: Zoned,
    pid: u32,
}

impl Stamp {
    #[expect(clippy::disallowed_methods, reason = "the time of a log line decides nothing")]
    pub(super) fn now() -> Self {
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

/// A message with its control characters escaped, so that it stays one line.
pub(super) struct OneLine<'a>(pub(super) &'a fmt::Arguments<'a>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(OneLine(&format_args!("a\nb\r\x1bc é")).to_string(), "a\\nb\\r\\u{1b}c é");
    }

    #[test]
    fn a_stamp_has_the_form_of_python() {
        let time: Zoned = "2026-11-22T03:04:05.006[UTC]".parse().unwrap();
        assert_eq!(Stamp { time, pid: 7 }.to_string(), "2026-11-22 03:04:05,006 (7)");
    }
}
