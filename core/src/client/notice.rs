//! What the log is to say of forwarding.

use alloc::string::String;
use core::fmt;

/// How much of a peer's words is worth logging, in bytes.
const MOST_WORDS: usize = 80;

/// Something happened to a server that requests are sent to. It fits on one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The server, as its file names it.
    pub server: String,
    /// What happened.
    pub event: Event,
}

/// What happened to a server.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// It does not answer. Told once until it is back.
    Down,
    /// Its name has no address. Told once until it is back.
    Nowhere,
    /// It answers again.
    Back,
    /// It refuses what it is sent. Told at most once in ten minutes.
    Refused {
        /// Its reply's `Code`.
        code: u16,
        /// Its reply's `Diag`, made harmless and short.
        diag: String,
    },
    /// More waits for it than there is room for. Told at most once a minute.
    Dropped {
        /// How many digests were dropped since it was told last.
        digests: u64,
    },
}

impl Event {
    pub(super) fn refused(code: u16, diag: &[u8]) -> Self {
        let words = diag.get(..MOST_WORDS).unwrap_or(diag);
        Self::Refused { code, diag: alloc::format!("{}", words.escape_ascii()) }
    }

    /// Whether an administrator should look.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Back)
    }
}

impl fmt::Display for Notice {
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
