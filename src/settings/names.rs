//! The table of settings: their names and defaults.

use std::fmt;

use crate::ini::{Known, Vocabulary};

/// The default of `DigestDB` with the engine sqlite.
pub(super) const SQLITE_DATABASE: &str = "pyzord.sqlite";

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

            /// Returns the default. That of `DigestDB` is for the engine gdbm; see `Sources::default`.
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
    Durability = "deferred",
    DatabaseCache = "128",
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
    LogLevel = "info",
    PidFile = "pyzord.pid",
    ControlSocket = "",
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
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    /// Returns whether Python's server has the setting.
    const fn is_pythons(self) -> bool {
        matches!(
            self,
            Self::Port
                | Self::ListenAddress
                | Self::Engine
                | Self::DigestDB
                | Self::CleanupAge
                | Self::Threads
                | Self::MaxThreads
                | Self::Processes
                | Self::MaxProcesses
                | Self::DBConnections
                | Self::PreFork
                | Self::Gevent
                | Self::ForwardClientHomeDir
                | Self::PasswdFile
                | Self::AccessFile
                | Self::LogFile
                | Self::UsageLogFile
                | Self::PidFile
                | Self::SentryDSN
                | Self::SentryLogLevel
                | Self::UsageSentryDSN
                | Self::UsageSentryLogLevel
        )
    }

    /// Returns whether the value is a list, which may have several lines.
    const fn is_list(self) -> bool {
        matches!(
            self,
            Self::ListenAddress
                | Self::AllowNetworks
                | Self::DenyNetworks
                | Self::UnlimitedNetworks
                | Self::StatusHosts
        )
    }

    pub(super) const fn is_flag(self) -> bool {
        matches!(self, Self::Threads | Self::Processes | Self::Gevent)
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied()
    }

    /// Returns whether a reload applies a new value. The others need a restart.
    pub(crate) const fn is_reloaded(self) -> bool {
        matches!(
            self,
            Self::AllowNetworks
                | Self::DenyNetworks
                | Self::UnlimitedNetworks
                | Self::RequestRate
                | Self::RequestBurst
                | Self::FailureRate
                | Self::FailureBurst
                | Self::IPv4Prefix
                | Self::IPv6Prefix
                | Self::PasswdFile
                | Self::AccessFile
                | Self::AccessOrder
                | Self::LogLevel
                | Self::StatusAddress
                | Self::StatusHosts
        )
    }

    /// Returns whether the setting is only known for compatibility: no value of it changes anything.
    pub(crate) const fn is_ignored(self) -> bool {
        matches!(
            self,
            Self::SentryDSN | Self::SentryLogLevel | Self::UsageSentryDSN | Self::UsageSentryLogLevel
        )
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

/// Returns the settings of the section `[server]`.
pub(super) fn vocabulary() -> Vocabulary {
    let known = |setting: &Setting| Known {
        name: setting.name(),
        default: setting.default(),
        is_flag: setting.is_flag(),
        is_list: setting.is_list(),
        is_pythons: setting.is_pythons(),
    };
    let settings = Setting::ALL.iter().map(known).collect();
    Vocabulary { section: "server", settings, neighbour: ("client", "LogFile") }
}

/// Returns the names of all settings.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Setting::ALL.iter().map(|setting| setting.name())
}
