//! Events of forwarding, for the log.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// The longest `Diag` of a peer that is logged, in bytes.
const MOST_WORDS: usize = 80;
/// The codes of replies from which on the server, and not the request, is at fault.
const SERVER_FAILS: u16 = 500;

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
    /// It does not take what it is sent. Reported at once; further ones of a server that fails again and again after a
    /// minute, two minutes and so on, at most ten.
    Failing {
        /// The cause.
        cause: Cause,
        /// The failures that began since the last such event, beside this one.
        others: u64,
    },
    /// It takes what it is sent again. Reported if the failure was.
    Back {
        /// The time since the failure began.
        after: Duration,
        /// The digests that waited.
        waited: u64,
    },
    /// Its queue is full. Reported at most once a minute.
    Dropped {
        /// The digests that were dropped since the last report.
        digests: u64,
    },
}

/// Why a server does not take what it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// It has not answered for a second, and not the ping in between.
    Silent,
    /// The network says that it cannot be reached.
    Unreachable(Unreachable),
    /// Its name has no address.
    Nowhere,
    /// The name servers have not answered for a second.
    Unresolved,
    /// It answers with another code than 200.
    Answered {
        /// Its reply's `Code`.
        code: u16,
        /// Its reply's `Diag`, escaped and cut.
        diag: String,
    },
    /// It answers pings, and has answered none of the last requests.
    Lost,
    /// It answers, but slower than digests come, and its queue is full.
    Slow,
}

/// Why a datagram does not reach a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unreachable {
    /// No program listens on the port.
    Closed,
    /// There is no route to the host.
    NoRoute,
    /// A firewall forbids it.
    Forbidden,
}

impl Event {
    /// Whether the event needs the attention of an administrator.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Back { .. })
    }
}

impl Cause {
    pub(super) fn answered(code: u16, diag: &[u8]) -> Self {
        let words = diag.get(..MOST_WORDS).unwrap_or(diag);
        Self::Answered { code, diag: alloc::format!("{}", words.escape_ascii()) }
    }

    /// Whether digests are lost by it, so that it is worth a further line of the log.
    pub(super) const fn loses(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }

    /// Whether no datagram is answered.
    pub(super) const fn is_silence(&self) -> bool {
        matches!(self, Self::Silent | Self::Unreachable(_) | Self::Nowhere | Self::Unresolved)
    }

    /// Whether it is the same cause; a server chooses the words of its replies.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Answered { code, .. }, Self::Answered { code: other, .. }) => code == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, event } = self;
        write!(f, "forwarding to {server}: ")?;
        match event {
            Event::Failing { cause, others } => {
                write!(f, "{cause}")?;
                if cause.is_silence() {
                    f.write_str("; what is to be sent waits")?;
                }
                match others {
                    0 => Ok(()),
                    others => write!(f, " (it failed {others} more times since the last such line)"),
                }
            }
            Event::Back { after, waited } => {
                write!(f, "it takes digests again, after {} s; {waited} waited", after.as_secs())
            }
            Event::Dropped { digests } => {
                write!(f, "too many digests wait for it; {digests} of the oldest were dropped")
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer"),
            Self::Unreachable(Unreachable::Closed) => f.write_str("no program listens on its port"),
            Self::Unreachable(Unreachable::NoRoute) => f.write_str("there is no route to it"),
            Self::Unreachable(Unreachable::Forbidden) => f.write_str("a firewall forbids to send to it"),
            Self::Nowhere => f.write_str("its name has no address"),
            Self::Unresolved => f.write_str("the name servers do not answer"),
            Self::Lost => f.write_str("it answers pings, but not what it is sent"),
            Self::Answered { code: code @ SERVER_FAILS.., diag } => write!(f, "it fails: {code} {diag}"),
            Self::Answered { code, diag } => {
                write!(f, "it refuses what it is sent, which is dropped: {code} {diag}")
            }
            Self::Slow => f.write_str("it answers slower than digests come"),
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
        let failing = |cause| Event::Failing { cause, others: 0 };
        for (event, line, is_warning) in [
            (failing(Cause::Silent), "it does not answer; what is to be sent waits", true),
            (
                failing(Cause::Unreachable(Unreachable::Closed)),
                "no program listens on its port; what is to be sent waits",
                true,
            ),
            (
                failing(Cause::Unreachable(Unreachable::NoRoute)),
                "there is no route to it; what is to be sent waits",
                true,
            ),
            (
                failing(Cause::Unreachable(Unreachable::Forbidden)),
                "a firewall forbids to send to it; what is to be sent waits",
                true,
            ),
            (failing(Cause::Nowhere), "its name has no address; what is to be sent waits", true),
            (
                Event::Failing { cause: Cause::answered(403, b"No"), others: 2 },
                "it refuses what it is sent, which is dropped: 403 No (it failed 2 more times since the last such line)",
                true,
            ),
            (failing(Cause::Unresolved), "the name servers do not answer; what is to be sent waits", true),
            (failing(Cause::Lost), "it answers pings, but not what it is sent", true),
            (failing(Cause::answered(500, b"Oh")), "it fails: 500 Oh", true),
            (failing(Cause::Slow), "it answers slower than digests come", true),
            (
                Event::Back { after: Duration::from_millis(61_900), waited: 3 },
                "it takes digests again, after 61 s; 3 waited",
                false,
            ),
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
        let Cause::Answered { diag, .. } = Cause::answered(500, &[b"\n\x1b\xff", &[b'x'; 200][..]].concat())
        else {
            unreachable!()
        };
        assert_eq!(diag, ["\\n\\x1b\\xff", &"x".repeat(77)].concat());
    }
}
