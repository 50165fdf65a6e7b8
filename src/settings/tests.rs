//! The sources of settings, their order and their errors, over all settings at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;
use proptest::sample::select;
use pyzord_core::AccessOrder;

use super::sources::Source;
use super::{Durability, Environment, Runtime, Setting, Settings, Sources, environment};
use crate::cli::CommandLine;
use crate::home::Home;

/// The option of each setting, found by trying all options.
static OPTIONS: LazyLock<BTreeMap<Setting, String>> = LazyLock::new(|| {
    let command = CommandLine::command();
    let names = command.get_arguments().filter_map(clap::Arg::get_long);
    let set_by = |option: &str| {
        let parsed = CommandLine::try_parse_from(["pyzord", &format!("--{option}=1")]).ok()?;
        parsed.settings().next().map(|(name, ..)| (name, format!("--{option}")))
    };
    names.filter_map(set_by).collect()
});

#[test]
fn every_setting_but_those_for_the_file_has_an_option() {
    let without = |name: &&Setting| !OPTIONS.contains_key(*name);
    let without: Vec<&str> = Setting::ALL.iter().filter(without).map(|name| name.name()).collect();
    assert_eq!(without, ["LogLevel", "SentryDSN", "SentryLogLevel", "UsageSentryDSN", "UsageSentryLogLevel"]);
}

/// Returns values that a setting can have.
fn value(name: Setting) -> BoxedStrategy<String> {
    match name {
        Setting::Port => any::<u16>().prop_map(|port| port.to_string()).boxed(),
        Setting::ListenAddress => {
            select(vec!["0.0.0.0", "127.0.0.1, ::1, mail.example.org"]).prop_map(str::to_owned).boxed()
        }
        Setting::CleanupMaxShare => (0..=100_u8).prop_map(|percent| percent.to_string()).boxed(),
        Setting::CleanupAge | Setting::CleanupMaxOffset => {
            any::<u64>().prop_map(|age| age.to_string()).boxed()
        }
        Setting::Workers | Setting::DBConnections => {
            (0..=1024_u16).prop_map(|count| count.to_string()).boxed()
        }
        Setting::MaxThreads | Setting::MaxProcesses | Setting::PreFork => {
            any::<usize>().prop_map(|count| count.to_string()).boxed()
        }
        Setting::RequestRate | Setting::RequestBurst | Setting::FailureRate | Setting::FailureBurst => {
            any::<u32>().prop_map(|count| count.to_string()).boxed()
        }
        Setting::IPv4Prefix => (0..=32_u8).prop_map(|bits| bits.to_string()).boxed(),
        Setting::IPv6Prefix => (0..=128_u8).prop_map(|bits| bits.to_string()).boxed(),
        Setting::RememberedReports => (0..1_u32 << 24).prop_map(|count| count.to_string()).boxed(),
        Setting::AllowNetworks | Setting::DenyNetworks | Setting::UnlimitedNetworks => {
            select(vec!["", "192.0.2.0/24", "::1, 198.51.100.7"]).prop_map(str::to_owned).boxed()
        }
        Setting::User | Setting::Group => select(vec!["", "root", "0"]).prop_map(str::to_owned).boxed(),
        Setting::StatusAddress => {
            select(vec!["", "127.0.0.1:24480", "[::1]:0"]).prop_map(str::to_owned).boxed()
        }
        Setting::StatusHosts => select(vec!["", "monitor, mail.example.org"]).prop_map(str::to_owned).boxed(),
        Setting::Engine => {
            prop_oneof![text(), select(vec!["gdbm", "SQLite"]).prop_map(str::to_owned)].boxed()
        }
        Setting::Durability => select(vec!["deferred", "Strict"]).prop_map(str::to_owned).boxed(),
        Setting::DatabaseCache => (1..=65536_u32).prop_map(|size| size.to_string()).boxed(),
        Setting::Runtime => select(Runtime::ALL).prop_map(|runtime| runtime.to_string()).boxed(),
        Setting::ControlSocket => {
            select(vec!["", "None", "run/control", "/run/x"]).prop_map(str::to_owned).boxed()
        }
        Setting::LogLevel => {
            select(vec!["debug", "INFO", "Warning", "error"]).prop_map(str::to_owned).boxed()
        }
        Setting::AccessOrder => select(vec!["first-match", "Last-Match"]).prop_map(str::to_owned).boxed(),
        _ => text(),
    }
}

/// Returns any text on one line; a `%` has a meaning of its own in the file.
fn text() -> BoxedStrategy<String> {
    prop_oneof![1 => Just(String::new()), 9 => "[!-$&-~]([ -$&-~]{0,20}[!-$&-~])?"].boxed()
}

/// The values of a setting in the file, in the environment and on the command line.
type Values = (Setting, Option<String>, Option<String>, Option<String>);

/// Returns for each setting its values. One that is overridden may be any text.
fn values() -> impl Strategy<Value = Vec<Values>> {
    let of = |name: &Setting| {
        let name = *name;
        // An empty variable sets nothing.
        let variable = || value(name).prop_filter("not empty", |value| !value.is_empty());
        let any = || prop::option::of(text());
        let in_file = (prop::option::of(value(name)), Just(None), Just(None)).boxed();
        let in_environment = (any(), variable().prop_map(Some), Just(None)).boxed();
        let option = (any(), any(), value(name).prop_map(Some)).boxed();
        let values = if OPTIONS.contains_key(&name) {
            prop_oneof![in_file, in_environment, option].boxed()
        } else {
            prop_oneof![in_file, in_environment].boxed()
        };
        values.prop_map(move |(file, variable, option)| (name, file, variable, option))
    };
    Setting::ALL.iter().map(of).collect::<Vec<_>>().prop_shuffle()
}

fn environment_of(variables: &[(Setting, String)]) -> Environment {
    let named = |(setting, value): &(Setting, String)| (environment::variable(*setting).into(), value.into());
    Environment::of_variables(variables.iter().map(named)).unwrap()
}

proptest! {
    #[test]
    fn the_command_line_overrides_the_environment_that_the_file_and_that_the_default(
        values in values(), lower in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(Some(folder.path())).unwrap();
        let (mut file, mut arguments) = ("[server]\n".to_owned(), vec!["pyzord".to_owned()]);
        let (mut expected, mut variables) = (BTreeMap::new(), Vec::new());
        for (name, in_file, variable, option) in values {
            let mut found = (name.default().to_owned(), Source::Default);
            if let Some(value) = in_file {
                let written = if lower { name.name().to_lowercase() } else { name.name().to_owned() };
                file += &format!("{written} = {value}\n");
                found = (value, Source::File { line: file.lines().count() });
            }
            if let Some(value) = variable {
                variables.push((name, value.clone()));
                found = if value.is_empty() { found } else { (value, Source::Environment) };
            }
            if let Some(value) = option {
                arguments.push(format!("{}={value}", OPTIONS[&name]));
                found = (value, Source::Option(""));
            }
            expected.insert(name, found);
        }
        if expected[&Setting::Engine].0.eq_ignore_ascii_case("sqlite")
            && let Some((path, Source::Default)) = expected.get_mut(&Setting::DigestDB)
        {
            *path = "pyzord.sqlite".to_owned();
        }
        std::fs::write(folder.path().join("config"), file).unwrap();
        let options = CommandLine::try_parse_from(arguments).unwrap();
        let sources = Sources::read(&home, environment_of(&variables), options.settings()).unwrap();
        // Any text may look like a comment, a quotation or a placeholder.
        let is_hint = |warning: String| warning.contains(" value of ") || warning.contains("quotes");
        prop_assert!(sources.warnings().iter().all(|warning| is_hint(warning.to_string())));
        for &name in Setting::ALL {
            let (value, source) = sources.value(name);
            let (wanted, from) = &expected[&name];
            prop_assert_eq!(value, wanted);
            match source {
                Source::Option(option) => {
                    prop_assert_eq!(*from, Source::Option(""));
                    prop_assert_eq!(option, &OPTIONS[&name]);
                }
                source => prop_assert_eq!(source, *from),
            }
        }
        prop_assert_eq!(expected.len(), Setting::ALL.len());

        let settings = Settings::new(&sources, &home, 4).unwrap();
        let wanted = |name: Setting| expected[&name].0.as_str();
        let path = |name| Some(wanted(name)).filter(|name| !name.is_empty()).map(|name| home.resolve(name));
        prop_assert_eq!(settings.port.to_string(), wanted(Setting::Port));
        prop_assert_eq!(settings.addresses.join(", "), wanted(Setting::ListenAddress));
        prop_assert_eq!(settings.engine, wanted(Setting::Engine).to_lowercase());
        prop_assert_eq!(settings.dsn, wanted(Setting::DigestDB));
        prop_assert_eq!(&settings.database, &home.resolve(wanted(Setting::DigestDB)));
        prop_assert_eq!(settings.cleanup.map_or(0, pyzord_core::CleanupAge::seconds).to_string(), wanted(Setting::CleanupAge));
        prop_assert_eq!(settings.passwd_file, path(Setting::PasswdFile));
        prop_assert_eq!(settings.access_file, path(Setting::AccessFile));
        prop_assert_eq!(settings.log_file, path(Setting::LogFile));
        prop_assert_eq!(settings.usage_log_file, path(Setting::UsageLogFile));
        prop_assert_eq!(settings.pid_file, path(Setting::PidFile));
        let control = match wanted(Setting::ControlSocket) {
            "" if ["gdbm", "sqlite"].contains(&wanted(Setting::Engine).to_lowercase().as_str())
                && !Setting::DigestDB.is_secret(wanted(Setting::DigestDB)) =>
            {
                Some(PathBuf::from(format!("{}.control", settings.database.display())))
            }
            "" => Some(home.resolve("pyzord.control")),
            "None" => None,
            name => Some(home.resolve(name)),
        };
        prop_assert_eq!(settings.control, control);
        let durability = match expected[&Setting::Durability].1 {
            Source::Default => None,
            _ if wanted(Setting::Durability) == "Strict" => Some(Durability::Strict),
            _ => Some(Durability::Deferred),
        };
        prop_assert_eq!(settings.durability, durability);
        prop_assert_eq!((settings.cache >> 20).to_string(), wanted(Setting::DatabaseCache));
        let last_match = wanted(Setting::AccessOrder) == "Last-Match";
        prop_assert_eq!(settings.access_order == AccessOrder::LastMatch, last_match);
        if let Ok(workers @ 1..) = wanted(Setting::Workers).parse() {
            prop_assert_eq!(settings.workers, workers);
        }
        match wanted(Setting::DBConnections) {
            "0" => prop_assert_eq!(settings.connections, settings.workers.max(2)),
            connections => prop_assert_eq!(settings.connections.to_string(), connections),
        }
    }

    /// An error names the line, the variable or the option.
    #[test]
    fn an_error_names_the_source_of_the_value(
        name in select(vec![Setting::Port, Setting::CleanupAge, Setting::Workers, Setting::DBConnections, Setting::PreFork,
            Setting::MaxThreads, Setting::MaxProcesses, Setting::Runtime, Setting::AccessOrder, Setting::User,
            Setting::Group, Setting::Durability, Setting::DatabaseCache]),
        value in "-[0-9a-z]{1,9}",
        blank_lines in 0..9_usize,
        place in 0..3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(Some(folder.path())).unwrap();
        let mut arguments = vec!["pyzord".to_owned()];
        let mut variables = Vec::new();
        let place = if place == 0 {
            let option = &OPTIONS[&name];
            arguments.push(format!("{option}={value}"));
            format!("option {option}: `{value}` is not ")
        } else if place == 1 {
            variables.push((name, value.clone()));
            format!("environment variable {}: `{value}` is not ", environment::variable(name))
        } else {
            let file = format!("[server]\n{}{} = {value}\n", "\n".repeat(blank_lines), name.name());
            std::fs::write(folder.path().join("config"), file).unwrap();
            format!("config, line {}: {}: `{value}` is not ", blank_lines + 2, name.name())
        };
        let options = CommandLine::try_parse_from(arguments).unwrap();
        let sources = Sources::read(&home, environment_of(&variables), options.settings()).unwrap();
        let error = Settings::new(&sources, &home, 4).unwrap_err().to_string();
        prop_assert!(error.contains(&place), "{} in {}", place, error);
    }
}

/// Sizes at the edges of the range, and beyond any number.
#[test]
fn the_size_of_the_cache_has_bounds() {
    let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
    let read = |text: &str| {
        let text = format!("[server]\nDatabaseCache = {text}");
        let sources =
            Sources::of_file(home.resolve("config"), text.as_bytes(), Environment::default(), []).unwrap();
        Settings::new(&sources, &home, 4).map(|settings| settings.cache)
    };
    assert_eq!((read("1").unwrap(), read("65536").unwrap()), (1 << 20, 65536 << 20));
    for text in ["", "0", "65537", "-1", "64 MiB", "1.5", "18446744073709551616", "18446744073709551615"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.ends_with("is not a number of MiB from 1 to 65536"), "{text}: {error}");
    }
}

/// `[::1]` and `*` were looked up as names of hosts.
#[test]
fn listen_addresses_are_a_list_or_refused_by_name() {
    let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
    let read = |text: &str| {
        let sources = Sources::of_file(
            home.resolve("config"),
            format!("[server]\nListenAddress = {text}").as_bytes(),
            Environment::default(),
            [],
        )
        .unwrap();
        Settings::new(&sources, &home, 4).map(|settings| settings.addresses.join(" "))
    };
    for (text, expected) in [
        ("", "0.0.0.0"),
        ("[::]", "::"),
        ("[::1], 127.0.0.1,", "::1 127.0.0.1"),
        ("mail.example.org 192.0.2.1", "mail.example.org 192.0.2.1"),
        ("fe80::1%%eth0,[fe80::2%%eth0]", "fe80::1%eth0 fe80::2%eth0"),
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    for text in [
        "*",
        "127.0.0.1:24441",
        "[::1]:24441",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "a;b",
        "http://x",
        "127.0.0.1/8",
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.contains("line 2: ListenAddress: `") && error.contains(":: is every address"),
            "{text}: {error}"
        );
    }
}

/// A reference in the file finds what overrides the setting, and no warning shows a value.
#[test]
fn the_environment_is_what_a_reference_in_the_file_finds() {
    let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
    let text = "[server]\nPort = 1\nLogFile = /var/log/%(Port)s.log\nForwardClientHomeDir = a\n";
    let variables =
        [(Setting::Port, "5"), (Setting::DigestDB, "h,1,hunter2,0"), (Setting::ForwardClientHomeDir, "b")];
    let variables = variables.map(|(setting, value)| (setting, value.to_owned()));
    let sources =
        Sources::of_file(home.resolve("config"), text.as_bytes(), environment_of(&variables), []).unwrap();
    assert_eq!(sources.text(Setting::LogFile), "/var/log/5.log");
    let settings = Settings::new(&sources, &home, 4).unwrap();
    assert_eq!(settings.forward_home, Some("/etc/pyzor/b".into()));
    let row = sources.row(Setting::Port).to_string();
    assert_eq!(row, "Port = 5 (environment variable PYZORD_PORT)");
    let shown = format!("{sources}{sources:?}{settings:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// A DSN in the wrong place was shown as the value of another setting.
#[test]
fn a_dsn_in_the_place_of_another_value_is_not_shown() {
    let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
    let text = "[server]\nEngine = redis://:hunter2@h\nDigestDB h,1,hunter2 = 5\nPort = redis://:hunter2@h\n";
    let sources =
        Sources::of_file(home.resolve("config"), text.as_bytes(), Environment::default(), []).unwrap();
    let error = Settings::new(&sources, &home, 4).unwrap_err();
    let warnings: Vec<_> = sources.warnings().iter().map(ToString::to_string).collect();
    let shown = format!("{sources}{sources:?}{error}{warnings:?}");
    assert!(!shown.contains("hunter2") && warnings.len() == 1, "{shown}");
}

/// Derived `Debug` output of both showed the password of a DSN.
#[test]
fn no_password_is_shown() {
    let home = Home::new(Some(Path::new("/etc/pyzor"))).unwrap();
    for dsn in [
        "localhost,6379,hunter2,0",
        "h,u,hunter2,d,t",
        "redis://:hunter2@h",
        "mysql://u:hunter2@h/d",
        "h;1;hunter2",
        "h:1:hunter2",
        "h 1 hunter2",
        "h\t1\thunter2",
        "h%2Chunter2",
        "h?key=hunter2",
        "h|hunter2",
    ] {
        let sources = Sources::of_file(
            home.resolve("config"),
            format!("[server]\nDigestDB = {dsn}").as_bytes(),
            Environment::default(),
            [],
        )
        .unwrap();
        let settings = Settings::new(&sources, &home, 4).unwrap();
        let shown = format!("{sources}{sources:?}{settings:?}{:?}", settings.control);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
