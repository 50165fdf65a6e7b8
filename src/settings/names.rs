//! The table of settings: their names and defaults.

use std::fmt;

macro_rules! settings {
    ($($name:ident = $default:literal,)*) => {
        /// A setting, by the name that it has in the configuration file.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) enum Setting { $($name,)* }

        impl Setting {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            pub(super) const fn default(self) -> &'static str {
                match self { $(Self::$name => $default,)* }
            }
        }
    };
}

settings! {
    Port = "24441",
    ListenAddress = "0.0.0.0",
    Engine = "gdbm",
    DigestDB = "pyzord.db",
    CleanupAge = "10368000",
    CleanupMaxOffset = "2592000",
    CleanupMaxShare = "50",
    Runtime = "",
    Workers = "0",
    Threads = "False",
    MaxThreads = "0",
    Processes = "False",
    MaxProcesses = "40",
    DBConnections = "0",
    PreFork = "0",
    Gevent = "False",
    AllowNetworks = "",
    DenyNetworks = "",
    UnlimitedNetworks = "",
    RequestRate = "0",
    RequestBurst = "0",
    FailureRate = "5",
    FailureBurst = "0",
    IPv4Prefix = "32",
    IPv6Prefix = "56",
    RememberedReports = "65536",
    ForwardClientHomeDir = "",
    PasswdFile = "pyzord.passwd",
    AccessFile = "pyzord.access",
    AccessOrder = "first-match",
    LogFile = "",
    UsageLogFile = "",
    PidFile = "pyzord.pid",
    StatusAddress = "",
    StatusHosts = "",
    User = "",
    Group = "",
    SentryDSN = "",
    SentryLogLevel = "WARN",
    UsageSentryDSN = "",
    UsageSentryLogLevel = "WARN",
}

impl Setting {
    /// Returns the setting with this name, in any case of letters.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    /// Returns the setting whose name is most similar to a misspelt one, if any is similar enough.
    pub(super) fn nearest(name: &str) -> Option<Self> {
        let distance =
            |known: &Self| strsim::damerau_levenshtein(&known.name().to_lowercase(), &name.to_lowercase());
        Self::ALL.iter().copied().min_by_key(distance).filter(|known| distance(known) <= name.len() / 2)
    }

    /// Returns whether this value of the setting may hold a password or a key.
    pub(super) fn is_secret(self, value: &str) -> bool {
        match self {
            // The separators of a DSN can be any: only what has none is shown.
            Self::DigestDB => {
                !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte))
            }
            Self::SentryDSN | Self::UsageSentryDSN => !value.is_empty(),
            // A DSN in the wrong place.
            _ => value.contains("://") && value.contains('@'),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the names of all settings.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Setting::ALL.iter().map(|setting| setting.name())
}
