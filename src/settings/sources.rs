//! The text of each setting and where it comes from: defaults < configuration file < command line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::{Expected, Origin, SettingsError};
use super::names::Setting;
use super::notes::{ConfigWarning, WarningCause};
use crate::home::Home;
use crate::logs::OneLine;
use crate::{ini, regular_file};

/// The text of all settings.
pub(crate) struct Sources {
    file: PathBuf,
    /// The settings that the file or the command line gives; the others have their default.
    given: BTreeMap<Setting, (String, Source)>,
    warnings: Vec<ConfigWarning>,
}

/// The source of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Default,
    File { line: usize },
    Option(&'static str),
}

impl Sources {
    /// Reads the configuration file of `home`, which may be absent, and adds the options of the command line.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is malformed.
    pub(crate) fn read<'a>(
        home: &Home,
        options: impl IntoIterator<Item = (Setting, &'static str, &'a str)>,
    ) -> Result<Self, SettingsError> {
        let file = home.resolve("config");
        let bytes = match regular_file::read(&file) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(cause) => return Err(SettingsError::Unreadable { file, cause }),
        };
        let mut sources = Self::of_file(file, &String::from_utf8_lossy(&bytes))?;
        for (setting, option, value) in options {
            // An option that may be repeated adds to a list.
            if let Some((text, Source::Option(_))) = sources.given.get_mut(&setting) {
                text.push(',');
                text.push_str(value);
            } else {
                sources.given.insert(setting, (value.to_owned(), Source::Option(option)));
            }
        }
        Ok(sources)
    }

    /// Returns the defaults, overridden by the configuration file `file` with the content `text`.
    ///
    /// # Errors
    /// When a line of the file is malformed.
    pub(crate) fn of_file(file: PathBuf, text: &str) -> Result<Self, SettingsError> {
        let mut sources = Self { file, given: BTreeMap::new(), warnings: Vec::new() };
        sources.add_file(text)?;
        Ok(sources)
    }

    fn add_file(&mut self, text: &str) -> Result<(), SettingsError> {
        let entries = ini::parse(text, "server").map_err(|error| SettingsError::Syntax {
            file: self.file.clone(),
            line: error.line,
            cause: error.cause,
        })?;
        for entry in &entries {
            let Some(setting) = Setting::find(&entry.name) else {
                let nearest = Setting::nearest(&entry.name);
                self.warn(entry.line, WarningCause::Unknown { name: entry.name.clone(), nearest });
                continue;
            };
            let value = ini::interpolate(&entry.value, &|reference| {
                let same = |entry: &&ini::Property| entry.name.eq_ignore_ascii_case(reference);
                let default = || Some(Setting::find(reference)?.default().to_owned());
                entries.iter().rfind(same).map(|entry| entry.value.clone()).or_else(default)
            });
            let old = self.given.insert(setting, (value, Source::File { line: entry.line }));
            if let Some((_, Source::File { line: earlier })) = old {
                self.warn(entry.line, WarningCause::Repeated { setting, earlier });
            }
        }
        Ok(())
    }

    fn warn(&mut self, line: usize, cause: WarningCause) {
        self.warnings.push(ConfigWarning { file: self.file.clone(), line, cause });
    }

    /// Returns the warnings about the configuration file.
    pub(crate) fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Returns a setting's text and its source.
    pub(super) fn value(&self, setting: Setting) -> (&str, Source) {
        self.given
            .get(&setting)
            .map_or((setting.default(), Source::Default), |(value, source)| (value, *source))
    }

    /// Returns whether the value differs from the default.
    pub(super) fn is_changed(&self, setting: Setting) -> bool {
        self.text(setting) != setting.default()
    }

    pub(super) fn text(&self, setting: Setting) -> &str {
        self.value(setting).0
    }

    /// Returns the value that `parse` makes of a setting's text, without the blanks around it.
    pub(super) fn parse<T>(
        &self,
        setting: Setting,
        expected: Expected,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        let (value, source) = self.value(setting);
        parse(value.trim()).ok_or_else(|| {
            let value = Some(value).filter(|value| !setting.is_secret(value));
            SettingsError::Value {
                origin: self.origin(setting, source),
                value: value.map(str::to_owned),
                expected,
            }
        })
    }

    fn origin(&self, setting: Setting, source: Source) -> Origin {
        match source {
            Source::Default => Origin::Default(setting),
            Source::File { line } => Origin::File { file: self.file.clone(), line, setting },
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

    /// Returns every setting with its value, passwords hidden.
    pub(crate) fn rows(&self) -> impl Iterator<Item = SettingRow> {
        Setting::ALL.iter().map(|&setting| {
            let (value, source) = self.value(setting);
            SettingRow {
                name: setting.name(),
                value: if setting.is_secret(value) { "(hidden)".to_owned() } else { value.to_owned() },
                source: source.to_string(),
            }
        })
    }
}

/// One line per setting, for `--check-config`.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|row| writeln!(f, "{} = {} ({})", row.name, OneLine(&row.value), row.source))
    }
}

/// As displayed: without passwords.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "line {line}"),
            Self::Option(option) => f.write_str(option),
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
