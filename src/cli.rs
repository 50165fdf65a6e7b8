//! The command line: all options of Python's server, and more.

use std::path::PathBuf;

use clap::{ArgAction, Parser};
use log::LevelFilter;
use pyzord_engines::registry::NAMES;

use crate::help::{self, Choices};
use crate::settings::{self, Setting};

/// Serve Pyzor requests: checks, reports and whitelistings of digests, over UDP.
#[derive(Parser)]
#[command(name = "pyzord", version, infer_long_args = true, disable_version_flag = true)]
#[command(mut_args(help::grouped))]
pub(crate) struct CommandLine {
    /// Add N to the niceness of the process
    #[arg(short, long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub(crate) nice: i32,
    /// Log debug messages, on the terminal as well
    #[arg(short, long)]
    debug: bool,
    /// Home directory [default: $HOME/.pyzor, or /etc/pyzor]
    #[arg(long, value_name = "DIR")]
    pub(crate) homedir: Option<PathBuf>,
    /// Run in the background, write the pid file and send all output to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) detach: Option<PathBuf>,
    /// Check everything as a start does, print warnings, errors and changed settings, and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// With --check-config, print all settings, defaults included
    #[arg(long, requires = "check_config")]
    pub(crate) all: bool,
    /// Create the table of the mysql engine, and exit
    #[arg(long)]
    pub(crate) create_table: bool,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    settings: SettingOptions,
}

/// Options that override a setting of the configuration file; both are checked in one place.
#[derive(clap::Args)]
struct SettingOptions {
    /// Listen on this address or host name; may be repeated; :: serves IPv6 and IPv4 [default: 0.0.0.0]
    #[arg(short, long, value_name = "ADDRESS")]
    address: Vec<String>,
    /// Listen on this UDP port [default: 24441]
    #[arg(short, long)]
    port: Option<String>,
    /// Engine of the database: gdbm, sqlite, redis, redis_v0 or mysql [default: gdbm]
    #[arg(short = 'e', long, value_name = "ENGINE", value_parser = Choices(NAMES.to_vec()), hide_possible_values = true)]
    database_engine: Option<String>,
    /// Database: a file for gdbm and sqlite, `host,port,password,db` for redis,
    /// `host,user,password,db,table` for mysql, or a URL [default: pyzord.db, with sqlite pyzord.sqlite]
    #[arg(long)]
    dsn: Option<String>,
    #[command(flatten)]
    sqlite: SqliteOptions,
    #[command(flatten)]
    expiry: ExpiryOptions,
    /// Runtime that drives the server, if this build has it: std or smol [default: std]
    #[arg(long, value_parser = Choices(settings::runtimes()), hide_possible_values = true)]
    runtime: Option<String>,
    /// Number of threads that answer requests; 0 is one for each CPU [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Which matching line of the access file decides: first-match or last-match [default: first-match]
    #[arg(long, value_name = "ORDER", value_parser = Choices(settings::ACCESS_ORDERS.to_vec()), hide_possible_values = true)]
    access_order: Option<String>,
    /// Accounts file [default: pyzord.passwd]
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Access file [default: pyzord.access]
    #[arg(long, value_name = "FILE")]
    access_file: Option<String>,
    /// Log file [default: the terminal]
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// Log file of requests, one line each [default: none]
    #[arg(long, value_name = "FILE")]
    usage_log_file: Option<String>,
    /// Pid file, written with --detach [default: pyzord.pid]
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    #[command(flatten)]
    operator: OperatorOptions,
    /// User to become after the port is bound; needs root [default: the user that starts the server]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Group to become after the port is bound [default: the group of the user]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Forward reports and whitelistings to the servers of this client's home directory [default: none]
    #[arg(long, value_name = "DIR")]
    forward_client_homedir: Option<String>,
    /// Accepted for compatibility; use --workers
    #[arg(long, value_name = "BOOL")]
    threads: Option<String>,
    /// Upper bound of workers, for compatibility; use --workers
    #[arg(long, value_name = "N")]
    max_threads: Option<String>,
    /// Accepted for compatibility; use --workers
    #[arg(long, value_name = "BOOL")]
    processes: Option<String>,
    /// Upper bound of workers, for compatibility; use --workers
    #[arg(long, value_name = "N")]
    max_processes: Option<String>,
    /// Number of connections to a database server; 0 is one for each worker, and at least 2 [default: 0]
    #[arg(long, value_name = "N")]
    db_connections: Option<String>,
    /// Upper bound of workers, for compatibility; use --workers
    #[arg(long, value_name = "N")]
    pre_fork: Option<String>,
    /// Accepted for compatibility; has no effect
    #[arg(long, value_name = "BOOL")]
    gevent: Option<String>,
}

/// Options that override a setting of the configuration file about the sockets of operators.
#[derive(clap::Args)]
struct OperatorOptions {
    /// Unix socket for pyzorctl, or `none` [default: beside the file of the database, else pyzord.control]
    #[arg(long, value_name = "FILE")]
    control_socket: Option<String>,
    /// Serve the status page and metrics on this TCP address, such as `127.0.0.1:24480` [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    status_address: Option<String>,
    /// Accept these host names in requests for the status page, beside the machine's own [default: none]
    #[arg(long, value_name = "NAMES")]
    status_hosts: Option<String>,
}

/// Options that override a setting of the configuration file for the engine sqlite.
#[derive(clap::Args)]
struct SqliteOptions {
    /// When a count is on the disk: `deferred`, soon after the reply, or `strict`, before it; sqlite only [default: deferred]
    #[arg(long, value_name = "WHEN", value_parser = Choices(settings::DURABILITIES.to_vec()), hide_possible_values = true)]
    durability: Option<String>,
    /// Memory for the pages of the database, 1 to 65536 MiB; sqlite only [default: 128]
    #[arg(long, value_name = "MIB")]
    sqlite_cache: Option<String>,
}

/// Options that override a setting of the configuration file for the expiry of records.
#[derive(clap::Args)]
struct ExpiryOptions {
    /// Seconds from the latest activity of a record until it expires; 0 is never [default: 10368000]
    #[arg(long, value_name = "SECONDS")]
    cleanup_age: Option<String>,
    /// Let no record expire while the clock is further than this from the newest record; 0 is any distance
    /// [default: 2592000]
    #[arg(long, value_name = "SECONDS")]
    cleanup_max_offset: Option<String>,
    /// Let no record expire while more than this share of at least 1000 records would; 100 is any share [default: 50]
    #[arg(long, value_name = "PERCENT")]
    cleanup_max_share: Option<String>,
}

/// Options that override a setting of the configuration file that limits clients.
#[derive(clap::Args)]
struct LimitOptions {
    /// Answer these networks only, such as `192.0.2.0/24,2001:db8::/32` [default: all]
    #[arg(long, value_name = "NETWORKS")]
    allow_networks: Option<String>,
    /// Ignore datagrams from these networks [default: none]
    #[arg(long, value_name = "NETWORKS")]
    deny_networks: Option<String>,
    /// Set no limits for these networks [default: none]
    #[arg(long, value_name = "NETWORKS")]
    unlimited_networks: Option<String>,
    /// Requests per second and network; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    request_rate: Option<String>,
    /// Requests of a network at once; 0 is ten times the rate [default: 0]
    #[arg(long, value_name = "N")]
    request_burst: Option<String>,
    /// Replies to wrong signatures per second and network; 0 is no limit [default: 5]
    #[arg(long, value_name = "N")]
    failure_rate: Option<String>,
    /// Replies to wrong signatures of a network at once; 0 is ten times the rate [default: 0]
    #[arg(long, value_name = "N")]
    failure_burst: Option<String>,
    /// Leading bits of an IPv4 address that form a network [default: 32]
    #[arg(long, value_name = "BITS")]
    ipv4_prefix: Option<String>,
    /// Leading bits of an IPv6 address that form a network [default: 56]
    #[arg(long, value_name = "BITS")]
    ipv6_prefix: Option<String>,
    /// Number of signed reports and whitelistings whose copies are not counted again; 0 is none [default: 65536]
    #[arg(long, value_name = "N")]
    remembered_reports: Option<String>,
}

impl LimitOptions {
    fn settings(&self) -> impl Iterator<Item = SettingOption<'_>> {
        let Self {
            allow_networks,
            deny_networks,
            unlimited_networks,
            request_rate,
            request_burst,
            failure_rate,
            failure_burst,
            ipv4_prefix,
            ipv6_prefix,
            remembered_reports,
        } = self;
        [
            (Setting::AllowNetworks, "--allow-networks", allow_networks),
            (Setting::DenyNetworks, "--deny-networks", deny_networks),
            (Setting::UnlimitedNetworks, "--unlimited-networks", unlimited_networks),
            (Setting::RequestRate, "--request-rate", request_rate),
            (Setting::RequestBurst, "--request-burst", request_burst),
            (Setting::FailureRate, "--failure-rate", failure_rate),
            (Setting::FailureBurst, "--failure-burst", failure_burst),
            (Setting::IPv4Prefix, "--ipv4-prefix", ipv4_prefix),
            (Setting::IPv6Prefix, "--ipv6-prefix", ipv6_prefix),
            (Setting::RememberedReports, "--remembered-reports", remembered_reports),
        ]
        .into_iter()
    }
}

impl OperatorOptions {
    fn settings(&self) -> [SettingOption<'_>; 3] {
        [
            (Setting::ControlSocket, "--control-socket", &self.control_socket),
            (Setting::StatusAddress, "--status-address", &self.status_address),
            (Setting::StatusHosts, "--status-hosts", &self.status_hosts),
        ]
    }
}

impl SqliteOptions {
    fn settings(&self) -> [SettingOption<'_>; 2] {
        [
            (Setting::Durability, "--durability", &self.durability),
            (Setting::DatabaseCache, "--sqlite-cache", &self.sqlite_cache),
        ]
    }
}

impl ExpiryOptions {
    fn settings(&self) -> [SettingOption<'_>; 3] {
        [
            (Setting::CleanupAge, "--cleanup-age", &self.cleanup_age),
            (Setting::CleanupMaxOffset, "--cleanup-max-offset", &self.cleanup_max_offset),
            (Setting::CleanupMaxShare, "--cleanup-max-share", &self.cleanup_max_share),
        ]
    }
}

/// A setting, its option, and the value that the command line gives, if any.
type SettingOption<'a> = (Setting, &'static str, &'a Option<String>);

impl CommandLine {
    /// Returns the least important level that is logged: `setting` unless `--debug` asks for more.
    pub(crate) const fn log_level(&self, setting: LevelFilter) -> LevelFilter {
        if self.debug { LevelFilter::Debug } else { setting }
    }

    /// Returns the settings that the command line gives, each with its option and value.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (Setting, &'static str, &str)> {
        let SettingOptions {
            address,
            port,
            database_engine,
            dsn,
            sqlite,
            expiry,
            runtime,
            workers,
            access_order,
            password_file,
            access_file,
            log_file,
            usage_log_file,
            pid_file,
            operator,
            user,
            group,
            threads,
            max_threads,
            processes,
            max_processes,
            db_connections,
            pre_fork,
            gevent,
            forward_client_homedir,
        } = &self.settings;
        let addresses = address.iter().map(|address| (Setting::ListenAddress, "--address", address.as_str()));
        let others = [
            (Setting::Port, "--port", port),
            (Setting::Engine, "--database-engine", database_engine),
            (Setting::DigestDB, "--dsn", dsn),
            (Setting::Runtime, "--runtime", runtime),
            (Setting::Workers, "--workers", workers),
            (Setting::AccessOrder, "--access-order", access_order),
            (Setting::PasswdFile, "--password-file", password_file),
            (Setting::AccessFile, "--access-file", access_file),
            (Setting::LogFile, "--log-file", log_file),
            (Setting::UsageLogFile, "--usage-log-file", usage_log_file),
            (Setting::PidFile, "--pid-file", pid_file),
            (Setting::User, "--user", user),
            (Setting::Group, "--group", group),
            (Setting::Threads, "--threads", threads),
            (Setting::MaxThreads, "--max-threads", max_threads),
            (Setting::Processes, "--processes", processes),
            (Setting::MaxProcesses, "--max-processes", max_processes),
            (Setting::DBConnections, "--db-connections", db_connections),
            (Setting::PreFork, "--pre-fork", pre_fork),
            (Setting::Gevent, "--gevent", gevent),
            (Setting::ForwardClientHomeDir, "--forward-client-homedir", forward_client_homedir),
        ]
        .into_iter()
        .chain(operator.settings())
        .chain(sqlite.settings())
        .chain(expiry.settings())
        .chain(self.limits.settings())
        .filter_map(|(name, option, value)| Some((name, option, value.as_deref()?)));
        addresses.chain(others)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    /// Python's optparse takes `--x=v`, `--x v`, `-xv` and unambiguous prefixes of a name.
    #[test]
    fn options_have_every_form_that_python_takes() {
        for arguments in [&["--port=5"][..], &["--port", "5"], &["-p5"], &["-p", "5"], &["--po", "5"]] {
            let options = CommandLine::try_parse_from(["pyzord"].iter().chain(arguments)).unwrap();
            let settings: Vec<_> = options.settings().collect();
            assert_eq!(settings, [(Setting::Port, "--port", "5")], "{arguments:?}");
        }
        assert_eq!(CommandLine::try_parse_from(["pyzord", "-n", "-5"]).unwrap().nice, -5);
        let options = CommandLine::try_parse_from(["pyzord", "--data=redis"]).unwrap();
        assert_eq!(options.settings().next(), Some((Setting::Engine, "--database-engine", "redis")));
    }
}
