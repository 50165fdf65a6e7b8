//! Settings from environment variables: `PYZORD_` and the name of the setting in capitals, with `_` between its words.

use std::env;
use std::ffi::OsString;
use std::fmt;

use super::error::SettingsError;
use super::names::Setting;
use crate::detach;
use crate::ini::{self, RemarkCause};

/// The beginning of the name of each variable.
const PREFIX: &str = "PYZORD_";
/// Characters of an unknown name that a warning shows.
const MOST_SHOWN: usize = 64;

/// The settings that environment variables give.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    given: Vec<(Setting, String)>,
    warnings: Vec<VariableWarning>,
}

impl Environment {
    /// Returns the settings of this process's environment.
    ///
    /// # Errors
    /// When the variable of a setting is not UTF-8.
    pub(crate) fn of_process() -> Result<Self, SettingsError> {
        Self::of_variables(env::vars_os())
    }

    /// Returns the settings of an environment with these variables, in order of their names.
    ///
    /// # Errors
    /// When the variable of a setting is not UTF-8.
    pub(super) fn of_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut environment = Self::default();
        // A name that is not UTF-8 is no setting's, and is shown as far as it can be.
        let named = variables.into_iter().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
        let mut ours: Vec<(String, OsString)> =
            named.filter(|(name, _)| name.starts_with(PREFIX) && name != detach::MARK).collect();
        ours.sort();
        for (name, value) in ours {
            environment.add(name, value)?;
        }
        Ok(environment)
    }

    /// Returns the settings that are given, without the blanks around their values.
    pub(super) fn settings(&self) -> impl Iterator<Item = (Setting, &str)> {
        self.given.iter().map(|(setting, value)| (*setting, value.as_str()))
    }

    /// Returns the warnings about variables that set nothing, or hardly what is meant.
    pub(crate) fn warnings(&self) -> &[VariableWarning] {
        &self.warnings
    }

    fn add(&mut self, name: String, value: OsString) -> Result<(), SettingsError> {
        if is_of_an_orchestrator(&name, &value.to_string_lossy()) {
            return Ok(());
        }
        let Some(setting) = Setting::ALL.iter().copied().find(|setting| variable(*setting) == name) else {
            let nearest = nearest(&name);
            self.warnings.push(VariableWarning { name, cause: VariableCause::Unknown(nearest) });
            return Ok(());
        };
        let Ok(value) = value.into_string() else {
            return Err(SettingsError::NotUtf8 { variable: name });
        };
        // A file that becomes a variable ends with a line break, and `PYZORD_PORT=` in a list of variables sets none.
        let value = value.trim();
        if value.is_empty() {
            return Ok(());
        }
        let hints = ini::hints(setting.name(), value).chain(flag_hint(setting, value));
        let warning = |cause| VariableWarning { name: name.clone(), cause: VariableCause::Value(cause) };
        self.warnings.extend(hints.map(warning));
        self.given.push((setting, value.to_owned()));
        Ok(())
    }
}

/// Returns the name of a setting's variable: that of `DigestDB` is `PYZORD_DIGEST_DB`.
pub(super) fn variable(setting: Setting) -> String {
    // IPv4 and IPv6 are one word each.
    let name = setting.name().replace("IPv", "IPV");
    let mut variable = PREFIX.to_owned();
    let mut before = 'A';
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let ends_capitals = before.is_uppercase() && letters.peek().is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (!before.is_uppercase() || ends_capitals) && variable.len() > PREFIX.len()
        {
            variable.push('_');
        }
        variable.push(letter.to_ascii_uppercase());
        before = letter;
    }
    variable
}

/// Returns whether Kubernetes or Docker has set the variable: beside a service of the name `pyzord` or `pyzord-cache`
/// each container gets `PYZORD_PORT=udp://10.0.0.7:24441`, `PYZORD_SERVICE_HOST` and more.
fn is_of_an_orchestrator(name: &str, value: &str) -> bool {
    let is_of_a_port =
        || name.split("_PORT_").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || is_of_a_port()
        || name.ends_with("_PORT") && value.contains("://")
}

fn flag_hint(setting: Setting, value: &str) -> Option<RemarkCause> {
    let is_flag = ["true", "false"].iter().any(|flag| value.eq_ignore_ascii_case(flag));
    (setting.is_flag() && !is_flag).then_some(RemarkCause::NoFlag { name: setting.name() })
}

/// Returns the variable that is most similar to a misspelt one, if any is similar enough.
fn nearest(name: &str) -> Option<String> {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_uppercase();
    let wanted = bare(name);
    let distance = |known: &String| strsim::damerau_levenshtein(&bare(known), &wanted);
    let known = Setting::ALL.iter().map(|setting| variable(*setting));
    known.min_by_key(distance).filter(|known| distance(known) <= wanted.chars().count() / 3)
}

/// A variable that sets nothing, or hardly what is meant. It shows no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct VariableWarning {
    name: String,
    cause: VariableCause,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum VariableCause {
    /// There is no such setting; the nearest name.
    Unknown(Option<String>),
    /// The value is hardly meant as it is written.
    Value(RemarkCause),
}

impl fmt::Display for VariableWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().take(MOST_SHOWN).collect();
        write!(f, "environment variable {name}: ")?;
        match &self.cause {
            VariableCause::Unknown(Some(nearest)) => {
                write!(f, "there is no such setting; did you mean {nearest}?")
            }
            VariableCause::Unknown(None) => {
                write!(
                    f,
                    "there is no such setting; the variable of ListenAddress is {}",
                    variable(Setting::ListenAddress)
                )
            }
            VariableCause::Value(cause) => cause.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Environment::of_variables(variables).unwrap()
    }

    fn warnings(variables: &[(&str, &str)]) -> Vec<String> {
        read(variables).warnings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_words_of_a_name_have_a_line_between_them() {
        for (setting, name) in [
            (Setting::Port, "PYZORD_PORT"),
            (Setting::Engine, "PYZORD_ENGINE"),
            (Setting::ListenAddress, "PYZORD_LISTEN_ADDRESS"),
            (Setting::DigestDB, "PYZORD_DIGEST_DB"),
            (Setting::DBConnections, "PYZORD_DB_CONNECTIONS"),
            (Setting::IPv4Prefix, "PYZORD_IPV4_PREFIX"),
            (Setting::IPv6Prefix, "PYZORD_IPV6_PREFIX"),
            (Setting::PreFork, "PYZORD_PRE_FORK"),
            (Setting::ForwardClientHomeDir, "PYZORD_FORWARD_CLIENT_HOME_DIR"),
            (Setting::UsageSentryDSN, "PYZORD_USAGE_SENTRY_DSN"),
            (Setting::SentryLogLevel, "PYZORD_SENTRY_LOG_LEVEL"),
        ] {
            assert_eq!(variable(setting), name);
        }
        let names: std::collections::BTreeSet<String> = Setting::all().map(variable).collect();
        assert_eq!(names.len(), Setting::ALL.len(), "two settings share a variable");
        assert!(Setting::all().all(|setting| !is_of_an_orchestrator(&variable(setting), "1")));
    }

    #[test]
    fn a_value_loses_its_blanks_and_an_empty_one_sets_nothing() {
        let environment = read(&[
            ("PYZORD_DIGEST_DB", "redis://:secret@h\n"),
            ("PYZORD_LOG_FILE", ""),
            ("PYZORD_PORT", " \t\r\n"),
            ("PYZORD_ALLOW_NETWORKS", "192.0.2.0/24\n::1\n"),
            ("PYZOR_HOME", "x"),
            ("PYZORD", "x"),
            ("pyzord_port", "x"),
        ]);
        let given: Vec<_> = environment.settings().collect();
        let expected =
            [(Setting::AllowNetworks, "192.0.2.0/24\n::1"), (Setting::DigestDB, "redis://:secret@h")];
        assert_eq!((given, environment.warnings()), (expected.to_vec(), &[][..]));
    }

    #[test]
    fn a_variable_that_sets_nothing_has_a_warning_without_its_value() {
        for (name, part) in [
            ("PYZORD_ENGIN", "did you mean PYZORD_ENGINE?"),
            ("PYZORD_DIGESTDB", "did you mean PYZORD_DIGEST_DB?"),
            ("PYZORD_Port", "did you mean PYZORD_PORT?"),
            ("PYZORD_", "the variable of ListenAddress is PYZORD_LISTEN_ADDRESS"),
            ("PYZORD_REDIS_PASSWORD", "there is no such setting"),
            ("PYZORD_\n\u{1b}[2J", "there is no such setting"),
        ] {
            let warnings = warnings(&[(name, "secret")]);
            let [warning] = &warnings[..] else { panic!("{name}: {warnings:?}") };
            assert!(warning.contains(part) && !warning.contains("secret"), "{name}: {warning}");
        }
        let long = format!("PYZORD_{}", "X".repeat(100_000));
        assert!(warnings(&[(&long, "")])[0].len() < 300);
    }

    #[test]
    fn a_value_that_is_hardly_meant_has_a_warning() {
        for (name, value, part) in [
            ("PYZORD_ENGINE", "\"redis\"", "environment variable PYZORD_ENGINE: the quotes are part"),
            ("PYZORD_DIGEST_DB", "h,1,${PASSWORD},0", "a placeholder"),
            ("PYZORD_THREADS", "yes", "counts as False"),
        ] {
            let warnings = warnings(&[(name, value)]);
            assert!(matches!(&warnings[..], [warning] if warning.contains(part)), "{warnings:?}");
        }
    }

    /// A Kubernetes service of the name `pyzord` gives each container of its namespace these variables.
    #[test]
    fn variables_of_an_orchestrator_are_no_settings() {
        let environment = read(&[
            ("PYZORD_PORT", "udp://10.0.0.7:24441"),
            ("PYZORD_PORT_24441_UDP", "udp://10.0.0.7:24441"),
            ("PYZORD_PORT_24441_UDP_ADDR", "10.0.0.7"),
            ("PYZORD_PORT_24441_UDP_PORT", "24441"),
            ("PYZORD_PORT_24441_UDP_PROTO", "udp"),
            ("PYZORD_SERVICE_HOST", "10.0.0.7"),
            ("PYZORD_SERVICE_PORT", "24441"),
            ("PYZORD_SERVICE_PORT_PYZOR", "24441"),
            ("PYZORD_CACHE_PORT", "tcp://10.0.0.8:6379"),
            ("PYZORD_CACHE_SERVICE_HOST", "10.0.0.8"),
        ]);
        assert_eq!((environment.settings().count(), environment.warnings()), (0, &[][..]));
    }

    #[test]
    fn a_value_that_is_not_utf8_is_an_error_and_a_name_a_warning() {
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let read = |name: &[u8], value: &[u8]| Environment::of_variables([(bytes(name), bytes(value))]);
        let error = read(b"PYZORD_LOG_FILE", b"/var/log/\xff").map(drop).unwrap_err().to_string();
        assert_eq!(error, "environment variable PYZORD_LOG_FILE: the value is not UTF-8");
        assert_eq!(read(b"PYZORD_\xff", b"\xff").unwrap().warnings().len(), 1);
        assert_eq!(read(b"PYZOR\xff", b"\xff").unwrap().warnings().len(), 0);
    }
}
