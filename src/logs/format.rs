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
    pub(super) fn now(pid: u32) -> Self {
        Self { time: Zoned::now(), pid }
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

/// The longest message that is shown, in bytes; what a database says can have any length.
const LONGEST: usize = 8 << 10;

/// A message as one line: its control characters are escaped, and so are those that end a line or turn the direction of
/// text elsewhere. A very long one is cut.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = LineWriter { out: f, room: LONGEST };
        match write!(line, "{}", self.0) {
            Err(fmt::Error) if line.room == 0 => line.out.write_str("..."),
            written => written,
        }
    }
}

/// Writes one line, and fails without room for a character.
struct LineWriter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    room: usize,
}

impl fmt::Write for LineWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let Some(room) = self.room.checked_sub(c.len_utf8()) else {
                self.room = 0;
                return Err(fmt::Error);
            };
            self.room = room;
            if is_shown(c) {
                self.out.write_char(c)?;
            } else {
                c.escape_default().try_for_each(|c| self.out.write_char(c))?;
            }
        }
        Ok(())
    }
}

/// Returns whether a terminal and a reader of lines take this character as text.
fn is_shown(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || separates || turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(OneLine("a\nb\r\x1bc é").to_string(), "a\\nb\\r\\u{1b}c é");
        assert_eq!(OneLine("a\u{2028}b\u{85}\u{202e}c").to_string(), "a\\u{2028}b\\u{85}\\u{202e}c");
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(OneLine("x".repeat(LONGEST)).to_string().len(), LONGEST);
        let cut = OneLine("é".repeat(LONGEST)).to_string();
        assert!(cut.ends_with("é...") && cut.len() == LONGEST + 3, "{}", cut.len());
    }

    #[test]
    fn a_stamp_has_the_form_of_python() {
        let time: Zoned = "2026-11-22T03:04:05.006[UTC]".parse().unwrap();
        assert_eq!(Stamp { time, pid: 7 }.to_string(), "2026-11-22 03:04:05,006 (7)");
    }
}
