//! The workloads of the comparison.

use pyzord_core::Operation;

/// The content of the requests of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    Ping,
    Pong,
    Check,
    SignedCheck,
    Report,
}

impl Workload {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Check => "check",
            Self::SignedCheck => "signed check",
            Self::Report => "report",
        }
    }

    pub(crate) const fn operation(self) -> Operation {
        match self {
            Self::Ping => Operation::Ping,
            Self::Pong => Operation::Pong,
            Self::Check | Self::SignedCheck => Operation::Check,
            Self::Report => Operation::Report,
        }
    }
}
