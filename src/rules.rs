//! The accounts file and the access file, read from disk.

use std::fs;
use std::io;
use std::path::Path;

use pyzord_core::{Policy, UserFile, Warning};

use crate::settings::Settings;

/// Reads both files. An absent one is no error; one that cannot be read is.
pub(crate) fn read(settings: &Settings) -> Result<(Policy, Vec<String>), String> {
    let (accounts, access) = files(settings)?;
    let (policy, warnings) = Policy::parse(accounts.as_deref(), access.as_deref(), settings.access_order);
    let tell = |warning: Warning| {
        let path = match warning.file {
            UserFile::Accounts => &settings.passwd_file,
            _ => &settings.access_file,
        };
        describe(&warning, path.as_deref())
    };
    let mut messages: Vec<String> = warnings.into_iter().map(tell).collect();
    if settings.access_file.is_some() && access.is_none() && accounts.is_some() {
        messages.push(
            "there is no access file: accounts may do nothing, anonymous may check and report".to_owned(),
        );
    }
    Ok((policy, messages))
}

/// What is in a file; `None` for an absent one.
type Content = Option<Vec<u8>>;

/// What is in the accounts file and in the access file.
pub(crate) fn files(settings: &Settings) -> Result<(Content, Content), String> {
    let accounts = read_file(UserFile::Accounts, settings.passwd_file.as_deref())?;
    Ok((accounts, read_file(UserFile::Access, settings.access_file.as_deref())?))
}

/// A warning with the name of the file that it is about.
pub(crate) fn describe(warning: &Warning, path: Option<&Path>) -> String {
    let path = path.unwrap_or(Path::new("")).display();
    match warning.line {
        None => format!("{} {path}: {}", warning.file, warning.text),
        Some(line) => format!("{} {path}, line {line}: {}", warning.file, warning.text),
    }
}

/// The content of a user's file; `None` when there is no such file.
pub(crate) fn read_file(file: UserFile, path: Option<&Path>) -> Result<Content, String> {
    let Some(path) = path else { return Ok(None) };
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{file} {}: {error}", path.display())),
    }
}

/// Reads the files and logs what was found.
pub(crate) fn load(settings: &Settings) -> Result<Policy, String> {
    let (policy, warnings) = read(settings)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    let exists = |path: &Option<std::path::PathBuf>| path.as_ref().is_some_and(|path| path.exists());
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

/// Reads the files again. While one cannot be read the old rules hold: nobody gains or loses rights by an accident.
pub(crate) fn reload(settings: &Settings) -> Option<Policy> {
    load(settings).inspect_err(|error| log::error!("{error}; the old rules still hold")).ok()
}
