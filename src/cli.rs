//! The command line: all options of the Python server, and ours.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::settings::Name;

/// Listen for and answer Pyzor requests.
#[derive(Parser)]
#[command(name = "pyzord", version, infer_long_args = true, disable_version_flag = true)]
pub(crate) struct Options {
    /// Add this to the process's niceness.
    #[arg(short, long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub(crate) nice: i32,
    /// Log debugging output, also on the terminal.
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// Configuration directory [default: $HOME/.pyzor, or /etc/pyzor]
    #[arg(long, value_name = "DIR")]
    pub(crate) homedir: Option<PathBuf>,
    /// Leave the terminal, write the pid file and send all output to FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) detach: Option<PathBuf>,
    /// Read everything a start would read, print what was found and every warning, and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Create the table of the mysql engine, and exit.
    #[arg(long)]
    pub(crate) create_table: bool,
    /// Print version.
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    limits: Limits,
}

/// Options that stand for a setting of the configuration file; they are checked together with it.
#[derive(clap::Args)]
struct Settings {
    /// Listen on this address; :: serves IPv6 and IPv4 [default: 0.0.0.0]
    #[arg(short, long, value_name = "IP")]
    address: Option<String>,
    /// Listen on this UDP port [default: 24441]
    #[arg(short, long)]
    port: Option<String>,
    /// Keep the records in this engine: gdbm, redis, redis_v0 or mysql [default: gdbm]
    #[arg(short = 'e', long, value_name = "ENGINE")]
    database_engine: Option<String>,
    /// Where the engine keeps them: a file for gdbm, `host,port,password,db` for redis,
    /// `host,user,password,db,table` for mysql, or a URL [default: pyzord.db]
    #[arg(long)]
    dsn: Option<String>,
    /// Seconds after its latest activity until a record expires; 0 is never [default: 10368000]
    #[arg(long, value_name = "SECONDS")]
    cleanup_age: Option<String>,
    /// Runtime that drives the server, of those of this build: std or smol [default: std]
    #[arg(long)]
    runtime: Option<String>,
    /// Threads that answer requests; 0 is one for each CPU [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Line of the access file that decides: first-match or last-match [default: first-match]
    #[arg(long, value_name = "ORDER")]
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
    /// Log of requests [default: none]
    #[arg(long, value_name = "FILE")]
    usage_log_file: Option<String>,
    /// Pid file, written with --detach [default: pyzord.pid]
    #[arg(long, value_name = "FILE")]
    pid_file: Option<String>,
    /// Serve the status page and metrics on this TCP address: `127.0.0.1:24480`, say [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    status_address: Option<String>,
    /// Serve as this user once the port is bound; needs root [default: who starts]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Serve in this group [default: the user's]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Taken as a wish for workers, for compatibility.
    #[arg(long, value_name = "BOOL")]
    threads: Option<String>,
    /// An upper bound of workers, for compatibility.
    #[arg(long, value_name = "N")]
    max_threads: Option<String>,
    /// Taken as a wish for workers, for compatibility.
    #[arg(long, value_name = "BOOL")]
    processes: Option<String>,
    /// An upper bound of workers, for compatibility.
    #[arg(long, value_name = "N")]
    max_processes: Option<String>,
    /// Connections to a database server; 0 is one for each worker, and at least 2 [default: 0]
    #[arg(long, value_name = "N")]
    db_connections: Option<String>,
    /// An upper bound of workers, for compatibility.
    #[arg(long, value_name = "N")]
    pre_fork: Option<String>,
    /// Accepted for compatibility; has no effect.
    #[arg(long, value_name = "BOOL")]
    gevent: Option<String>,
    /// A client's home directory: reports and whitelistings are sent on to its servers.
    #[arg(long, value_name = "DIR")]
    forward_client_homedir: Option<String>,
}

/// Options that limit what clients may ask for.
#[derive(clap::Args)]
struct Limits {
    /// Serve these networks only, such as `192.0.2.0/24,2001:db8::/32` [default: all]
    #[arg(long, value_name = "NETWORKS")]
    allow_networks: Option<String>,
    /// Ignore datagrams from these networks [default: none]
    #[arg(long, value_name = "NETWORKS")]
    deny_networks: Option<String>,
    /// Networks without limits [default: none]
    #[arg(long, value_name = "NETWORKS")]
    unlimited_networks: Option<String>,
    /// Requests a second of one network; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    request_rate: Option<String>,
    /// Requests of one network at once; 0 is ten times the rate [default: 0]
    #[arg(long, value_name = "N")]
    request_burst: Option<String>,
    /// Answers a second to wrong signatures from one network; 0 is no limit [default: 5]
    #[arg(long, value_name = "N")]
    failure_rate: Option<String>,
    /// Answers at once to wrong signatures from one network; 0 is ten times the rate [default: 0]
    #[arg(long, value_name = "N")]
    failure_burst: Option<String>,
    /// Leading bits of an IPv4 address that make a network [default: 32]
    #[arg(long, value_name = "BITS")]
    ipv4_prefix: Option<String>,
    /// Leading bits of an IPv6 address that make a network [default: 56]
    #[arg(long, value_name = "BITS")]
    ipv6_prefix: Option<String>,
    /// Signed reports and whitelistings that are remembered, so that a copy is not counted again; 0 is none [default: 65536]
    #[arg(long, value_name = "N")]
    remembered_reports: Option<String>,
}

impl Limits {
    fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
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
            (Name::AllowNetworks, "--allow-networks", allow_networks),
            (Name::DenyNetworks, "--deny-networks", deny_networks),
            (Name::UnlimitedNetworks, "--unlimited-networks", unlimited_networks),
            (Name::RequestRate, "--request-rate", request_rate),
            (Name::RequestBurst, "--request-burst", request_burst),
            (Name::FailureRate, "--failure-rate", failure_rate),
            (Name::FailureBurst, "--failure-burst", failure_burst),
            (Name::IPv4Prefix, "--ipv4-prefix", ipv4_prefix),
            (Name::IPv6Prefix, "--ipv6-prefix", ipv6_prefix),
            (Name::RememberedReports, "--remembered-reports", remembered_reports),
        ]
        .into_iter()
    }
}

type Setting<'a> = (Name, &'static str, &'a Option<String>);

impl Options {
    /// The settings that the command line gives, each with the option it came from.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (Name, &'static str, &str)> {
        let Settings {
            address,
            port,
            database_engine,
            dsn,
            cleanup_age,
            runtime,
            workers,
            access_order,
            password_file,
            access_file,
            log_file,
            usage_log_file,
            pid_file,
            status_address,
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
        [
            (Name::ListenAddress, "--address", address),
            (Name::Port, "--port", port),
            (Name::Engine, "--database-engine", database_engine),
            (Name::DigestDB, "--dsn", dsn),
            (Name::CleanupAge, "--cleanup-age", cleanup_age),
            (Name::Runtime, "--runtime", runtime),
            (Name::Workers, "--workers", workers),
            (Name::AccessOrder, "--access-order", access_order),
            (Name::PasswdFile, "--password-file", password_file),
            (Name::AccessFile, "--access-file", access_file),
            (Name::LogFile, "--log-file", log_file),
            (Name::UsageLogFile, "--usage-log-file", usage_log_file),
            (Name::PidFile, "--pid-file", pid_file),
            (Name::StatusAddress, "--status-address", status_address),
            (Name::User, "--user", user),
            (Name::Group, "--group", group),
            (Name::Threads, "--threads", threads),
            (Name::MaxThreads, "--max-threads", max_threads),
            (Name::Processes, "--processes", processes),
            (Name::MaxProcesses, "--max-processes", max_processes),
            (Name::DBConnections, "--db-connections", db_connections),
            (Name::PreFork, "--pre-fork", pre_fork),
            (Name::Gevent, "--gevent", gevent),
            (Name::ForwardClientHomeDir, "--forward-client-homedir", forward_client_homedir),
        ]
        .into_iter()
        .chain(self.limits.settings())
        .filter_map(|(name, option, value)| Some((name, option, value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    /// Python's optparse takes `--x=v`, `--x v`, `-xv` and unambiguous beginnings of a name.
    #[test]
    fn options_are_taken_in_every_form_that_python_takes() {
        for arguments in [&["--port=5"][..], &["--port", "5"], &["-p5"], &["-p", "5"], &["--po", "5"]] {
            let options = Options::try_parse_from(["pyzord"].iter().chain(arguments)).unwrap();
            let settings: Vec<_> = options.settings().collect();
            assert_eq!(settings, [(Name::Port, "--port", "5")], "{arguments:?}");
        }
        assert_eq!(Options::try_parse_from(["pyzord", "-n", "-5"]).unwrap().nice, -5);
    }
}
