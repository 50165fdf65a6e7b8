//! Messages about a configuration that can be used: warnings about lines of the file, and settings whose effect differs
//! from Python's.

use std::fmt;
use std::path::PathBuf;

use super::names::Setting;

/// A line of the configuration file that is ignored, or overrides another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ConfigWarning {
    pub(super) file: PathBuf,
    /// Number of the line, from 1.
    pub(super) line: usize,
    pub(super) cause: WarningCause,
}

/// The cause of a warning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WarningCause {
    Unknown { name: String, nearest: Option<Setting> },
    Repeated { setting: Setting, earlier: usize },
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration file {}, line {}: ", self.file.display(), self.line)?;
        match &self.cause {
            WarningCause::Unknown { name, nearest: None } => write!(f, "there is no setting {}", shown(name)),
            WarningCause::Unknown { name, nearest: Some(nearest) } => {
                write!(f, "there is no setting {}; did you mean {nearest}?", shown(name))
            }
            WarningCause::Repeated { setting, earlier } => {
                write!(f, "{setting} is also on line {earlier}; this line counts")
            }
        }
    }
}

/// Returns the first word of a name: after it, a part of a DSN may follow whose `=` is missing or misplaced.
fn shown(name: &str) -> &str {
    let end = name.find(|letter: char| !letter.is_alphanumeric() && !"_-.".contains(letter));
    name.split_at(end.unwrap_or(name.len())).0
}

/// A setting of Python's server that has another effect here, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CompatNote {
    /// Settings that asked Python for threads or processes.
    Concurrency {
        /// Those that are set.
        asked: Vec<Setting>,
        /// The number of workers in their place.
        workers: usize,
    },
    /// A DSN of Sentry.
    Sentry(Setting),
}

impl fmt::Display for CompatNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency { asked, workers } => {
                let names: Vec<&str> = asked.iter().map(|setting| setting.name()).collect();
                write!(f, "{}: served by {workers} worker threads; see Workers", names.join(", "))
            }
            Self::Sentry(setting) => {
                write!(f, "{setting} is set and ignored: errors are written to the log, not sent to Sentry")
            }
        }
    }
}
