//! The settings: defaults, overridden by the configuration file, overridden by the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use pyzord_core::{AccessOrder, CleanupAge, Limits};

use crate::home::Home;
use crate::system_account::SystemAccount;
use crate::{ini, limits};

macro_rules! names {
    ($($name:ident = $default:literal,)*) => {
        /// The names of the settings, as the configuration file has them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) enum Name { $($name,)* }

        impl Name {
            const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            const fn default(self) -> &'static str {
                match self { $(Self::$name => $default,)* }
            }
        }
    };
}

names! {
    Port = "24441",
    ListenAddress = "0.0.0.0",
    Engine = "gdbm",
    DigestDB = "pyzord.db",
    CleanupAge = "10368000",
    Runtime = "",
    Workers = "0",
    Threads = "False",
    MaxThreads = "0",
    Processes = "False",
    MaxProcesses = "40",
    DBConnections = "0",
    PreFork = "0",
    Gevent = "False",
    AllowNetworks = "",
    DenyNetworks = "",
    UnlimitedNetworks = "",
    RequestRate = "0",
    RequestBurst = "0",
    FailureRate = "5",
    FailureBurst = "0",
    IPv4Prefix = "32",
    IPv6Prefix = "56",
    RememberedReports = "65536",
    ForwardClientHomeDir = "",
    PasswdFile = "pyzord.passwd",
    AccessFile = "pyzord.access",
    AccessOrder = "first-match",
    LogFile = "",
    UsageLogFile = "",
    PidFile = "pyzord.pid",
    StatusAddress = "",
    User = "",
    Group = "",
    SentryDSN = "",
    SentryLogLevel = "WARN",
    UsageSentryDSN = "",
    UsageSentryLogLevel = "WARN",
}

impl Name {
    fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }

    /// The known name that a misspelt one is nearest to.
    fn nearest(name: &str) -> Option<Self> {
        let distance =
            |known: &Self| strsim::damerau_levenshtein(&known.as_str().to_lowercase(), &name.to_lowercase());
        Self::ALL.iter().copied().min_by_key(distance).filter(|known| distance(known) <= name.len() / 2)
    }
}

/// The names of all settings.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Name::ALL.iter().map(|name| name.as_str())
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Default,
    File { line: usize },
    Option(&'static str),
}

/// All values as text, each with its source.
pub(crate) struct Sources {
    file: PathBuf,
    values: BTreeMap<Name, (String, Source)>,
    warnings: Vec<String>,
}

impl Sources {
    /// Reads the configuration file of `home`, which may be absent, and adds what the command line says.
    pub(crate) fn read<'a>(
        home: &Home,
        options: impl IntoIterator<Item = (Name, &'static str, &'a str)>,
    ) -> Result<Self, String> {
        let file = home.resolve("config");
        let bytes = match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| format!("configuration file {}: {error}", file.display()))?,
        };
        let mut sources = Self::of_file(file, &String::from_utf8_lossy(&bytes))?;
        for (name, option, value) in options {
            sources.values.insert(name, (value.to_owned(), Source::Option(option)));
        }
        Ok(sources)
    }

    /// The defaults, and over them the configuration file `file`, which holds `text`.
    pub(crate) fn of_file(file: PathBuf, text: &str) -> Result<Self, String> {
        let defaults = Name::ALL.iter().map(|name| (*name, (name.default().to_owned(), Source::Default)));
        let mut sources = Self { file, values: defaults.collect(), warnings: Vec::new() };
        sources.add_file(text)?;
        Ok(sources)
    }

    fn add_file(&mut self, text: &str) -> Result<(), String> {
        let entries = ini::parse(text, "server").map_err(|error| self.at(error.line, error.cause))?;
        for entry in &entries {
            let Some(name) = Name::find(&entry.name) else {
                let hint =
                    Name::nearest(&entry.name).map(|name| format!("; did you mean {}?", name.as_str()));
                let cause = format!("there is no setting {}{}", entry.name, hint.unwrap_or_default());
                self.warnings.push(self.at(entry.line, &cause));
                continue;
            };
            let value = ini::interpolate(&entry.value, &|reference| {
                let same = |entry: &&ini::Entry| entry.name.eq_ignore_ascii_case(reference);
                let default = || Some(Name::find(reference)?.default().to_owned());
                entries.iter().rfind(same).map(|entry| entry.value.clone()).or_else(default)
            });
            let old = self.values.insert(name, (value, Source::File { line: entry.line }));
            if let Some((_, Source::File { line })) = old {
                let cause = format!("{} stands on line {line}, too: this line counts", name.as_str());
                self.warnings.push(self.at(entry.line, &cause));
            }
        }
        Ok(())
    }

    fn at(&self, line: usize, cause: &str) -> String {
        format!("configuration file {}, line {line}: {cause}", self.file.display())
    }

    /// What was in the configuration file and is not known.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether the value is not the default.
    pub(crate) fn is_set(&self, name: Name) -> bool {
        self.values.get(&name).is_some_and(|(value, _)| value != name.default())
    }

    fn text(&self, name: Name) -> &str {
        self.values.get(&name).map_or(name.default(), |(value, _)| value)
    }

    /// A value read as what it stands for; an error names its source.
    pub(crate) fn read_as<T>(
        &self,
        name: Name,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, String> {
        let (value, source) = self.values.get(&name).ok_or("a setting without a default")?;
        read(value.trim()).ok_or_else(|| {
            let cause = format!("{}: `{}` is not {expected}", name.as_str(), value.escape_default());
            match source {
                Source::Default => cause,
                Source::File { line } => self.at(*line, &cause),
                Source::Option(option) => {
                    format!("option {option}: `{}` is not {expected}", value.escape_default())
                }
            }
        })
    }

    fn number(&self, name: Name) -> Result<usize, String> {
        self.read_as(name, "a whole number from 0", |text| text.parse().ok())
    }

    /// "True" in any case; anything else is false, as it was to Python.
    fn flag(&self, name: Name) -> bool {
        self.text(name).eq_ignore_ascii_case("true")
    }

    /// A file's name, resolved against the home directory; `None` for an empty one.
    fn path(&self, name: Name, home: &Home) -> Option<PathBuf> {
        let text = self.text(name);
        (!text.is_empty()).then(|| home.resolve(text))
    }
}

impl Sources {
    /// Every setting as anybody may see it.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        self.values.iter().map(|(name, (value, source))| Row {
            name: name.as_str(),
            value: if is_secret(*name, value) { "(hidden)".to_owned() } else { value.clone() },
            source: match source {
                Source::Default => "default".to_owned(),
                Source::File { line } => format!("line {line}"),
                Source::Option(option) => (*option).to_owned(),
            },
        })
    }
}

/// A setting, its value without secrets, and where that comes from.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: String,
}

/// One line a setting, for `--check-config`.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().try_for_each(|Row { name, value, source }| writeln!(f, "{name} = {value} ({source})"))
    }
}

/// As displayed, so without secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A database's DSN and Sentry's may hold a password or a key.
fn is_secret(name: Name, value: &str) -> bool {
    let dsn = || [",", "@", "://", "pass"].iter().any(|part| value.contains(part));
    name == Name::DigestDB && dsn()
        || matches!(name, Name::SentryDSN | Name::UsageSentryDSN) && !value.is_empty()
}

/// What drives the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runtime {
    /// Blocking threads.
    #[cfg(feature = "runtime-std")]
    Std,
    /// smol's async sockets and timers.
    #[cfg(feature = "runtime-smol")]
    Smol,
}

impl Runtime {
    /// Those of this build; the first is the default.
    const ALL: &[Self] = &[
        #[cfg(feature = "runtime-std")]
        Self::Std,
        #[cfg(feature = "runtime-smol")]
        Self::Smol,
    ];

    const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "runtime-std")]
            Self::Std => "std",
            #[cfg(feature = "runtime-smol")]
            Self::Smol => "smol",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // An empty value leaves the choice to the build.
        let wanted = |runtime: &Self| text.is_empty() || runtime.name().eq_ignore_ascii_case(text);
        Self::ALL.iter().copied().find(wanted)
    }

    /// What a value must be, for messages.
    fn expected() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|runtime| runtime.name()).collect();
        format!("a runtime of this build: {}", names.join(", "))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The settings as the server uses them.
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) engine: String,
    pub(crate) dsn: String,
    /// The same as the name of a file.
    pub(crate) database: PathBuf,
    pub(crate) cleanup: Option<CleanupAge>,
    pub(crate) runtime: Runtime,
    pub(crate) workers: usize,
    /// How many connections to a database server there are.
    pub(crate) connections: usize,
    pub(crate) passwd_file: Option<PathBuf>,
    pub(crate) access_file: Option<PathBuf>,
    pub(crate) access_order: AccessOrder,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) usage_log_file: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// Who serves, if somebody else than who starts.
    pub(crate) account: Option<SystemAccount>,
    pub(crate) limits: Limits,
    /// A client's home directory; what is counted goes to its servers as well.
    pub(crate) forward_home: Option<PathBuf>,
    /// Where the status page is served, as `host:port`.
    pub(crate) status: Option<String>,
    /// What was asked for that is done otherwise here, or not at all.
    pub(crate) notes: Vec<String>,
}

impl Settings {
    /// Checks every value. `cpus` is how many workers there are unless something says otherwise.
    pub(crate) fn new(sources: &Sources, home: &Home, cpus: usize) -> Result<Self, String> {
        let mut notes = Vec::new();
        let workers = workers(sources, cpus, &mut notes)?;
        note_ignored(sources, &mut notes);
        let age = "a whole number of seconds, 0 for never";
        Ok(Self {
            address: sources.text(Name::ListenAddress).trim().to_owned(),
            port: sources.read_as(Name::Port, "a port from 0 to 65535", |text| text.parse().ok())?,
            engine: sources.text(Name::Engine).trim().to_lowercase(),
            dsn: sources.text(Name::DigestDB).to_owned(),
            database: home.resolve(sources.text(Name::DigestDB)),
            cleanup: sources.read_as(Name::CleanupAge, age, |text| text.parse().ok().map(CleanupAge::from_seconds))?,
            runtime: sources.read_as(Name::Runtime, &Runtime::expected(), Runtime::parse)?,
            workers,
            connections: connections(sources, workers)?,
            passwd_file: sources.path(Name::PasswdFile, home),
            access_file: sources.path(Name::AccessFile, home),
            access_order: sources.read_as(Name::AccessOrder, "first-match or last-match", access_order)?,
            log_file: sources.path(Name::LogFile, home),
            usage_log_file: sources.path(Name::UsageLogFile, home),
            pid_file: sources.path(Name::PidFile, home),
            account: account(sources)?,
            limits: limits::read(sources)?,
            forward_home: sources.path(Name::ForwardClientHomeDir, home),
            status: sources.read_as(
                Name::StatusAddress,
                "a host and a port, as in 127.0.0.1:24480",
                status,
            )?,
            notes,
        })
    }
}

/// Without the database, whose DSN may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, engine, runtime, workers, .. } = self;
        write!(f, "Settings({address}, port {port}, {engine}, {runtime}, {workers} workers, ..)")
    }
}

/// `host:port`, with brackets around an IPv6 address; nothing for an empty one.
fn status(text: &str) -> Option<Option<String>> {
    let (host, port) = match text {
        "" => return Some(None),
        text => text.rsplit_once(':')?,
    };
    let is_whole = !host.is_empty() && port.parse::<u16>().is_ok();
    is_whole.then(|| Some(text.to_owned()))
}

fn account(sources: &Sources) -> Result<Option<SystemAccount>, String> {
    let find = |name, expected, find: &dyn Fn(&str) -> Option<SystemAccount>| {
        let read = |text: &str| if text.is_empty() { Some(None) } else { find(text).map(Some) };
        sources.read_as(name, expected, read)
    };
    let user = find(Name::User, "a user of this system", &SystemAccount::of_user)?;
    let in_group = |text: &str| SystemAccount::in_group(user.clone(), text);
    let both = find(Name::Group, "a group of this system", &in_group)?;
    Ok(both.or(user))
}

fn access_order(text: &str) -> Option<AccessOrder> {
    match text.to_ascii_lowercase().as_str() {
        "first-match" => Some(AccessOrder::FirstMatch),
        "last-match" => Some(AccessOrder::LastMatch),
        _ => None,
    }
}

/// How many workers there are. Python's servers were asked for concurrency in four ways, and real configurations
/// combine them: each one that gives a number bounds ours.
fn workers(sources: &Sources, cpus: usize, notes: &mut Vec<String>) -> Result<usize, String> {
    let limit = "a whole number from 0 to 1024";
    let in_range = |text: &str| text.parse().ok().filter(|number| *number <= 1024);
    let wanted = sources.read_as(Name::Workers, limit, in_range)?;
    let pre_fork = sources.number(Name::PreFork)?;
    let [max_threads, max_processes] =
        [sources.number(Name::MaxThreads)?, sources.number(Name::MaxProcesses)?];
    let bounds = [
        (Name::Threads, sources.flag(Name::Threads), max_threads),
        (Name::Processes, sources.flag(Name::Processes), max_processes),
        (Name::PreFork, pre_fork > 0, pre_fork),
        (Name::Gevent, sources.flag(Name::Gevent), 0),
    ];
    let asked: Vec<&str> = bounds.iter().filter(|(_, on, _)| *on).map(|(name, ..)| name.as_str()).collect();
    let bounded = bounds.iter().filter(|(_, on, bound)| *on && *bound > 0).map(|(.., bound)| *bound).min();
    let workers = if wanted > 0 { wanted } else { bounded.map_or(cpus, |bound| bound.min(cpus)) };
    if !asked.is_empty() {
        notes.push(format!("{}: served by {workers} worker threads; see Workers", asked.join(", ")));
    }
    Ok(workers)
}

/// "The number of db connections that will be kept by the server", as Python had it. Unless set, one for each worker,
/// and two at least: a database works on the next batch while the replies of the last one are sent.
fn connections(sources: &Sources, workers: usize) -> Result<usize, String> {
    let limit = "a whole number from 0 to 1024";
    let in_range = |text: &str| text.parse().ok().filter(|number| *number <= 1024);
    let wanted = sources.read_as(Name::DBConnections, limit, in_range)?;
    Ok(if wanted == 0 { workers.max(2) } else { wanted })
}

/// Names what has no meaning here; a file that worked with Python must not keep the server from starting.
fn note_ignored(sources: &Sources, notes: &mut Vec<String>) {
    let ignored = [
        (Name::SentryDSN, "errors are written to the log, not sent to Sentry"),
        (Name::UsageSentryDSN, "errors are written to the log, not sent to Sentry"),
    ];
    for (name, consequence) in ignored {
        if sources.is_set(name) {
            notes.push(format!("{} is set and ignored: {consequence}", name.as_str()));
        }
    }
}

/// Displays a path or, for an absent one, that it is not set.
pub(crate) fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "(not set)".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use clap::{CommandFactory as _, Parser as _};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::cli::Options;

    /// Each setting's option, found by trying all of them.
    static OPTIONS: LazyLock<BTreeMap<Name, String>> = LazyLock::new(|| {
        let command = Options::command();
        let names = command.get_arguments().filter_map(clap::Arg::get_long);
        let set_by = |option: &str| {
            let parsed = Options::try_parse_from(["pyzord", &format!("--{option}=1")]).ok()?;
            parsed.settings().next().map(|(name, ..)| (name, format!("--{option}")))
        };
        names.filter_map(set_by).collect()
    });

    #[test]
    fn every_setting_of_python_has_its_option_but_those_of_sentry() {
        let without = |name: &&Name| !OPTIONS.contains_key(*name);
        let without: Vec<&str> = Name::ALL.iter().filter(without).map(|name| name.as_str()).collect();
        assert_eq!(without, ["SentryDSN", "SentryLogLevel", "UsageSentryDSN", "UsageSentryLogLevel"]);
    }

    /// Values that a start takes.
    fn value(name: Name) -> BoxedStrategy<String> {
        match name {
            Name::Port => any::<u16>().prop_map(|port| port.to_string()).boxed(),
            Name::CleanupAge => any::<u64>().prop_map(|age| age.to_string()).boxed(),
            Name::Workers | Name::DBConnections => (0..=1024_u16).prop_map(|count| count.to_string()).boxed(),
            Name::MaxThreads | Name::MaxProcesses | Name::PreFork => {
                any::<usize>().prop_map(|count| count.to_string()).boxed()
            }
            Name::RequestRate | Name::RequestBurst | Name::FailureRate | Name::FailureBurst => {
                any::<u32>().prop_map(|count| count.to_string()).boxed()
            }
            Name::IPv4Prefix => (0..=32_u8).prop_map(|bits| bits.to_string()).boxed(),
            Name::IPv6Prefix => (0..=128_u8).prop_map(|bits| bits.to_string()).boxed(),
            Name::RememberedReports => (0..1_u32 << 24).prop_map(|count| count.to_string()).boxed(),
            Name::AllowNetworks | Name::DenyNetworks | Name::UnlimitedNetworks => {
                select(vec!["", "192.0.2.0/24", "::1, 198.51.100.7"]).prop_map(str::to_owned).boxed()
            }
            Name::User | Name::Group => select(vec!["", "root", "0"]).prop_map(str::to_owned).boxed(),
            Name::StatusAddress => {
                select(vec!["", "127.0.0.1:24480", "[::1]:0"]).prop_map(str::to_owned).boxed()
            }
            Name::Runtime => select(Runtime::ALL).prop_map(|runtime| runtime.to_string()).boxed(),
            Name::AccessOrder => select(vec!["first-match", "Last-Match"]).prop_map(str::to_owned).boxed(),
            _ => text(),
        }
    }

    /// Any text on one line; a `%` has a meaning of its own in the file.
    fn text() -> BoxedStrategy<String> {
        prop_oneof![1 => Just(String::new()), 9 => "[!-$&-~]([ -$&-~]{0,20}[!-$&-~])?"].boxed()
    }

    /// For each setting: its value in the file, and on the command line. One that is overridden may be anything.
    fn values() -> impl Strategy<Value = Vec<(Name, Option<String>, Option<String>)>> {
        let of = |name: &Name| {
            let name = *name;
            let alone = || (prop::option::of(value(name)), Just(None)).boxed();
            let both = (prop::option::of(text()), value(name).prop_map(Some));
            let values =
                if OPTIONS.contains_key(&name) { prop_oneof![alone(), both].boxed() } else { alone() };
            values.prop_map(move |(file, option)| (name, file, option))
        };
        Name::ALL.iter().map(of).collect::<Vec<_>>().prop_shuffle()
    }

    proptest! {
        #[test]
        fn the_command_line_precedes_the_file_and_that_the_default(values in values(), lower in any::<bool>()) {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(Some(folder.path())).unwrap();
            let (mut file, mut arguments) = ("[server]\n".to_owned(), vec!["pyzord".to_owned()]);
            let mut expected = BTreeMap::new();
            for (name, in_file, option) in values {
                let mut found = (name.default().to_owned(), Source::Default);
                if let Some(value) = in_file {
                    let written = if lower { name.as_str().to_lowercase() } else { name.as_str().to_owned() };
                    file += &format!("{written} = {value}\n");
                    found = (value, Source::File { line: file.lines().count() });
                }
                if let Some(value) = option {
                    arguments.push(format!("{}={value}", OPTIONS[&name]));
                    found = (value, Source::Option(""));
                }
                expected.insert(name, found);
            }
            std::fs::write(folder.path().join("config"), file).unwrap();
            let options = Options::try_parse_from(arguments).unwrap();
            let sources = Sources::read(&home, options.settings()).unwrap();
            prop_assert!(sources.warnings().is_empty());
            for (name, (value, source)) in &sources.values {
                let (wanted, from) = &expected[name];
                prop_assert_eq!(value, wanted);
                match source {
                    Source::Option(option) => {
                        prop_assert_eq!(from, &Source::Option(""));
                        prop_assert_eq!(*option, &OPTIONS[name]);
                    }
                    source => prop_assert_eq!(source, from),
                }
            }
            prop_assert_eq!(sources.values.len(), Name::ALL.len());

            let settings = Settings::new(&sources, &home, 4).unwrap();
            let wanted = |name: Name| expected[&name].0.as_str();
            let path = |name| Some(wanted(name)).filter(|name| !name.is_empty()).map(|name| home.resolve(name));
            prop_assert_eq!(settings.port.to_string(), wanted(Name::Port));
            prop_assert_eq!(settings.address, wanted(Name::ListenAddress));
            prop_assert_eq!(settings.engine, wanted(Name::Engine).to_lowercase());
            prop_assert_eq!(settings.dsn, wanted(Name::DigestDB));
            prop_assert_eq!(settings.database, home.resolve(wanted(Name::DigestDB)));
            prop_assert_eq!(settings.cleanup.0.to_string(), wanted(Name::CleanupAge));
            prop_assert_eq!(settings.passwd_file, path(Name::PasswdFile));
            prop_assert_eq!(settings.access_file, path(Name::AccessFile));
            prop_assert_eq!(settings.log_file, path(Name::LogFile));
            prop_assert_eq!(settings.usage_log_file, path(Name::UsageLogFile));
            prop_assert_eq!(settings.pid_file, path(Name::PidFile));
            let last_match = wanted(Name::AccessOrder) == "Last-Match";
            prop_assert_eq!(settings.access_order == AccessOrder::LastMatch, last_match);
            if let Ok(workers @ 1..) = wanted(Name::Workers).parse() {
                prop_assert_eq!(settings.workers, workers);
            }
            match wanted(Name::DBConnections) {
                "0" => prop_assert_eq!(settings.connections, settings.workers.max(2)),
                connections => prop_assert_eq!(settings.connections.to_string(), connections),
            }
        }

        /// An error says where to look: at the line, or at the option.
        #[test]
        fn a_value_that_is_refused_is_named_with_its_source(
            name in select(vec![Name::Port, Name::CleanupAge, Name::Workers, Name::DBConnections, Name::PreFork,
                Name::MaxThreads, Name::MaxProcesses, Name::Runtime, Name::AccessOrder, Name::User,
                Name::Group]),
            value in "-[0-9a-z]{1,9}",
            blank_lines in 0..9_usize,
            on_command_line: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(Some(folder.path())).unwrap();
            let mut arguments = vec!["pyzord".to_owned()];
            let place = if on_command_line {
                let option = &OPTIONS[&name];
                arguments.push(format!("{option}={value}"));
                format!("option {option}: `{value}` is not ")
            } else {
                let file = format!("[server]\n{}{} = {value}\n", "\n".repeat(blank_lines), name.as_str());
                std::fs::write(folder.path().join("config"), file).unwrap();
                format!("config, line {}: {}: `{value}` is not ", blank_lines + 2, name.as_str())
            };
            let options = Options::try_parse_from(arguments).unwrap();
            let sources = Sources::read(&home, options.settings()).unwrap();
            let error = Settings::new(&sources, &home, 4).unwrap_err();
            prop_assert!(error.contains(&place), "{} in {}", place, error);
        }
    }

    /// `Debug` output of both was derived, and showed the password of a DSN to whoever would print it.
    #[test]
    fn no_password_is_shown() {
        let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
        for dsn in
            ["localhost,6379,hunter2,0", "h,u,hunter2,d,t", "redis://:hunter2@h", "mysql://u:hunter2@h/d"]
        {
            let sources =
                Sources::of_file(home.resolve("config"), &format!("[server]\nDigestDB = {dsn}")).unwrap();
            let settings = Settings::new(&sources, &home, 4).unwrap();
            let shown = format!("{sources}{sources:?}{settings:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
