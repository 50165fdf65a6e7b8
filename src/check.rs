//! `--create-table`, and `--check-config`: does what a start does before it writes, and prints what a start would say.

use std::path::Path;
use std::process::ExitCode;

use log::LevelFilter;

use crate::cli::CommandLine;
use crate::control::ControlListener;
use crate::detach::DetachError;
use crate::forward;
use crate::home::Home;
use crate::logs::{self, LogError, Logs, OneLine};
use crate::open_to_all::OpenToAll;
use crate::output::Lines;
use crate::pidfile::{PidFile, PidFileError};
use crate::settings::{Environment, Settings, Sources, shown};
use crate::start::{self, Preparation, Prepared, StartError, of_engine};
use crate::system_account::SystemAccount;
use crate::{engine, write_access};

/// What was found.
#[derive(Default)]
struct Findings {
    warnings: Vec<String>,
    errors: Vec<String>,
    /// What is neither, in the order of the output.
    facts: Vec<String>,
    /// The account that the errors are about.
    account: Option<SystemAccount>,
}

/// Prints every warning and every error, whether a start would succeed, and the settings; fails if a start would.
pub(crate) fn run(options: &CommandLine) -> Result<ExitCode, StartError> {
    let lines = Lines::new("pyzord");
    let preparation = match Preparation::begin(options) {
        Ok(preparation) => preparation,
        // A wrong setting ends a check as it ends a start, but a warning about its lines may tell the cause.
        Err(error) => {
            Findings::of_settings(options, &error).print(&lines);
            return Ok(ExitCode::FAILURE);
        }
    };
    // The libraries' messages go to the terminal.
    Logs::install(None, None, options.log_level(LevelFilter::Info), false)?;
    let (home, sources, settings, prepared) = preparation.finish();
    let mut findings = Findings { account: settings.account.clone(), ..Findings::default() };
    findings.warnings.extend(sources.warnings().iter().map(ToString::to_string));
    findings.files(options, &home, &settings);
    findings.prepared(prepared, &settings);
    findings.database(&home, &sources, &settings);
    findings.print(&lines);
    print_settings(&lines, options, &home, &sources, &settings);
    findings.facts.iter().for_each(|fact| lines.write(format_args!("{}", OneLine(fact))));
    let succeeds = findings.errors.is_empty() && !lines.have_failed();
    Ok(if succeeds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Creates the table that the settings name.
pub(crate) fn create_table(options: &CommandLine) -> Result<ExitCode, StartError> {
    let home = Home::new(options.homedir.as_deref())?;
    let sources = Sources::read(&home, Environment::of_process()?, options.settings())?;
    let settings = Settings::new(&sources, &home, start::cpus())?;
    engine::create_table(&settings).map_err(|error| of_engine(&sources, error))?;
    Lines::new("pyzord").write(format_args!("the table is there"));
    Ok(ExitCode::SUCCESS)
}

impl Findings {
    /// Returns the error for which the settings cannot be used, and the warnings about their file.
    fn of_settings(options: &CommandLine, error: &StartError) -> Self {
        let sources = Home::new(options.homedir.as_deref())
            .ok()
            .zip(Environment::of_process().ok())
            .and_then(|(home, environment)| Sources::read(&home, environment, options.settings()).ok());
        let warnings = sources.iter().flat_map(Sources::warnings).map(ToString::to_string).collect();
        Self { warnings, errors: vec![error.to_string()], ..Self::default() }
    }

    fn error(&mut self, error: impl Into<StartError>) {
        self.errors.push(error.into().of_account(self.account.as_ref()).to_string());
    }

    /// Adds the error of a step, if there is one.
    fn step(&mut self, result: Result<(), impl Into<StartError>>) {
        if let Err(error) = result {
            self.error(error);
        }
    }

    /// Checks the files that a start creates or opens for writing, but for the database.
    fn files(&mut self, options: &CommandLine, home: &Home, settings: &Settings) {
        self.step(home.check());
        for path in [&settings.log_file, &settings.usage_log_file].into_iter().flatten() {
            self.step(check_log(path, home));
        }
        if let Some(path) = &settings.control
            && let Err(error) = ControlListener::check(path, home.path())
        {
            let path = path.display();
            self.warnings.push(format!("control socket {path}: {error}; the server runs without it"));
        }
        let Some(output) = options.detach.as_deref() else { return };
        let writable = write_access::check(output, home.path());
        self.step(writable.map_err(|cause| DetachError::Output { path: output.to_owned(), cause }));
        match settings.pid_file.as_deref().map_or(Ok(()), |path| check_pid_file(path, home)) {
            Err(error @ PidFileError::Running { .. }) => self.warnings.push(while_it_runs(&error)),
            checked => self.step(checked),
        }
    }

    fn prepared(&mut self, prepared: Prepared, settings: &Settings) {
        let Prepared { manager, rules, targets, sockets, status } = prepared;
        self.step(manager.map(drop));
        match rules {
            Ok(rules) => {
                let addresses = sockets.as_ref().map_or_else(
                    |_| forward::listen_addresses(settings),
                    |bound| bound.sockets.addresses().collect(),
                );
                let open = OpenToAll::find(addresses, &rules.policy, &settings.limits);
                self.warnings.extend(open.map(|open| open.to_string()));
                self.facts.push(format!("accounts: {}", rules.policy.accounts()));
                self.warnings.extend(rules.warnings);
            }
            Err(error) => self.error(error),
        }
        match targets {
            Ok(targets) => {
                let own = forward::listen_addresses(settings);
                let targets = targets.map(|targets| targets.without_own(&own));
                let home = targets.as_ref().map(|targets| targets.home.display());
                self.facts.extend(home.map(|home| format!("forwards as the client of: {home}")));
                for server in targets.iter().flat_map(|targets| &targets.servers) {
                    let timeout = targets.as_ref().map_or(0, |targets| targets.timeout.as_secs());
                    self.facts.push(format!("forwards to: {}, time-out {timeout} s", forward::shown(server)));
                }
                self.warnings.extend(targets.into_iter().flat_map(|targets| targets.warnings));
            }
            Err(error) => self.error(error),
        }
        self.bound(sockets.map(drop), ["/proc/net/udp", "/proc/net/udp6"], Some(settings.port));
        let port = settings.status.as_deref().and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        let exposure = status.as_ref().ok().and_then(|status| status.as_ref()?.exposure());
        self.warnings.extend(exposure);
        self.bound(status.map(drop), ["/proc/net/tcp", "/proc/net/tcp6"], port);
    }

    /// Adds the error of a socket. The server that runs with this configuration has its port, and ends before the next
    /// start.
    fn bound(&mut self, bound: Result<(), StartError>, tables: [&str; 2], port: Option<u16>) {
        match bound {
            Err(error) if start::is_address_in_use(&error) && is_held_for_pyzord(tables, port) => {
                self.warnings.push(while_it_runs(&error));
            }
            bound => self.step(bound),
        }
    }

    fn database(&mut self, home: &Home, sources: &Sources, settings: &Settings) {
        match engine::check(settings, home.path()) {
            Ok(report) => {
                self.facts.extend(report.state);
                self.warnings.extend(report.warnings);
            }
            Err(error) => self.error(of_engine(sources, error)),
        }
    }

    /// Prints the warnings, the errors and the verdict.
    fn print(&self, lines: &Lines) {
        let Self { warnings, errors, .. } = self;
        warnings.iter().for_each(|warning| lines.write(format_args!("warning: {}", OneLine(warning))));
        errors.iter().for_each(|error| lines.write(format_args!("error: {}", OneLine(error))));
        let verdict = if errors.is_empty() { "a start succeeds" } else { "a start fails" };
        lines.write(format_args!(
            "verdict: {verdict}; errors: {}, warnings: {}",
            errors.len(),
            warnings.len()
        ));
    }
}

/// Prints the settings that are not default, or all.
fn print_settings(lines: &Lines, options: &CommandLine, home: &Home, sources: &Sources, settings: &Settings) {
    lines.write(format_args!("home directory: {}", OneLine(home.path().display())));
    sources
        .rows()
        .filter(|row| options.all || !row.is_default())
        .for_each(|row| lines.write(format_args!("{row}")));
    settings.notes.iter().for_each(|note| lines.write(format_args!("note: {}", OneLine(note))));
    lines.write(format_args!("workers: {}", settings.workers));
    if options.all {
        lines.write(format_args!("accounts file: {}", OneLine(shown(settings.passwd_file.as_deref()))));
        lines.write(format_args!("access file: {}", OneLine(shown(settings.access_file.as_deref()))));
    }
}

fn check_log(path: &Path, home: &Home) -> Result<(), LogError> {
    logs::check(path, home.path())
}

fn check_pid_file(path: &Path, home: &Home) -> Result<(), PidFileError> {
    PidFile::check(path)?;
    let failed = |cause| PidFileError::Io { path: path.to_owned(), cause };
    write_access::check(path, home.path()).map_err(failed)
}

fn while_it_runs(error: &impl std::fmt::Display) -> String {
    format!("{error}; a start fails while it runs")
}

#[cfg(target_os = "linux")]
fn is_held_for_pyzord(tables: [&str; 2], port: Option<u16>) -> bool {
    port.is_some_and(|port| start::is_held_for_pyzord(tables, port))
}

/// The system does not tell which process has a socket.
#[cfg(not(target_os = "linux"))]
fn is_held_for_pyzord(_: [&str; 2], _: Option<u16>) -> bool {
    true
}
