//! The runtimes of this build.

use std::fmt;

/// A runtime that drives the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runtime {
    /// Blocking threads.
    #[cfg(feature = "runtime-std")]
    Std,
    /// smol's async sockets and timers.
    #[cfg(feature = "runtime-smol")]
    Smol,
}

impl Runtime {
    /// The runtimes of this build; the first is the default.
    pub(super) const ALL: &[Self] = &[
        #[cfg(feature = "runtime-std")]
        Self::Std,
        #[cfg(feature = "runtime-smol")]
        Self::Smol,
    ];

    const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "runtime-std")]
            Self::Std => "std",
            #[cfg(feature = "runtime-smol")]
            Self::Smol => "smol",
        }
    }

    /// Returns the runtime with this name; an empty name is the default.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let wanted = |runtime: &Self| text.is_empty() || runtime.name().eq_ignore_ascii_case(text);
        Self::ALL.iter().copied().find(wanted)
    }
}

/// Returns the names of the runtimes of this build.
pub(crate) fn names() -> Vec<&'static str> {
    Runtime::ALL.iter().copied().map(Runtime::name).collect()
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
