//! The words and the order of `-h` and `--help`: the options that matter first, and groups for the others.

use clap::Arg;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;

/// Options of `pyzord`, below their headings. The others are those of a first start: `-h` shows them alone.
const GROUPS: [(&str, &[&str]); 8] = [
    ("Process", &["nice", "detach", "pid_file", "user", "group", "runtime", "workers", "control_socket"]),
    ("Checks and tables", &["all", "create_table"]),
    ("Logs and status page", &["debug", "usage_log_file", "status_hosts"]),
    (
        "Database",
        &[
            "durability",
            "sqlite_cache",
            "db_connections",
            "cleanup_age",
            "cleanup_max_offset",
            "cleanup_max_share",
        ],
    ),
    (
        "Limits",
        &[
            "allow_networks",
            "deny_networks",
            "unlimited_networks",
            "request_rate",
            "request_burst",
            "failure_rate",
            "failure_burst",
            "ipv4_prefix",
            "ipv6_prefix",
            "remembered_reports",
        ],
    ),
    ("Access", &["access_order"]),
    ("Forwarding", &["forward_client_homedir"]),
    (
        "For compatibility with Python's server",
        &["threads", "max_threads", "processes", "max_processes", "pre_fork", "gevent"],
    ),
];

/// Puts an option of `pyzord` into its group, which only `--help` shows.
pub(crate) fn grouped(option: Arg) -> Arg {
    let is_member = |(_, members): &&(_, &[&str])| members.contains(&option.get_id().as_str());
    match GROUPS.iter().find(is_member) {
        Some((heading, _)) => option.help_heading(*heading).hide_short_help(true),
        None => option,
    }
}

/// Hides an option of the server's settings, but for the home directory, where a command's own options are shown.
pub(crate) fn behind_the_commands_own(option: Arg) -> Arg {
    let is_hidden = option.is_global_set() && option.get_id() != "homedir";
    option.hide_short_help(is_hidden)
}

/// A value that completions and `--help` know the choices of. Any text is taken: the setting judges it, with the same words
/// as a value of the file.
#[derive(Clone)]
pub(crate) struct Choices(pub(crate) Vec<&'static str>);

impl TypedValueParser for Choices {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        option: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, option, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
