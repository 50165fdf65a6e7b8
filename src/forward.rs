//! The client's home directory that `ForwardClientHomeDir` names: where to forward to, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pyzord_core::UserFile;
use pyzord_core::client::Remote;
use pyzord_runtime::Forwarding;

use crate::home::Home;
use crate::ini;
use crate::rules::{describe, read_file};
use crate::settings::Settings;

/// A longer time-out is taken as this one: only so long may what was lost wait to be sent again.
const LONGEST: Duration = Duration::from_secs(60);

/// Everything that a client's home directory says about forwarding.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<Remote>,
    /// How long a server has for its reply.
    pub(crate) timeout: Duration,
    pub(crate) warnings: Vec<String>,
}

/// Reads the directory. `None` when nothing is forwarded. A file may be absent; the directory may not, since its name
/// is then mistaken, and with no servers in it everything would go to the public one.
pub(crate) fn read(settings: &Settings) -> Result<Option<Plan>, String> {
    let Some(directory) = settings.forward_home.as_deref() else { return Ok(None) };
    if !directory.is_dir() {
        return Err(format!("ForwardClientHomeDir: there is no directory {}", directory.display()));
    }
    let Client { servers, accounts, timeout } = Client::read(directory)?;
    let texts =
        [read_file(UserFile::Servers, Some(&servers))?, read_file(UserFile::ClientAccounts, Some(&accounts))?];
    let [server_lines, account_lines] = texts;
    let (remotes, warnings) = Remote::parse(server_lines.as_deref(), account_lines.as_deref());
    let path = |file| if file == UserFile::Servers { &servers } else { &accounts };
    let warnings = warnings.into_iter().map(|warning| describe(&warning, Some(path(warning.file)))).collect();
    Ok(Some(Plan { servers: remotes, timeout, warnings }))
}

/// Starts to forward, if it is asked for. No thread may exist that was started before the signals were blocked.
pub(crate) fn start(plan: Option<Plan>) -> Result<Option<Forwarding>, String> {
    let Some(Plan { servers, timeout, warnings }) = plan else { return Ok(None) };
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    servers.iter().for_each(|server| log::info!("Forwarding to {}.", said(server)));
    let started = Forwarding::start(servers, timeout);
    started.map(Some).map_err(|error| format!("forwarding: {error}"))
}

/// A server and as whom it is told.
pub(crate) fn said(server: &Remote) -> String {
    format!("{server} as {}", server.credentials.user().escape_ascii())
}

/// The client's settings that matter here.
struct Client {
    servers: PathBuf,
    accounts: PathBuf,
    timeout: Duration,
}

impl Client {
    /// Reads the section `[client]` of the directory's file `config`, which may be absent; the client's other settings
    /// are its own affair.
    fn read(directory: &Path) -> Result<Self, String> {
        let home = Home::new(Some(directory))?;
        let file = home.resolve("config");
        let at = |line: usize, cause: &str| {
            format!("client's configuration file {}, line {line}: {cause}", file.display())
        };
        let text = match std::fs::read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("client's configuration file {}: {error}", file.display())),
        };
        let entries = ini::parse(&text, "client").map_err(|error| at(error.line, error.cause))?;
        let entry = |name: &str| entries.iter().rfind(|entry| entry.name.eq_ignore_ascii_case(name));
        let value = |name: &str| {
            let lookup = |name: &str| entry(name).map(|entry| entry.value.clone());
            entry(name).map(|entry| ini::interpolate(&entry.value, &lookup))
        };
        let path = |name: &str, default: &str| home.resolve(&value(name).unwrap_or(default.to_owned()));
        let line = entry("Timeout").map_or(0, |entry| entry.line);
        let timeout: u64 = value("Timeout").map_or(Ok(5), |text| text.trim().parse()).unwrap_or(0);
        if timeout == 0 {
            return Err(at(line, "Timeout is not a whole number of seconds from 1"));
        }
        Ok(Self {
            servers: path("ServersFile", "servers"),
            accounts: path("AccountsFile", "accounts"),
            timeout: Duration::from_secs(timeout).min(LONGEST),
        })
    }
}
