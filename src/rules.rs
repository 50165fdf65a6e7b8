//! The accounts file and the access file, read from the disk.

use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use pyzord_core::{ANONYMOUS, Operation, Policy, UserFile, Warning};
use thiserror::Error;

use crate::regular_file::{self, ReadError};
use crate::reload_report::{LineKind, ReloadReport};
use crate::settings::Settings;

/// Warnings about both files that are logged; further ones are only counted. A file that is no text has thousands.
const MOST_WARNINGS: usize = 100;

/// A file of accounts, access rules or servers cannot be read.
#[derive(Debug, Error)]
#[error("{file} {}: {error}", .path.display())]
pub(crate) struct RulesError {
    file: UserFile,
    path: PathBuf,
    #[source]
    error: ReadError,
}

/// The content of a file; `None` if there is no such file.
type Content = Option<Vec<u8>>;

/// A policy, and what it was made of.
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    pub(crate) warnings: Vec<String>,
    /// The files that exist.
    files: Vec<PresentFile>,
}

/// A file that exists, and a hash of its content, which is no key and no password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PresentFile {
    file: UserFile,
    hash: u64,
}

/// Reads both files. A file may be absent, but not unreadable.
pub(crate) fn read(settings: &Settings) -> Result<Rules, RulesError> {
    let (accounts, access) = read_files(settings)?;
    let (policy, warnings) = Policy::parse(accounts.as_deref(), access.as_deref(), settings.access_order);
    let mut warnings: Vec<String> =
        warnings.into_iter().map(|warning| describe(&warning, path(settings, warning.file))).collect();
    if settings.access_file.is_some() && access.is_none() && accounts.is_some() {
        warnings.push(
            "there is no access file: accounts may do nothing, anonymous may check and report".to_owned(),
        );
    }
    if let (Some(path), Some(text)) = (&settings.access_file, &access)
        && text.trim_ascii().is_empty()
    {
        warnings.push(format!("access file {} is empty: every request is refused", path.display()));
    }
    for file in [UserFile::Accounts, UserFile::Access] {
        if let Some(path) = path(settings, file).filter(|path| path.is_symlink() && !path.exists()) {
            warnings.push(format!("{file} {}: the link points to no file, so there is none", path.display()));
        }
    }
    let files = [(UserFile::Accounts, accounts), (UserFile::Access, access)];
    let present = |(file, content): (_, Content)| Some(PresentFile { file, hash: hash(&content?) });
    let files = files.into_iter().filter_map(present).collect();
    Ok(Rules { policy, warnings, files })
}

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

/// Returns the path of the accounts file or of the access file.
fn path(settings: &Settings, file: UserFile) -> Option<&Path> {
    match file {
        UserFile::Accounts => settings.passwd_file.as_deref(),
        _ => settings.access_file.as_deref(),
    }
}

/// Returns the content of the accounts file and of the access file.
pub(crate) fn read_files(settings: &Settings) -> Result<(Content, Content), RulesError> {
    let accounts = read_file(UserFile::Accounts, settings.passwd_file.as_deref())?;
    Ok((accounts, read_file(UserFile::Access, settings.access_file.as_deref())?))
}

/// Returns a warning as one line that names the file.
pub(crate) fn describe(warning: &Warning, path: Option<&Path>) -> String {
    let path = path.unwrap_or(Path::new("")).display();
    match warning.line {
        None => format!("{} {path}: {}", warning.file, warning.text),
        Some(line) => format!("{} {path}, line {line}: {}", warning.file, warning.text),
    }
}

/// Returns the content of a file; `None` if there is no such file, or no path.
pub(crate) fn read_file(file: UserFile, path: Option<&Path>) -> Result<Content, RulesError> {
    let Some(path) = path else { return Ok(None) };
    regular_file::read(path).map_err(|error| RulesError { file, path: path.to_owned(), error })
}

/// What the rules that are in effect were made of.
pub(crate) struct RulesInEffect {
    files: Vec<PresentFile>,
    /// The operations that the anonymous user may ask for.
    anonymous: Vec<Operation>,
}

impl RulesInEffect {
    /// Takes the rules of the start, and logs the warnings and what is in effect.
    pub(crate) fn begin(rules: Rules) -> (Policy, Self) {
        let in_effect = Self { files: rules.files.clone(), anonymous: anonymous(&rules.policy) };
        (rules.tell(&mut ReloadReport::default()), in_effect)
    }

    /// Reads both files again. Returns `None` if one cannot be read or has vanished: the present rules stay, since an
    /// accident changes no rights.
    pub(crate) fn reload(&mut self, settings: &Settings, report: &mut ReloadReport) -> Option<Policy> {
        let rules = read(settings).and_then(|rules| self.has_all(settings, rules));
        let failed = |error: &RulesError| format!("{error}; the old rules still hold, and the old settings");
        let rules = rules.inspect_err(|error| report.add(LineKind::Failed, failed(error))).ok()?;
        for present in rules.files.iter().filter(|present| !self.files.contains(present)) {
            let path = path(settings, present.file).unwrap_or(Path::new("")).display();
            report.add(LineKind::Changed, format!("{} {path} has changed.", present.file));
        }
        let anonymous = anonymous(&rules.policy);
        let more: Vec<&str> = anonymous
            .iter()
            .filter(|operation| !self.anonymous.contains(operation))
            .map(|operation| operation.name())
            .collect();
        if !more.is_empty() {
            let more = more.join(", ");
            let text = format!("this reload lets anonymous users {more}, which was denied before");
            report.add(LineKind::Warning, text);
        }
        *self = Self { files: rules.files.clone(), anonymous };
        Some(rules.tell(report))
    }

    /// Returns an error if a file has vanished: without an access file the default rules would hold.
    fn has_all(&self, settings: &Settings, rules: Rules) -> Result<Rules, RulesError> {
        let is_there = |file: UserFile| rules.files.iter().any(|present| present.file == file);
        let Some(&PresentFile { file, .. }) = self.files.iter().find(|present| !is_there(present.file))
        else {
            return Ok(rules);
        };
        let path = path(settings, file).unwrap_or(Path::new("")).to_owned();
        let text = "it has vanished; restore it, or restart the server to serve without it";
        Err(RulesError { file, path, error: io::Error::new(io::ErrorKind::NotFound, text).into() })
    }
}

impl Rules {
    /// Adds the warnings and what is in effect to a report.
    fn tell(self, report: &mut ReloadReport) -> Policy {
        let Self { policy, warnings, files } = self;
        let count = warnings.len();
        warnings.into_iter().take(MOST_WARNINGS).for_each(|warning| report.add(LineKind::Warning, warning));
        if let Some(more @ 1..) = count.checked_sub(MOST_WARNINGS) {
            let text = format!(
                "{more} more warnings about the accounts and access files; pyzord --check-config shows all"
            );
            report.add(LineKind::Warning, text);
        }
        let is_there = |file| files.iter().any(|present| present.file == file);
        let accounts = if is_there(UserFile::Accounts) {
            format!("Accounts: {}.", policy.accounts())
        } else {
            "Accounts file does not exist - only the anonymous user will be available.".to_owned()
        };
        report.add(LineKind::Fact, accounts);
        if !is_there(UserFile::Access) {
            let text = "Using default ACL: the anonymous user may use the check, report, ping, pong and info commands.";
            report.add(LineKind::Fact, text.to_owned());
        }
        policy
    }
}

fn anonymous(policy: &Policy) -> Vec<Operation> {
    Operation::ALL.into_iter().filter(|operation| policy.allows(ANONYMOUS, *operation)).collect()
}
