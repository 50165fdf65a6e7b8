//! The text of each setting and where it comes from: defaults < configuration file < environment variables <
//! command line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::{self, Environment};
use super::error::{Expected, Origin, SettingsError};
use super::names::{self, Setting};
use super::notes::ConfigWarning;
use crate::home::{self, Home};
use crate::ini::SyntaxError;
use crate::logs::OneLine;
use crate::{ini, regular_file};

/// The words for a value that is the setting's own.
const DEFAULT: &str = "default";

/// The text of all settings.
pub(crate) struct Sources {
    file: PathBuf,
    /// The file exists and is not empty.
    has_text: bool,
    environment: Environment,
    /// The settings that the file, the environment or the command line gives; the others have their default.
    given: BTreeMap<Setting, (String, Source)>,
    warnings: Vec<ConfigWarning>,
}

/// The source of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Default,
    File { line: usize },
    Environment,
    Option(&'static str),
}

impl Sources {
    /// Reads the configuration file of `home`, which may be absent, and adds the environment and the options of the command
    /// line.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is malformed.
    pub(crate) fn read<'a>(
        home: &Home,
        environment: Environment,
        options: impl IntoIterator<Item = (Setting, &'static str, &'a str)>,
    ) -> Result<Self, SettingsError> {
        let file = home.resolve(home::CONFIG);
        let bytes = match regular_file::read(&file) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(cause) => return Err(SettingsError::Unreadable { file, cause }),
        };
        Self::of_file(file, &bytes, environment, options)
    }

    /// Returns the defaults, overridden by the configuration file `file` with the content `text`, by the environment, and
    /// by the options.
    ///
    /// # Errors
    /// When a line of the file is malformed.
    pub(crate) fn of_file<'a>(
        file: PathBuf,
        text: &[u8],
        environment: Environment,
        options: impl IntoIterator<Item = (Setting, &'static str, &'a str)>,
    ) -> Result<Self, SettingsError> {
        let mut given: BTreeMap<Setting, (String, Source)> = BTreeMap::new();
        for (setting, option, value) in options {
            // An option that may be repeated adds to a list.
            if let Some((text, _)) = given.get_mut(&setting) {
                text.push(',');
                text.push_str(value);
            } else {
                given.insert(setting, (value.to_owned(), Source::Option(option)));
            }
        }
        for (setting, value) in environment.settings() {
            given.entry(setting).or_insert_with(|| (value.to_owned(), Source::Environment));
        }
        let overriding = |name: &str| Some(given.get(&Setting::find(name)?)?.0.clone());
        let (values, remarks) = match ini::read(text, &names::vocabulary(), &overriding) {
            Ok(read) => read,
            Err(SyntaxError { line, cause }) => return Err(SettingsError::Syntax { file, line, cause }),
        };
        for (name, ini::Value { line, text }) in values {
            let Some(setting) = Setting::find(name) else { continue };
            given.entry(setting).or_insert((text, Source::File { line }));
        }
        let warnings = remarks.into_iter().map(|remark| ConfigWarning::Line { file: file.clone(), remark });
        let warnings =
            warnings.chain(environment.warnings().iter().cloned().map(ConfigWarning::Variable)).collect();
        let has_text = !text.trim_ascii().is_empty();
        Ok(Self { warnings, file, has_text, environment, given })
    }

    /// Reads the file again, for a reload, with the environment of the start and the same options.
    ///
    /// # Errors
    /// When the file cannot be read, a line of it is malformed, or its text is gone: an editor that has just emptied it
    /// must not lift all limits.
    pub(crate) fn read_again<'a>(
        &self,
        home: &Home,
        options: impl IntoIterator<Item = (Setting, &'static str, &'a str)>,
    ) -> Result<Self, SettingsError> {
        let sources = Self::read(home, self.environment.clone(), options)?;
        if self.has_text && !sources.has_text {
            return Err(SettingsError::Vanished { file: sources.file });
        }
        Ok(sources)
    }

    /// Gives a setting its default.
    pub(crate) fn forget(&mut self, setting: Setting) {
        self.given.remove(&setting);
    }

    /// Gives a setting what it is in `other`.
    pub(crate) fn keep(&mut self, setting: Setting, other: &Self) {
        match other.given.get(&setting) {
            Some(given) => drop(self.given.insert(setting, given.clone())),
            None => self.forget(setting),
        }
    }

    /// Returns the settings whose text differs from that in `other`.
    pub(crate) fn changed_from(&self, other: &Self) -> impl Iterator<Item = Setting> {
        let differs = move |setting: &Setting| self.text(*setting) != other.text(*setting);
        Setting::ALL.iter().copied().filter(differs)
    }

    /// Returns the warnings about the configuration file and the environment.
    pub(crate) fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Returns a setting's text and its source.
    pub(super) fn value(&self, setting: Setting) -> (&str, Source) {
        self.given
            .get(&setting)
            .map_or_else(|| (self.default(setting), Source::Default), |(value, source)| (value, *source))
    }

    /// Returns a setting's default, which can depend on the engine.
    fn default(&self, setting: Setting) -> &'static str {
        match setting {
            Setting::DigestDB if self.engine() == "sqlite" => names::SQLITE_DATABASE,
            setting => setting.default(),
        }
    }

    /// Returns the name of the engine, in lower case.
    pub(super) fn engine(&self) -> String {
        self.text(Setting::Engine).trim().to_lowercase()
    }

    /// Returns whether the file, the environment or the command line gives a value.
    pub(super) fn is_given(&self, setting: Setting) -> bool {
        self.given.contains_key(&setting)
    }

    /// Returns whether the value differs from the default.
    pub(super) fn is_changed(&self, setting: Setting) -> bool {
        self.text(setting) != self.default(setting)
    }

    /// Returns a setting's text.
    pub(crate) fn text(&self, setting: Setting) -> &str {
        self.value(setting).0
    }

    /// Returns the value that `parse` makes of a setting's text, without the blanks around it.
    pub(super) fn parse<T>(
        &self,
        setting: Setting,
        expected: Expected,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let value = self.text(setting);
        parse(value.trim()).ok_or_else(|| {
            let value = Some(value).filter(|value| !setting.is_secret(value)).map(str::to_owned);
            SettingsError::Value { origin: self.origin(setting), value, expected }
        })
    }

    /// Returns where the value of a setting comes from, for an error about it.
    pub(crate) fn origin(&self, setting: Setting) -> Origin {
        match self.value(setting).1 {
            Source::Default => Origin::Default(setting),
            Source::File { line } => Origin::File { file: self.file.clone(), line, setting },
            Source::Environment => Origin::Variable(setting),
            Source::Option(option) => Origin::Option(option),
        }
    }

    /// Returns a boolean as Python reads it: "True" in any case is true, anything else is false.
    pub(super) fn flag(&self, setting: Setting) -> bool {
        self.text(setting).eq_ignore_ascii_case("true")
    }

    /// Returns the name of a file, resolved against the home directory; `None` for an empty name.
    pub(super) fn path(&self, setting: Setting, home: &Home) -> Option<PathBuf> {
        let text = self.text(setting);
        (!text.is_empty()).then(|| home.resolve(text))
    }

    /// Returns the absolute name of a folder; `None` for an empty name. On the command line it is relative to the current
    /// folder, as for Python's server; in the file and the environment, to the home directory.
    ///
    /// # Errors
    /// When the system does not tell the current folder.
    pub(super) fn folder(&self, setting: Setting, home: &Home) -> Result<Option<PathBuf>, SettingsError> {
        let Source::Option(option) = self.value(setting).1 else { return Ok(self.path(setting, home)) };
        let current = Home::new(Some(Path::new(".")));
        let current = current.map_err(|cause| SettingsError::CurrentFolder { option, cause })?;
        let (here, at_home) = (self.path(setting, &current), self.path(setting, home));
        // A folder of the home directory is meant by its name if the current folder has none of that name.
        let is_folder = |path: &Option<PathBuf>| path.as_deref().is_some_and(Path::is_dir);
        Ok(if !is_folder(&here) && is_folder(&at_home) { at_home } else { here })
    }

    /// Returns every setting with its value, passwords hidden.
    pub(crate) fn rows(&self) -> impl Iterator<Item = SettingRow> {
        Setting::ALL.iter().map(|&setting| self.row(setting))
    }

    /// Returns a setting with its value, if that is no password.
    pub(crate) fn row(&self, setting: Setting) -> SettingRow {
        let (value, source) = self.value(setting);
        SettingRow {
            name: setting.name(),
            value: if setting.is_secret(value) { "(hidden)".to_owned() } else { value.to_owned() },
            source: source.shown(setting),
        }
    }
}

/// One line per setting, for `--check-config`.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// As displayed: without passwords.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Source {
    /// Returns the words for the source of this setting's value.
    fn shown(self, setting: Setting) -> String {
        match self {
            Self::Default => DEFAULT.to_owned(),
            Self::File { line } => format!("line {line}"),
            Self::Environment => format!("environment variable {}", environment::variable(setting)),
            Self::Option(option) => option.to_owned(),
        }
    }
}

/// A setting as the operator sees it: its value without passwords, and the source of the value.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct SettingRow {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: String,
}

impl SettingRow {
    /// Whether neither the file nor the environment nor the command line gives a value.
    pub(crate) fn is_default(&self) -> bool {
        self.source == DEFAULT
    }
}

impl fmt::Display for SettingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.name, OneLine(&self.value), self.source)
    }
}
