//! The parsers of the configuration, as plain data for the fuzz targets of `fuzz/properties`. This is no stable API.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use pyzord_core::AccessOrder;

use crate::home::Home;
use crate::ini;
use crate::settings::{Environment, Setting, Settings, Sources};

/// One setting of a section of a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The number of its line, from 1.
    pub line: usize,
    /// The name as the file spells it.
    pub name: String,
    /// The value; lines that continue it follow after a line feed.
    pub value: String,
}

/// Parses a configuration file and returns the settings of one section.
///
/// # Errors
/// Returns the number of the line that is not understood, from 1.
pub fn entries(text: &str, section: &str) -> Result<Vec<Entry>, usize> {
    let parsed = ini::entries(text.as_bytes(), section).map_err(|error| error.line)?;
    Ok(parsed.into_iter().map(|(line, name, value)| Entry { line, name, value }).collect())
}

/// The configuration as a start reads it.
#[derive(Debug)]
pub struct Configuration {
    /// The warnings about lines of the file.
    pub warnings: Vec<String>,
    /// All that the server can print of the settings: the listing of `--check-config` and the `Debug` output.
    pub printed: String,
    /// The settings, or the reason why one of them is refused.
    pub settings: Result<SettingValues, Message>,
}

/// An error as the operator reads it: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message(pub String);

/// The settings that the fuzz targets compare with what they wrote into the file.
#[derive(Debug)]
pub struct SettingValues {
    /// `ListenAddress`.
    pub addresses: Vec<String>,
    /// `Port`.
    pub port: u16,
    /// `Engine`, in lower case.
    pub engine: String,
    /// `DigestDB`.
    pub dsn: String,
    /// `CleanupAge`, in seconds; 0 is never.
    pub cleanup_age: u64,
    /// The number of workers.
    pub workers: usize,
    /// The number of connections to a database server.
    pub connections: usize,
    /// `AccessOrder`.
    pub access_order: AccessOrder,
    /// `LogFile`, resolved against the home directory.
    pub log_file: Option<PathBuf>,
    /// Log lines about settings that are not used as Python's server uses them.
    pub notes: Vec<String>,
}

/// Reads `text` as the file `config` of the directory `home`, on a machine with `cpus` processors.
///
/// # Errors
/// Returns the message about a line that cannot be parsed.
pub fn configuration(home: &Path, text: &str, cpus: usize) -> Result<Configuration, Message> {
    let home = Home::new(Some(home)).map_err(message)?;
    let sources = Sources::of_file(home.resolve("config"), text.as_bytes(), Environment::default(), [])
        .map_err(message)?;
    let settings = Settings::new(&sources, &home, cpus);
    Ok(Configuration {
        warnings: sources.warnings().iter().map(ToString::to_string).collect(),
        printed: format!("{sources}{sources:?}{settings:?}"),
        settings: settings.map(SettingValues::from).map_err(message),
    })
}

/// The texts of settings as a start reads them, and the warnings about lines of the file.
#[derive(Debug)]
pub struct SettingTexts {
    /// The text of each setting that was asked for.
    pub texts: Vec<String>,
    /// The warnings.
    pub warnings: Vec<String>,
}

/// Reads `bytes` as the configuration file and returns the texts of the settings `names`, of which options of the command
/// line set `options`. An unknown name has no text.
///
/// # Errors
/// Returns the message about a line that cannot be parsed.
pub fn setting_texts(
    bytes: &[u8],
    options: &[(&str, &str)],
    names: &[&str],
) -> Result<SettingTexts, Message> {
    let options = options.iter().filter_map(|(name, value)| Some((Setting::find(name)?, "option", *value)));
    let sources =
        Sources::of_file("config".into(), bytes, Environment::default(), options).map_err(message)?;
    let text = |name: &&str| Some(sources.text(Setting::find(name)?).to_owned());
    Ok(SettingTexts {
        texts: names.iter().filter_map(text).collect(),
        warnings: sources.warnings().iter().map(ToString::to_string).collect(),
    })
}

fn message(error: impl Display) -> Message {
    Message(error.to_string())
}

impl From<Settings> for SettingValues {
    fn from(settings: Settings) -> Self {
        Self {
            addresses: settings.addresses,
            port: settings.port,
            engine: settings.engine,
            dsn: settings.dsn,
            cleanup_age: settings.cleanup.map_or(0, pyzord_core::CleanupAge::seconds),
            workers: settings.workers,
            connections: settings.connections,
            access_order: settings.access_order,
            log_file: settings.log_file,
            notes: settings.notes.iter().map(ToString::to_string).collect(),
        }
    }
}
