//! The client's home directory that `ForwardClientHomeDir` names: the servers to forward to, and the accounts there.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyzord_core::UserFile;
use pyzord_core::client::Remote;
use pyzord_runtime::Forwarding;
use thiserror::Error;

use crate::home::{Home, HomeError};
use crate::ini::{self, Known, SyntaxCause, SyntaxError, Vocabulary};
use crate::logs;
use crate::own_address::own_servers;
use crate::regular_file::{self, ReadError};
use crate::rules::{RulesError, describe, read_file};
use crate::settings::Settings;

/// The longest time-out; a longer one counts as this one. A lost request waits this long until it is sent again.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The time-out of Python's client unless its configuration gives another one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The servers to forward to.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// The client's home directory.
    pub(crate) home: PathBuf,
    pub(crate) servers: Vec<Remote>,
    /// How long a server has for its reply.
    pub(crate) timeout: Duration,
    pub(crate) warnings: Vec<String>,
}

/// Why nothing can be forwarded.
#[derive(Debug, Error)]
pub(crate) enum ForwardError {
    /// The setting names no directory.
    #[error("ForwardClientHomeDir: there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// The directory's name cannot be made absolute.
    #[error("ForwardClientHomeDir: {0}")]
    Home(#[from] HomeError),
    /// The client's configuration file exists and cannot be read.
    #[error("client's configuration file {}: {cause}", file.display())]
    Unreadable {
        file: PathBuf,
        #[source]
        cause: ReadError,
    },
    /// A line of the client's configuration file is malformed.
    #[error("client's configuration file {}, line {line}: {cause}", file.display())]
    Syntax { file: PathBuf, line: usize, cause: SyntaxCause },
    /// The client's time-out is not a number of seconds.
    #[error(
        "client's configuration file {}, line {line}: Timeout is not a whole number of seconds from 1",
        file.display()
    )]
    Timeout { file: PathBuf, line: usize },
    /// The client's list of servers or accounts cannot be read.
    #[error("{0}")]
    List(#[from] RulesError),
    /// The list of servers has lines, and none of them names a server.
    #[error(
        "servers file {}: no line names a server, so nothing is forwarded, not even to the public server: {cause}",
        file.display()
    )]
    NoneUnderstood { file: PathBuf, cause: String },
    /// The thread that forwards cannot be started.
    #[error("forwarding: {0}")]
    Start(#[source] io::Error),
}

/// Reads the client's home directory; `None` if nothing is forwarded. Its files may be absent, the directory may not:
/// its name is then misspelt, and without a list of servers everything would go to the public server.
pub(crate) fn read(settings: &Settings) -> Result<Option<Targets>, ForwardError> {
    let Some(directory) = settings.forward_home.as_deref() else { return Ok(None) };
    if !directory.is_dir() {
        return Err(ForwardError::NoDirectory(directory.to_owned()));
    }
    let ClientConfig { servers, accounts, timeout, warnings: mut all } = ClientConfig::read(directory)?;
    let server_lines = read_file(UserFile::Servers, Some(&servers))?;
    let account_lines = read_file(UserFile::ClientAccounts, Some(&accounts))?;
    let (remotes, warnings) = Remote::parse(server_lines.as_deref(), account_lines.as_deref());
    if remotes.is_empty() {
        let cause = warnings.iter().find(|warning| warning.file == UserFile::Servers);
        let cause = cause.map(|warning| match warning.line {
            Some(line) => format!("line {line}: {}", warning.text),
            None => warning.text.to_string(),
        });
        return Err(ForwardError::NoneUnderstood { file: servers, cause: cause.unwrap_or_default() });
    }
    let path = |file| if file == UserFile::Servers { &servers } else { &accounts };
    all.extend(warnings.into_iter().map(|warning| describe(&warning, Some(path(warning.file)))));
    Ok(Some(Targets { home: directory.to_owned(), servers: remotes, timeout, warnings: all }))
}

impl Targets {
    /// Leaves out this server itself, which listens on the addresses `own` and would count everything twice.
    pub(crate) fn without_own(mut self, own: &[SocketAddr]) -> Self {
        let own = own_servers(&self.servers, own);
        self.servers.retain(|server| !own.contains(server));
        self.warnings.extend(own.iter().map(|server| {
            format!(
                "servers file of {}: {server} is this server: nothing is forwarded to it",
                self.home.display()
            )
        }));
        self
    }

    /// Whether the same requests are sent to the same servers.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        (&self.servers, self.timeout) == (&other.servers, other.timeout)
    }
}

/// Returns the addresses that the settings name for requests; none if a name has no address.
pub(crate) fn listen_addresses(settings: &Settings) -> Vec<SocketAddr> {
    let addresses = settings.addresses.iter();
    addresses.filter_map(|address| (&**address, settings.port).to_socket_addrs().ok()).flatten().collect()
}

/// Starts to forward. Call it after the signals are blocked: the thread inherits the mask.
pub(crate) fn start(targets: Option<Targets>) -> Result<Option<Forwarding>, ForwardError> {
    let Some(Targets { home, servers, timeout, warnings }) = targets else { return Ok(None) };
    warnings.iter().for_each(|warning| log::warn!(target: logs::FILES, "{warning}"));
    if servers.is_empty() {
        return Ok(None);
    }
    log::info!("Forwarding as the client of {}.", home.display());
    servers.iter().for_each(|server| log::info!("Forwarding to {}.", shown(server)));
    Forwarding::start(servers, timeout).map(Some).map_err(ForwardError::Start)
}

/// Returns a server and the account there, without its key.
pub(crate) fn shown(server: &Remote) -> String {
    format!("{server} as {}", server.credentials.user().escape_ascii())
}

/// The settings of Python's client that forwarding uses.
struct ClientConfig {
    servers: PathBuf,
    accounts: PathBuf,
    timeout: Duration,
    /// About lines of its configuration file.
    warnings: Vec<String>,
}

impl ClientConfig {
    /// Reads the section `[client]` of the directory's file `config`, which may be absent.
    fn read(directory: &Path) -> Result<Self, ForwardError> {
        let home = Home::new(Some(directory))?;
        let file = home.resolve("config");
        let bytes = match regular_file::read(&file) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(cause) => return Err(ForwardError::Unreadable { file, cause }),
        };
        let (values, remarks) = match ini::read(&bytes, &vocabulary(), &|_| None) {
            Ok(read) => read,
            Err(SyntaxError { line, cause }) => return Err(ForwardError::Syntax { file, line, cause }),
        };
        let path = |name: &str, default: &str| {
            home.resolve(values.get(name).map_or(default, |value| value.text.as_str()))
        };
        let timeout = match values.get("Timeout") {
            None => DEFAULT_TIMEOUT,
            Some(value) => match value.text.parse() {
                Ok(seconds @ 1..) => Duration::from_secs(seconds).min(LONGEST_TIMEOUT),
                _ => return Err(ForwardError::Timeout { file, line: value.line }),
            },
        };
        let described = |remark: &ini::Remark| {
            format!("client's configuration file {}, line {}: {}", file.display(), remark.line, remark.cause)
        };
        Ok(Self {
            servers: path("ServersFile", "servers"),
            accounts: path("AccountsFile", "accounts"),
            timeout,
            warnings: remarks.iter().map(described).collect(),
        })
    }
}

/// Returns the settings of Python's client.
fn vocabulary() -> Vocabulary {
    let known = |(name, default)| Known { name, default, is_flag: false, is_list: false, is_pythons: true };
    let settings = [
        ("ServersFile", "servers"),
        ("AccountsFile", "accounts"),
        ("LocalWhitelist", "whitelist"),
        ("LogFile", ""),
        ("Timeout", "5"),
        ("Style", "msg"),
        ("ReportThreshold", "0"),
        ("WhitelistThreshold", "0"),
    ];
    Vocabulary {
        section: "client",
        settings: settings.into_iter().map(known).collect(),
        neighbour: ("server", "LogFile"),
    }
}
