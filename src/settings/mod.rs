//! The settings: defaults, overridden by the configuration file, by environment variables, and by the command line.
//!
//! [`Setting`] is the table of names and defaults, [`Sources`] collects the text of each setting and remembers where it
//! comes from, and [`Settings`] holds the checked values.

mod concurrency;
mod durability;
mod environment;
mod error;
mod limits;
mod names;
mod notes;
mod runtime;
mod sources;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use durability::{Durability, ForeignPromise, NAMES as DURABILITIES};
pub(crate) use environment::Environment;
pub(crate) use error::{Origin, SettingsError};
pub(crate) use names::{Setting, names};
pub(crate) use runtime::{Runtime, names as runtimes};
pub(crate) use sources::SettingRow;
pub(crate) use sources::Sources;
pub(crate) use values::{ACCESS_ORDERS, Settings, level_word, log_level, shown};
