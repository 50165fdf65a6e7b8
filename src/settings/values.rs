//! The checked values of all settings.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use pyzord_core::{AccessOrder, CleanupAge, Expiry, ExpiryGuard, Limits};
use pyzord_engines::registry;

use super::durability::{Durability, ForeignPromise};
use super::error::{Expected, SettingsError};
use super::names::Setting;
use super::notes::CompatNote;
use super::runtime::Runtime;
use super::sources::Sources;
use super::{concurrency, limits};
use crate::home::Home;
use crate::system_account::SystemAccount;

/// The address that stands for an empty one.
const ANY_ADDRESS: &str = "0.0.0.0";
/// The names of the orders of the access file.
pub(crate) const ACCESS_ORDERS: [&str; 2] = ["first-match", "last-match"];
/// What the name of the control socket has behind that of the database. It is longer than the suffixes of the files that
/// libgdbm creates beside a database: the server looks for such files and removes them.
const SUFFIX: &str = ".control";
/// The value of `ControlSocket` for no socket.
const NO_SOCKET: &str = "none";
/// The largest `DatabaseCache`, in MiB.
const LARGEST_CACHE: u64 = 65536;

/// The settings as the server uses them.
pub(crate) struct Settings {
    /// Addresses or host names that requests are received on, without brackets; at least one.
    pub(crate) addresses: Vec<String>,
    /// UDP port that requests are received on; 0 is a free port.
    pub(crate) port: u16,
    /// Name of the engine, in lower case.
    pub(crate) engine: String,
    /// The database in the words of its engine; may hold a password.
    pub(crate) dsn: String,
    /// The DSN as the path of a file.
    pub(crate) database: PathBuf,
    /// What a reply to a count promises; `None` if the settings leave it to the engine.
    pub(crate) durability: Option<Durability>,
    /// Bytes of memory for the pages of the database, of all connections together.
    #[cfg_attr(
        not(any(feature = "sqlite", test)),
        expect(dead_code, reason = "only sqlite has such a memory")
    )]
    pub(crate) cache: u64,
    /// Age at which a record expires.
    pub(crate) cleanup: Option<CleanupAge>,
    /// When expiry does not believe the clock.
    pub(crate) expiry_guard: ExpiryGuard,
    /// The runtime that drives the server.
    pub(crate) runtime: Runtime,
    /// Number of workers, from 1 to 1024.
    pub(crate) workers: usize,
    /// Number of connections to a database server, from 1 to 1024.
    pub(crate) connections: usize,
    /// The accounts file.
    pub(crate) passwd_file: Option<PathBuf>,
    /// The access file.
    pub(crate) access_file: Option<PathBuf>,
    /// The line of the access file that decides.
    pub(crate) access_order: AccessOrder,
    /// The log file; without it the log goes to standard error alone.
    pub(crate) log_file: Option<PathBuf>,
    /// The file that gets one line per request.
    pub(crate) usage_log_file: Option<PathBuf>,
    /// The least important level that is logged, unless the command line asks for debug messages.
    pub(crate) log_level: LevelFilter,
    /// The pid file of a detached server.
    pub(crate) pid_file: Option<PathBuf>,
    /// The control socket; `None` if the settings want none.
    pub(crate) control: Option<PathBuf>,
    /// The account that serves; `None` is the account that starts the server.
    pub(crate) account: Option<SystemAccount>,
    /// Networks, rates and the number of remembered reports.
    pub(crate) limits: Limits,
    /// A client's home directory that names the servers to forward to.
    pub(crate) forward_home: Option<PathBuf>,
    /// Address of the status page, as `host:port`.
    pub(crate) status: Option<String>,
    /// Names by which clients may ask for the status page, beside the server's own.
    pub(crate) status_hosts: Vec<String>,
    /// Settings of Python's server that have another effect here, or none.
    pub(crate) notes: Vec<CompatNote>,
}

impl Settings {
    /// Checks every value. `cpus` is the number of workers if no setting gives another one.
    ///
    /// # Errors
    /// When a setting has a value that it cannot have; the error names the line or the option.
    pub(crate) fn new(sources: &Sources, home: &Home, cpus: usize) -> Result<Self, SettingsError> {
        let mut notes = Vec::new();
        let workers = concurrency::workers(sources, cpus, &mut notes)?;
        let sentry = [Setting::SentryDSN, Setting::UsageSentryDSN];
        notes.extend(
            sentry.into_iter().filter(|setting| sources.is_changed(*setting)).map(CompatNote::Sentry),
        );
        let seconds = |text: &str| text.parse().ok().map(CleanupAge::from_seconds);
        Ok(Self {
            addresses: sources.parse(Setting::ListenAddress, Expected::Addresses, listen_addresses)?,
            port: sources.parse(Setting::Port, Expected::Port, |text| text.parse().ok())?,
            engine: sources.engine(),
            dsn: sources.text(Setting::DigestDB).to_owned(),
            database: home.resolve(sources.text(Setting::DigestDB)),
            durability: durability(sources)?,
            cache: cache(sources)?,
            cleanup: sources.parse(Setting::CleanupAge, Expected::Seconds, seconds)?,
            expiry_guard: expiry_guard(sources)?,
            runtime: sources.parse(Setting::Runtime, Expected::Runtime, Runtime::parse)?,
            workers,
            connections: concurrency::connections(sources, workers)?,
            passwd_file: sources.path(Setting::PasswdFile, home),
            access_file: sources.path(Setting::AccessFile, home),
            access_order: sources.parse(Setting::AccessOrder, Expected::AccessOrder, access_order)?,
            log_file: sources.path(Setting::LogFile, home),
            usage_log_file: sources.path(Setting::UsageLogFile, home),
            log_level: sources.parse(Setting::LogLevel, Expected::LogLevel, log_level)?,
            pid_file: sources.path(Setting::PidFile, home),
            control: control(sources, home),
            account: account(sources)?,
            limits: limits::limits(sources)?,
            forward_home: sources.folder(Setting::ForwardClientHomeDir, home)?,
            status: sources.parse(Setting::StatusAddress, Expected::StatusAddress, status_address)?,
            status_hosts: sources.parse(Setting::StatusHosts, Expected::HostNames, host_names)?,
            notes,
        })
    }

    /// Returns when records expire; `None` for never.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        self.cleanup.map(|age| Expiry { age, guard: self.expiry_guard })
    }

    /// Returns what `Durability` asks for, if that is not a promise of the engine.
    pub(crate) fn foreign_promise(&self) -> Option<ForeignPromise> {
        ForeignPromise::find(&self.engine, self.durability)
    }

    /// Returns the first address that requests are received on, at which the tools ask the server.
    pub(crate) fn first_address(&self) -> &str {
        self.addresses.first().map_or(ANY_ADDRESS, String::as_str)
    }
}

/// Without the database, whose DSN may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, port, engine, runtime, workers, .. } = self;
        write!(f, "Settings({addresses:?}, port {port}, {engine}, {runtime}, {workers} workers, ..)")
    }
}

/// Returns a path as text, or `(not set)`.
pub(crate) fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "(not set)".to_owned(), |path| path.display().to_string())
}

/// Parses addresses and names of hosts, with commas or blanks between them; an empty text is every IPv4 address.
fn listen_addresses(text: &str) -> Option<Vec<String>> {
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let mut addresses = words.map(listen_address).collect::<Option<Vec<_>>>()?;
    if addresses.is_empty() {
        addresses.push(ANY_ADDRESS.to_owned());
    }
    Some(addresses)
}

/// Parses the name of a host, or an address, which may be in brackets and have the zone of a link.
fn listen_address(word: &str) -> Option<String> {
    let bare = word.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_v6 = |text: &str| text.split('%').next().is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let valid = bare.map_or_else(|| is_v6(word) || is_name(word), is_v6);
    valid.then(|| bare.unwrap_or(word).to_owned())
}

/// Parses `host:port`, with brackets around an IPv6 address; an empty text is no address.
fn status_address(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_whole = !host.is_empty() && port.parse::<u16>().is_ok();
    is_whole.then(|| Some(text.to_owned()))
}

/// Parses names of hosts, without ports, with commas or blanks between them.
fn host_names(text: &str) -> Option<Vec<String>> {
    let is_name =
        |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    words.map(|word| is_name(word).then(|| word.to_owned())).collect()
}

fn account(sources: &Sources) -> Result<Option<SystemAccount>, SettingsError> {
    let find = |setting, expected, find: &dyn Fn(&str) -> Option<SystemAccount>| {
        let parse = |text: &str| if text.is_empty() { Some(None) } else { find(text).map(Some) };
        sources.parse(setting, expected, parse)
    };
    let user = find(Setting::User, Expected::User, &SystemAccount::of_user)?;
    let in_group = |text: &str| SystemAccount::in_group(user.clone(), text);
    let both = find(Setting::Group, Expected::Group, &in_group)?;
    Ok(both.or(user))
}

fn durability(sources: &Sources) -> Result<Option<Durability>, SettingsError> {
    let durability = sources.parse(Setting::Durability, Expected::Durability, Durability::parse)?;
    Ok(sources.is_given(Setting::Durability).then_some(durability))
}

fn cache(sources: &Sources) -> Result<u64, SettingsError> {
    let in_range = |text: &str| text.parse().ok().filter(|size| (1..=LARGEST_CACHE).contains(size));
    let expected = Expected::MebibytesUpTo(LARGEST_CACHE);
    Ok(sources.parse(Setting::DatabaseCache, expected, in_range)? << 20)
}

fn expiry_guard(sources: &Sources) -> Result<ExpiryGuard, SettingsError> {
    let offset = |text: &str| text.parse().ok().map(Duration::from_secs);
    let share = |text: &str| text.parse().ok().filter(|share| *share <= 100);
    let max_offset = sources.parse(Setting::CleanupMaxOffset, Expected::SecondsForAny, offset)?;
    Ok(ExpiryGuard {
        // The setting writes 0 for any.
        max_offset: Some(max_offset).filter(|offset| !offset.is_zero()),
        max_share: sources.parse(Setting::CleanupMaxShare, Expected::Percent, share)?,
    })
}

/// Returns the path of the control socket. Without a setting it is beside a database of one file, so that two servers of
/// one home directory have one each, or else in the home directory.
///
/// Messages name the path, so it has no part of a database's name that may be a DSN with its password.
fn control(sources: &Sources, home: &Home) -> Option<PathBuf> {
    let database = sources.text(Setting::DigestDB);
    match sources.text(Setting::ControlSocket).trim() {
        text if text.eq_ignore_ascii_case(NO_SOCKET) => None,
        "" if registry::is_file(&sources.engine()) && !Setting::DigestDB.is_secret(database) => {
            let mut path = home.resolve(database).into_os_string();
            path.push(SUFFIX);
            Some(path.into())
        }
        "" => Some(home.resolve("pyzord.control")),
        text => Some(home.resolve(text)),
    }
}

/// Returns the name of a level that [`log_level`] parses.
pub(crate) const fn level_word(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::Off | LevelFilter::Error => "error",
        LevelFilter::Warn => "warning",
        LevelFilter::Info => "info",
        LevelFilter::Debug | LevelFilter::Trace => "debug",
    }
}

/// Parses the name of a level, Python's or that of the log's lines.
pub(crate) fn log_level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Some(LevelFilter::Debug),
        "info" => Some(LevelFilter::Info),
        "warn" | "warning" => Some(LevelFilter::Warn),
        "error" | "critical" => Some(LevelFilter::Error),
        _ => None,
    }
}

fn access_order(text: &str) -> Option<AccessOrder> {
    match text.to_ascii_lowercase().as_str() {
        "first-match" => Some(AccessOrder::FirstMatch),
        "last-match" => Some(AccessOrder::LastMatch),
        _ => None,
    }
}
