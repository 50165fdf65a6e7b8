//! The errors of the settings, and their messages.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use super::environment;
use super::names::Setting;
use super::runtime::Runtime;
use crate::home::HomeError;
use crate::ini::SyntaxCause;
use crate::regular_file::ReadError;

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// The configuration file exists and cannot be read.
    #[error("configuration file {}: {cause}", file.display())]
    Unreadable {
        /// The configuration file.
        file: PathBuf,
        /// The reason.
        #[source]
        cause: ReadError,
    },
    /// A line of the configuration file is malformed.
    #[error("configuration file {}, line {line}: {cause}", file.display())]
    Syntax {
        /// The configuration file.
        file: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The kind of error.
        cause: SyntaxCause,
    },
    /// The configuration file was there before a reload.
    #[error("configuration file {}: it has vanished or is empty; restore it, or restart the server to serve without it", file.display())]
    Vanished {
        /// The configuration file.
        file: PathBuf,
    },
    /// An option names a folder relative to the current one, which the system does not tell.
    #[error("option {option}: {cause}")]
    CurrentFolder {
        /// The option.
        option: &'static str,
        /// The reason.
        #[source]
        cause: HomeError,
    },
    /// The variable of a setting has bytes that are no text.
    #[error("environment variable {variable}: the value is not UTF-8")]
    NotUtf8 {
        /// The name of the variable.
        variable: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{origin}: {} is not {expected}", quoted(value.as_deref()))]
    Value {
        /// Where the value comes from.
        origin: Origin,
        /// The value; `None` if it may hold a password.
        value: Option<String>,
        /// The values that the setting can have.
        expected: Expected,
    },
}

impl SettingsError {
    /// Returns the setting whose value in the configuration file is the cause.
    pub(crate) const fn line_of_file(&self) -> Option<Setting> {
        match self {
            Self::Value { origin: Origin::File { setting, .. }, .. } => Some(*setting),
            _ => None,
        }
    }
}

fn quoted(value: Option<&str>) -> String {
    value.map_or_else(|| "the value (hidden)".to_owned(), |value| format!("`{}`", value.escape_default()))
}

/// The source of a value, as messages name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// No place: the setting has its default.
    Default(Setting),
    /// A line of the configuration file.
    File {
        /// The configuration file.
        file: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The setting on that line.
        setting: Setting,
    },
    /// An environment variable, by its setting.
    Variable(Setting),
    /// An option of the command line.
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(setting) => setting.fmt(f),
            Self::File { file, line, setting } => {
                write!(f, "configuration file {}, line {line}: {setting}", file.display())
            }
            Self::Variable(setting) => write!(f, "environment variable {}", environment::variable(*setting)),
            Self::Option(option) => write!(f, "option {option}"),
        }
    }
}

/// The values that a setting can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// `first-match` or `last-match`.
    AccessOrder,
    /// Addresses to listen on.
    Addresses,
    /// A number of bits, at most this.
    BitsUpTo(u8),
    /// `deferred` or `strict`.
    Durability,
    /// A group of this system.
    Group,
    /// The least important level that is logged.
    LogLevel,
    /// A number of MiB, from 1 to this.
    MebibytesUpTo(u64),
    /// Networks in CIDR notation.
    Networks,
    /// A whole number.
    Number,
    /// A whole number, at most this.
    NumberUpTo(u64),
    /// A share.
    Percent,
    /// A UDP port.
    Port,
    /// A runtime of this build.
    Runtime,
    /// A number of seconds, 0 for never.
    Seconds,
    /// A number of seconds, 0 for any.
    SecondsForAny,
    /// Host and port of the status page.
    StatusAddress,
    /// Names of hosts.
    HostNames,
    /// A user of this system.
    User,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessOrder => f.write_str("first-match or last-match"),
            Self::Addresses => f.write_str(
                "a list of addresses or host names such as 192.0.2.1, 2001:db8::1 (0.0.0.0 is every IPv4 address, :: is \
                 every address; the port is a setting of its own)",
            ),
            Self::BitsUpTo(most) => write!(f, "a number of bits from 0 to {most}"),
            Self::Durability => f.write_str("deferred or strict"),
            Self::Group => f.write_str("a group of this system"),
            Self::LogLevel => f.write_str("debug, info, warning or error"),
            Self::MebibytesUpTo(most) => write!(f, "a number of MiB from 1 to {most}"),
            Self::Networks => f.write_str("a list of networks such as 192.0.2.0/24, 2001:db8::/32"),
            Self::Number => f.write_str("a whole number from 0"),
            Self::NumberUpTo(most) => write!(f, "a whole number from 0 to {most}"),
            Self::Percent => f.write_str("a number of percent from 0 to 100"),
            Self::Port => f.write_str("a port from 0 to 65535"),
            Self::Runtime => {
                let names: Vec<String> = Runtime::ALL.iter().map(ToString::to_string).collect();
                write!(f, "a runtime of this build: {}", names.join(", "))
            }
            Self::Seconds => f.write_str("a whole number of seconds, 0 for never"),
            Self::SecondsForAny => f.write_str("a whole number of seconds, 0 for any"),
            Self::HostNames => f.write_str("a list of host names such as mail.example.org, monitor"),
            Self::StatusAddress => f.write_str("a host and a port, as in 127.0.0.1:24480"),
            Self::User => f.write_str("a user of this system"),
        }
    }
}
