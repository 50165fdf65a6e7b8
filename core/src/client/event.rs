//! Events of forwarding, for the log.

use alloc::string::String;
use core::fmt;

/// The longest `Diag` of a peer that is logged, in bytes.
const MOST_WORDS: usize = 80;

/// An event of a server that requests are sent to: one line of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerEvent {
    /// The server, as its file names it.
    pub server: String,
    /// The event.
    pub event: Event,
}

/// A change of a server, as forwarding sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// It does not answer. Reported once until it is back.
    Down,
    /// Its name has no address. Reported once until it is back.
    Nowhere,
    /// It answers again.
    Back,
    /// It refuses a request. Reported at most once in ten minutes.
    Refused {
        /// Its reply's `Code`.
        code: u16,
        /// Its reply's `Diag`, escaped and cut.
        diag: String,
    },
    /// Its queue is full. Reported at most once a minute.
    Dropped {
        /// The digests that were dropped since the last report.
        digests: u64,
    },
}

impl Event {
    pub(super) fn refused(code: u16, diag: &[u8]) -> Self {
        let words = diag.get(..MOST_WORDS).unwrap_or(diag);
        Self::Refused { code, diag: alloc::format!("{}", words.escape_ascii()) }
    }

    /// Whether the event needs the attention of an administrator.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Back)
    }
}

impl fmt::Display for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, event } = self;
        write!(f, "forwarding to {server}: ")?;
        match event {
            Event::Down => f.write_str("it does not answer; what is to be sent waits"),
            Event::Nowhere => f.write_str("the name has no address; what is to be sent waits"),
            Event::Back => f.write_str("it answers again"),
            Event::Refused { code, diag } => {
                write!(f, "it refuses what it is sent, which is dropped: {code} {diag}")
            }
            Event::Dropped { digests } => {
                write!(f, "too many digests wait for it; {digests} of the oldest were dropped")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    /// Administrators search their logs for these words, and watch for warnings.
    #[test]
    fn each_event_has_its_line_and_its_level() {
        let server = String::from("a.example:24441");
        for (event, line, is_warning) in [
            (Event::Down, "it does not answer; what is to be sent waits", true),
            (Event::Nowhere, "the name has no address; what is to be sent waits", true),
            (Event::Back, "it answers again", false),
            (Event::refused(403, b"No"), "it refuses what it is sent, which is dropped: 403 No", true),
            (
                Event::Dropped { digests: 7 },
                "too many digests wait for it; 7 of the oldest were dropped",
                true,
            ),
        ] {
            assert_eq!(event.is_warning(), is_warning, "{line}");
            let notice = ServerEvent { server: server.clone(), event };
            assert_eq!(notice.to_string(), ["forwarding to a.example:24441: ", line].concat());
        }
    }

    /// A peer chooses the words.
    #[test]
    fn what_a_peer_says_is_cut_and_fits_on_one_line() {
        let Event::Refused { diag, .. } = Event::refused(500, &[b"\n\x1b\xff", &[b'x'; 200][..]].concat())
        else {
            unreachable!()
        };
        assert_eq!(diag, ["\\n\\x1b\\xff", &"x".repeat(77)].concat());
    }
}
