//! Messages about a configuration that can be used: warnings about lines of the file and environment variables, and
//! settings whose effect differs from Python's.

use std::fmt;
use std::path::PathBuf;

use super::environment::VariableWarning;
use super::names::Setting;
use crate::ini::Remark;

/// A warning about a place that settings come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ConfigWarning {
    /// About a line of the configuration file.
    Line { file: PathBuf, remark: Remark },
    /// About an environment variable.
    Variable(VariableWarning),
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, remark: Remark { line, cause } } => {
                write!(f, "configuration file {}, line {line}: {cause}", file.display())
            }
            Self::Variable(warning) => warning.fmt(f),
        }
    }
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
