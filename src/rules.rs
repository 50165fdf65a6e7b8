//! The accounts file and the access file, read from the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pyzord_core::{Policy, UserFile, Warning};
use thiserror::Error;

use crate::settings::Settings;

/// A file of accounts, access rules or servers cannot be read.
#[derive(Debug, Error)]
#[error("{file} {}: {error}", .path.display())]
pub(crate) struct RulesError {
    file: UserFile,
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// The content of a file; `None` if there is no such file.
type Content = Option<Vec<u8>>;

/// Reads both files and returns the policy and its warnings. A file may be absent, but not unreadable.
pub(crate) fn read(settings: &Settings) -> Result<(Policy, Vec<String>), RulesError> {
    let (accounts, access) = read_files(settings)?;
    let (policy, warnings) = Policy::parse(accounts.as_deref(), access.as_deref(), settings.access_order);
    let message = |warning: Warning| {
        let path = match warning.file {
            UserFile::Accounts => &settings.passwd_file,
            _ => &settings.access_file,
        };
        describe(&warning, path.as_deref())
    };
    let mut messages: Vec<String> = warnings.into_iter().map(message).collect();
    if settings.access_file.is_some() && access.is_none() && accounts.is_some() {
        messages.push(
            "there is no access file: accounts may do nothing, anonymous may check and report".to_owned(),
        );
    }
    Ok((policy, messages))
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
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RulesError { file, path: path.to_owned(), error }),
    }
}

/// Reads both files and logs the warnings and what is in effect.
pub(crate) fn load(settings: &Settings) -> Result<Policy, RulesError> {
    let (policy, warnings) = read(settings)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    let exists = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.exists());
    if exists(&settings.passwd_file) {
        log::info!("Accounts: {}.", policy.accounts());
    } else {
        log::info!("Accounts file does not exist - only the anonymous user will be available.");
    }
    if !exists(&settings.access_file) {
        log::info!(
            "Using default ACL: the anonymous user may use the check, report, ping, pong and info commands."
        );
    }
    Ok(policy)
}

/// Reads both files again. Returns `None` if one cannot be read: the present rules stay, since an accident changes no
/// rights.
pub(crate) fn reload(settings: &Settings) -> Option<Policy> {
    load(settings).inspect_err(|error| log::error!("{error}; the old rules still hold")).ok()
}
